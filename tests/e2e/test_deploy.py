"""``fairlead deploy`` as a user runs it, against a cluster's API: shown, applied, killed, stopped, rolled back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.adapters.targets.kubernetes import bodies
from fairlead.testing.cluster import FakeCluster
from fairlead.testing.cluster_api import TOKEN, Api, kubeconfig, serving

LABELS = {"app.kubernetes.io/part-of": "churn"}


def objects(image: str) -> list[dict[str, Any]]:
    labels = {"app": "churn"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": image}]}}
    made = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "churn"},
            "spec": {"selector": {"matchLabels": labels}, "template": template, "progressDeadlineSeconds": 3},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spec"}, "data": {"image": image}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "churn"}, "spec": {"ports": [{"port": 80}]}},
    ]
    for one in made:
        one["metadata"] |= {"labels": LABELS}
    return made


class Desk:
    """A user's folder, and the cluster that it leads to."""

    def __init__(self, folder: Path, api: Api) -> None:
        self.folder, self.api = folder, api
        kubeconfig(folder / "config", api.url)
        (folder / "k8s").mkdir()
        self.write("churn:1")

    def write(self, image: str, *, without: str = "") -> None:
        made = [one for one in objects(image) if one["kind"] != without]
        (self.folder / "k8s" / "all.yaml").write_text(yaml.safe_dump_all(made))

    def start(self, *words: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "KUBECONFIG": str(self.folder / "config")}
        command = [sys.executable, "-P", "-m", "fairlead", "deploy", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def deploy(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, error = process.communicate(timeout=60)
        assert TOKEN not in out + error
        assert "Traceback" not in error
        return process.returncode, out, error

    def image(self) -> str:
        found = self.api.cluster.get("deployments", "churn")
        return found["spec"]["template"]["spec"]["containers"][0]["image"] if found else ""

    def configured(self) -> str:
        found = self.api.cluster.get("configmaps", "spec")
        return found["data"]["image"] if found else ""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with serving(FakeCluster()) as api:
        yield Desk(tmp_path, api)


def test_shown_applied_and_changed(desk: Desk) -> None:
    code, out, _ = desk.deploy("--dry-run")
    assert code == 0
    assert out.splitlines() == [
        "create  ConfigMap/spec in ml",
        "create  Service/churn in ml",
        "create  Deployment/churn in ml",
    ]
    assert desk.api.cluster.names("deployments") == []
    assert desk.api.cluster.names("secrets") == []

    code, out, error = desk.deploy()
    assert (code, out.startswith("churn: 3 changed; all ready after ")) == (0, True)
    assert "ready    Deployment/churn in ml" in error

    code, out, _ = desk.deploy("--json")
    assert code == 0
    answer = json.loads(out)
    assert (answer["deployment"], answer["changed"], answer["ready"]) == ("churn", 0, True)
    assert {one["change"] for one in answer["changes"]} == {"same"}

    desk.write("churn:2")
    _, out, _ = desk.deploy("--dry-run")
    place = "spec.template.spec.containers[server].image"
    assert f'{place}: "churn:1" -> "churn:2"' in out
    assert desk.deploy()[0] == 0
    assert desk.image() == "churn:2"


def test_an_image_that_is_not_there_is_rolled_back(desk: Desk) -> None:
    assert desk.deploy()[0] == 0
    desk.api.cluster.broken = {"churn:2"}
    desk.write("churn:2")
    code, out, error = desk.deploy("--json", "--timeout", "20")
    assert code == 1
    answer = json.loads(out)
    assert answer["code"] == "not_ready"
    assert "timed out progressing" in answer["error"]
    assert answer["error"].endswith("rolled back to what was there")
    assert "ImagePullBackOff" in error
    assert (desk.image(), desk.configured()) == ("churn:1", "churn:1")


def test_a_first_deployment_that_fails_leaves_nothing(desk: Desk) -> None:
    desk.api.cluster.broken = {"churn:1"}
    code, _, error = desk.deploy("--timeout", "1")
    assert code == 1
    assert "not ready after 1 s: Deployment/churn in ml: 0 of 1 replicas are available; pod churn-" in error
    assert [desk.api.cluster.names(kind) for kind in ("deployments", "services", "configmaps")] == [[], [], []]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_puts_back_what_was_there(desk: Desk, number: int) -> None:
    assert desk.deploy()[0] == 0
    process = begun(desk)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped; rolled back to what was there" in error
    assert (desk.image(), desk.configured()) == ("churn:1", "churn:1")


def test_killed_it_is_undone_by_the_next(desk: Desk) -> None:
    assert desk.deploy()[0] == 0
    process = begun(desk)
    process.kill()
    process.communicate(timeout=30)
    assert desk.image() == "churn:2"
    code, _, error = desk.deploy()
    assert code == 1
    assert "is at work on deployment 'churn'" in error
    older(desk)
    code, out, _ = desk.deploy("--rollback", "--name", "churn")
    assert (code, out) == (0, "churn: rolled back what was interrupted\n")
    assert (desk.image(), desk.configured()) == ("churn:1", "churn:1")
    assert desk.deploy("--rollback", "--name", "churn")[0] == 2


def begun(desk: Desk) -> subprocess.Popen[str]:
    """A deployment that waits for an image that is not there."""
    desk.api.cluster.broken = {"churn:2"}
    desk.write("churn:2")
    (desk.folder / "k8s" / "all.yaml").write_text(
        (desk.folder / "k8s" / "all.yaml")
        .read_text()
        .replace("progressDeadlineSeconds: 3", "progressDeadlineSeconds: 99")
    )
    process = desk.start()
    ends = time.monotonic() + 30
    while desk.image() != "churn:2":
        assert time.monotonic() < ends
        time.sleep(0.02)
    return process


def older(desk: Desk) -> None:
    """As if the last sign of life were a while ago."""
    kept = desk.api.cluster._objects["secrets", "ml", bodies.note_name("churn")]
    said = json.loads(bodies.text_of(kept.body))
    said["at_ms"] -= 61_000
    kept.body["data"] = bodies.note_of("churn", json.dumps(said), "")["data"]


def test_what_the_files_no_longer_have(desk: Desk) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {}}
    desk.api.cluster.request("POST", "/api/v1/namespaces/ml/configmaps", {}, theirs)
    assert desk.deploy()[0] == 0
    desk.write("churn:1", without="ConfigMap")
    code, out, _ = desk.deploy()
    assert code == 0
    assert desk.api.cluster.names("configmaps") == ["spec", "theirs"]
    code, out, _ = desk.deploy("--prune")
    assert (code, "1 removed" in out) == (0, True)
    assert desk.api.cluster.names("configmaps") == ["theirs"]


def test_what_somebody_else_made(desk: Desk) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spec"}, "data": {"image": "theirs"}}
    desk.api.cluster.request("POST", "/api/v1/namespaces/ml/configmaps", {}, theirs)
    code, _, error = desk.deploy()
    assert code == 1
    assert "ConfigMap/spec in ml: made by somebody else, not by deployment 'churn'; --adopt takes them over" in error
    assert desk.configured() == "theirs"
    assert desk.api.cluster.names("services") == []
    assert desk.deploy("--adopt")[0] == 0
    assert desk.configured() == "churn:1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml is not there"),
        (["--target", "mesos"], "no plugin named 'mesos' in fairlead.targets (installed: kubernetes)"),
        (["--name", "Not A Name"], "--name 'Not A Name'"),
        (["--rollback"], "has no earlier deployment that was ready"),
        (["--to", "2"], "--to is a revision to go back to; give --rollback"),
        (["--mesh", "gateway-api"], "--mesh is for a spec, and these are objects"),
        (["--kubeconfig", "nowhere"], "no cluster is configured: nowhere is not there"),
        (["--context", "other"], "no context 'other'; there are: test"),
    ],
)
def test_wrong_use(desk: Desk, words: list[str], said: str) -> None:
    code, _, error = desk.deploy(*words)
    assert code == 2
    assert said in error


def test_a_cluster_that_does_not_answer(desk: Desk) -> None:
    desk.api.down = True
    code, out, _ = desk.deploy("--json")
    assert code == 1
    assert json.loads(out)["code"] == "target_unreachable"


SPEC = """project: shop
tracking: http://mlflow:5000
state: postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead
record: false
access: {required: true}
deploy: {image: "registry.example.com/churn:4", namespace: ml}
endpoints:
  churn: {model: models:/churn@champion}
"""


def test_a_spec_is_deployed_as_it_is_rendered_and_one_can_go_back(desk: Desk, run: Any, environment: Any) -> None:
    environment["KUBECONFIG"] = str(desk.folder / "config")
    environment["FAIRLEAD_STATE"] = f"sqlite:///{environment['FAIRLEAD_HOME']}/state.db"
    spec = desk.folder / "fairlead.yaml"
    spec.write_text(SPEC.replace("churn:4", "churn:latest"))
    told = run("deploy")
    assert told.returncode == 2
    assert "fairlead.yaml:6: deploy.image is 'registry.example.com/churn:latest'" in told.stderr
    assert desk.api.cluster.names("secrets") == []

    spec.write_text(SPEC)
    first = json.loads(run("deploy", "--json").stdout)
    assert (first["deployment"], first["ready"], first["revision"]) == ("shop", True, 1)
    assert run("render", "kubernetes", "-o", "rendered").returncode == 0
    again = json.loads(run("deploy", "rendered", "--dry-run", "--json").stdout)
    assert {one["change"] for one in again["changes"]} == {"same"}
    assert len(again["changes"]) == first["changed"]

    spec.write_text(SPEC.replace("churn:4", "churn:5"))
    assert run("deploy").returncode == 0
    assert desk.image().endswith("churn:5")
    told = run("deploy", "--rollback")
    assert "shop: back at revision 1, " in told.stdout, told.stderr
    assert desk.image().endswith("churn:4")
    kept = json.loads(run("deploy", "--history", "--json").stdout)
    assert [(one["revision"], one["back_to"]) for one in kept] == [(1, 0), (2, 0), (3, 1)]
    assert kept[0]["digest"] == kept[2]["digest"] == first["digest"] != kept[1]["digest"]
    assert kept[0]["who"].startswith("tester@")

    lines = [json.loads(line) for line in run("audit", "tail", "--json").stdout.splitlines()]
    told = [(one["actor"], one["action"], one["outcome"], one["detail"]["digest"]) for one in lines]
    digests = [one["digest"] for one in kept]
    acts = [("deploy", digests[0]), ("deploy", digests[1]), ("deploy.rollback", digests[2])]
    assert told == [("local:tester", act, "allowed", digest) for act, digest in acts]
    happened = json.loads(run("timeline", "churn", "--json").stdout)
    ends = ["deployed", "deployed", "went back to revision 1"]
    assert [one["text"].partition(":")[0] for one in happened] == [f"shop {end} on kubernetes" for end in ends]
