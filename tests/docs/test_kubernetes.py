"""The spec of docs/kubernetes.md is rendered as the page says, and its command plans what it says."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.kit import noted_yaml
from fairlead.plan import littles_law
from fairlead.plan.littles_law import Load
from fairlead.wiring import specs
from fairlead.wiring.kubernetes import objects
from fairlead.wiring.kubernetes.asked import Rendering
from kubernetes_schemas import problems

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"


def test_the_spec_of_the_page_is_what_a_cluster_takes(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "fairlead.yaml"
    path.write_text(block)
    made = objects.objects(specs.read(path), Rendering(scaler="keda", mesh="gateway-api"))
    assert list(made) == ["common", "churn", "chat"]
    bodies = [noted_yaml.plain(one) for group in made.values() for one in group]
    assert [wrong for body in bodies for wrong in problems(body)] == []
    scaled = {
        one["metadata"]["name"]: one["spec"]["maxReplicaCount"] for one in bodies if one["kind"] == "ScaledObject"
    }
    assert scaled == {"churn-stable": 7, "churn-canary": 7, "chat-vllm": 4}


def test_the_page_plans_what_it_says() -> None:
    text = PAGE.read_text()
    assert "--rate 50 --seconds 0.4 --concurrency 4" in text
    found = littles_law.plan(Load(50, 0.4, 4))
    assert (found.load.in_flight, found.replicas) == (20, 7)
    assert "(Little's law): 20. With 30 % beside it that is 26, and with 4 in each\nreplica 7 of them" in text
