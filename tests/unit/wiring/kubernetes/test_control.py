"""The controller of a rendering is told what it reads, has memory for what it runs, and is ended when it hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli.spec import asked
from fairlead.kit import noted_yaml
from fairlead.kit.beat import TURN, Beat
from fairlead.kit.spec.read import parse
from fairlead.package import image
from fairlead.wiring.contained import HOME
from fairlead.wiring.kubernetes import objects
from fairlead.wiring.kubernetes.asked import Rendering
from kubernetes_cases import CASES, bodies
from kubernetes_schemas import problems

SPEC = """tracking: "http://me:${env:TRACKING_PASSWORD}@mlflow:5000"
state: "postgresql://fairlead:${env:DB_PASSWORD}@db/f"
events: s3://b/c
redis: "redis://:${env:REDIS_PASSWORD}@redis/0"
access: {required: true}
audit: {key: "env:AUDIT_KEY"}
server: {tls: {cert: /etc/tls/a.crt, key: /etc/tls/a.key}}
deploy: {image: "a:4", namespace: shop}
endpoints:
  a:
    model: models:/a@champion
    record: {hash: [email], salt: "${env:SALT}"}
    monitor: {alerts: {webhook: "https://alerts.example.org/hook"}}
    retrain: {pipeline: /opt/a.py}
  b:
    upstream: {urls: ["https://fraud.internal:8443"], token: "file:/run/secrets/fraud/token"}
  c:
    embedding: {model: /models/embedder}
    deploy: {volumes: {/models: embedder}}
"""


def controller(text: str, kind: str) -> dict[str, Any]:
    files = objects.objects(parse(text, "f.yaml"), Rendering())
    found = [noted_yaml.plain(one) for several in files.values() for one in several]
    assert [wrong for one in found for wrong in problems(one)] == []
    (one,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"].endswith("-controller")]
    return one


def container(text: str = SPEC) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = controller(text, "Deployment")["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_it_has_the_secrets_of_the_stores_and_none_of_those_that_serve() -> None:
    pod, one = container()
    keys = {each["name"] for each in one["env"] if "valueFrom" in each}
    assert keys == {"TRACKING_PASSWORD", "DB_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
    assert not [each for each in pod["volumes"] if "secret" in each]  # no certificate, no token of an upstream
    policy = controller(SPEC, "NetworkPolicy")["spec"]["egress"]
    ports = {port["port"] for rule in policy for port in rule["ports"]}
    assert {5000, 5432, 443} <= ports
    assert not {6379, 8443} & ports


def test_what_it_is_told_is_a_spec_that_it_can_follow_where_nothing_of_the_others_is(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.py"
    pipeline.write_text("")
    told = controller(SPEC.replace("/opt/a.py", str(pipeline)), "ConfigMap")["data"]["fairlead.yaml"]
    path = tmp_path / "fairlead.yaml"
    path.write_text(told.replace("${env:TRACKING_PASSWORD}", "x").replace("${env:DB_PASSWORD}", "y"))
    (course,) = asked(path, tmp_path, None).every()
    assert (course.endpoint, course.model, course.pipeline) == ("a", "a", pipeline)
    assert course.monitored.webhook == "https://alerts.example.org/hook"


def test_a_model_in_a_volume_that_it_has_not_does_not_hold_it_up(tmp_path: Path) -> None:
    more = "  d:\n    model: /models/d.onnx\n    slo: {availability: 0.99}\n    deploy: {volumes: {/models: weights}}\n"
    text = SPEC.replace("    retrain: {pipeline: /opt/a.py}\n", "") + more
    told = controller(text, "ConfigMap")["data"]["fairlead.yaml"]
    path = tmp_path / "fairlead.yaml"
    path.write_text(told.replace("${env:TRACKING_PASSWORD}", "x").replace("${env:DB_PASSWORD}", "y"))
    known = asked(path, tmp_path, None)
    assert [one.endpoint for one in known.every()] == ["a"]
    assert [one.endpoint for one in known.budgeted() if one.objectives] == ["d"]


def test_what_others_promise_is_followed_where_no_model_is_ours() -> None:
    promises = "endpoints:\n  b:\n    upstream: {urls: ['https://h:1']}\n    slo: {availability: 0.99}\n"
    assert (
        "availability" in controller(SPEC.partition("endpoints:")[0] + promises, "ConfigMap")["data"]["fairlead.yaml"]
    )


def test_another_spec_makes_another_pod_of_what_it_reads_alone() -> None:
    def stamp(text: str) -> str:
        return str(controller(text, "Deployment")["spec"]["template"]["metadata"]["annotations"]["fairlead.dev/spec"])

    assert stamp(SPEC) != stamp(SPEC.replace("/opt/a.py", "/opt/b.py"))
    assert stamp(SPEC) == stamp(SPEC.replace("/models/embedder", "/models/another"))


def test_it_is_told_what_others_promise_without_their_secrets(tmp_path: Path) -> None:
    promised = SPEC.replace("  c:\n", "    slo: {availability: 0.99}\n  c:\n").replace(
        "    retrain: {pipeline: /opt/a.py}\n", ""
    )
    inputs = "      inputs: {x: {datatype: FP32, shape: [-1, 4]}}\n"
    graph = f"  g:\n    graph:\n{inputs}      steps: {{s: {{endpoint: d, take: {{x: x}}}}}}\n"
    text = f"{promised}{graph}    slo: {{latency_ms: 100}}\n  d:\n    model: models:/d/1\n"
    told = controller(text, "ConfigMap")["data"]["fairlead.yaml"]
    assert "token" not in told
    path = tmp_path / "fairlead.yaml"
    path.write_text(told.replace("${env:TRACKING_PASSWORD}", "x").replace("${env:DB_PASSWORD}", "y"))
    assert [one.endpoint for one in asked(path, tmp_path, None).budgeted() if one.objectives] == ["b", "g"]


@pytest.mark.parametrize(
    ("said", "wanted"), [("", ("1Gi", "2Gi")), (", controller_memory: 6Gi", ("6Gi", "6Gi"))], ids=["usual", "said"]
)
def test_it_has_memory_for_the_pipelines_that_run_in_it(said: str, wanted: tuple[str, str]) -> None:
    _, one = container(SPEC.replace("namespace: shop", f"namespace: shop{said}"))
    assert (one["resources"]["requests"]["memory"], one["resources"]["limits"]["memory"]) == wanted


def test_its_probe_holds_while_it_goes_round_and_fails_when_it_hangs(tmp_path: Path) -> None:
    _, one = container()
    python, *words = one["livenessProbe"]["exec"]["command"]
    assert python == f"{image.ENVIRONMENT}/bin/python"
    turn = tmp_path / TURN

    def holds() -> bool:
        here = [word.replace(f"{HOME}/{TURN}", str(turn)) for word in words]
        assert here != words
        return subprocess.run([sys.executable, *here], capture_output=True, check=False).returncode == 0

    assert not holds()  # it has not begun
    Beat(turn, lambda: 0.0)()
    assert holds()
    os.utime(turn, (0, 0))
    assert not holds()


def test_a_beat_is_a_file_that_is_touched_once_in_some_seconds_and_again_where_it_went(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 6.0])
    beat = Beat(tmp_path / "home" / TURN, lambda: next(times))
    beat()
    (tmp_path / "home" / TURN).unlink()
    beat()
    assert not (tmp_path / "home" / TURN).exists()
    beat()
    assert (tmp_path / "home" / TURN).exists()
    Beat(Path("/proc/nothing") / TURN, lambda: 0.0)()  # where nothing can be written, that is not its business


@pytest.mark.parametrize("case", CASES)
def test_every_controller_of_the_cases_has_a_probe(case: str) -> None:
    for one in bodies(case):
        if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-controller"):
            assert "livenessProbe" in one["spec"]["template"]["spec"]["containers"][0]
