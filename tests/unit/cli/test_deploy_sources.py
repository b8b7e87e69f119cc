"""What is deployed, by which name and in which namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.cli.deploy_sources import Wanted, gathered
from fairlead.contracts.errors import UsageError
from fairlead.wiring import deploying

SPEC = """project: shop
tracking: http://mlflow:5000
state: postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead
record: false
access: {required: true}
deploy: {image: "a:4", namespace: prod}
endpoints:
  churn: {model: models:/churn@champion}
"""


def wanted(**given: Any) -> Wanted:
    return Wanted(**{"target": "kubernetes", "name": "", "namespace": "", "image": "", "scaler": "hpa", "mesh": "",
                     "insecure": False, "home": None, **given})  # fmt: skip


def configured(name: str = "more", **metadata: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels, **metadata}}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    return tmp_path / "fairlead.yaml"


def test_a_spec_says_name_and_namespace(spec: Path) -> None:
    found = gathered([], wanted())
    assert (found.name, found.namespace) == ("shop", "prod")
    assert deploying.endpoints(found.bodies) == ["churn"]
    assert gathered([spec], wanted(name="other")).name == "other"


def test_the_secrets_of_a_cluster_are_not_needed_to_deploy(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gathered([], wanted())
    assert "'DB_PASSWORD' is not set" in found.apart  # what was done is written down on this machine alone
    assert found.home.state.startswith("sqlite:///")
    monkeypatch.setenv("DB_PASSWORD", "x")
    assert gathered([], wanted()).apart == ""


def test_files_of_objects_go_along(spec: Path) -> None:
    (spec.parent / "more.yaml").write_text(yaml.safe_dump(configured(namespace="prod")))
    found = gathered([spec, spec.parent / "more.yaml"], wanted())
    assert [one["metadata"]["name"] for one in found.bodies if one["kind"] == "ConfigMap"] == ["churn", "more"]


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (("project: shop\n", ""), {}, "project is empty, and all specs without one would be one deployment"),
        (("", ""), {"namespace": "test"}, "fairlead.yaml:6: deploy.namespace is prod, and --namespace test; leave one"),
        (("", ""), {"target": "ray"}, "is a spec, and objects are made of it for kubernetes, not ray"),
        (("endpoints:", "endpoint:"), {}, "did you mean endpoints"),
        (("", ""), {"mesh": "gateway"}, "--mesh is 'gateway'"),
    ],
)
def test_what_a_spec_cannot_be_deployed_with(spec: Path, change: Any, given: Any, said: str) -> None:
    spec.write_text(SPEC.replace(*change) if change[0] else SPEC)
    with pytest.raises(UsageError) as caught:
        gathered([spec], wanted(**given))
    assert said in str(caught.value)


def test_two_specs_are_two_deployments(spec: Path) -> None:
    (spec.parent / "b.yaml").write_text(SPEC)
    with pytest.raises(UsageError, match="are two specs; deploy each by itself"):
        gathered([spec, spec.parent / "b.yaml"], wanted())


def test_the_namespace_is_that_of_most_objects() -> None:
    three = [configured("a", namespace="shop"), configured("b", namespace="shop"), configured("c", namespace="keda")]
    assert deploying.namespace(three) == "shop"
    assert deploying.namespace([configured(), configured("b")]) == ""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    assert deploying.namespace([made, *three]) == ""  # what is remembered must be kept before it is there


def test_a_scaler_is_chosen_for_a_spec_alone(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(configured()))
    with pytest.raises(UsageError, match="--scaler is for a spec"):
        gathered([tmp_path / "one.yaml"], wanted(scaler="keda"))
    assert gathered([tmp_path / "one.yaml"], wanted()).name == "shop"
