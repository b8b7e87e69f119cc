"""What a spec becomes for Kubernetes and KServe."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.cli import deploy
from fairlead.kit import noted_yaml
from fairlead.kit.spec.deploy import Deploy, Gateway, Pods
from fairlead.kit.spec.read import parse
from fairlead.kit.spec.spec import Endpoint
from fairlead.wiring import specs
from fairlead.wiring.kubernetes import objects, routes
from fairlead.wiring.kubernetes.asked import Rendering
from fairlead.wiring.prometheus import rules
from kubernetes_cases import CASES, HERE, bodies, golden, spec
from kubernetes_schemas import problems, strict

ALL = (*CASES, "kserve")


def found(case: str, kind: str, name: str = "") -> dict[str, Any]:
    (one,) = [each for each in bodies(case) if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return one


@pytest.mark.parametrize("case", ALL)
def test_it_is_what_was_reviewed(case: str) -> None:
    """``python tests/kubernetes_cases.py`` writes them anew."""
    assert golden(case) == (HERE / "golden" / f"{case}.yaml").read_text()


@pytest.mark.parametrize("case", ALL)
def test_a_cluster_takes_every_object(case: str) -> None:
    assert [wrong for body in bodies(case) for wrong in problems(body)] == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replicaz"), 1),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "resources", "limit"), {}),
        ("HTTPRoute", ("spec", "rules", 0, "backendRefs", 0, "weight"), "90"),
        ("HTTPScaledObject", ("spec", "replicas", "minimum"), 0),
        ("ServiceMonitor", ("spec", "endpoints", 0, "honourLabels"), True),
    ],
)
def test_the_schemas_would_see_a_slip(kind: str, path: tuple[Any, ...], value: Any) -> None:
    body = next(one for one in bodies("design-keda-gateway") if one["kind"] == kind)
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems(body)


def test_a_deployment_waits_for_as_long_as_a_pod_may_take_to_start() -> None:
    (container,) = found("design-keda-gateway", "Deployment", "churn-stable")["spec"]["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    waits = inspect.signature(deploy.deploy).parameters["timeout"].default
    assert waits >= probe["failureThreshold"] * probe["periodSeconds"]


def test_a_strict_schema_refuses_what_a_cluster_drops() -> None:
    made = strict(
        {
            "type": "object",
            "properties": {"a": {"x-kubernetes-int-or-string": True}, "b": {"type": "string", "nullable": True}},
        }
    )
    assert made["additionalProperties"] is False
    assert made["properties"]["a"]["type"] == ["integer", "string"]
    assert made["properties"]["b"]["type"] == ["string", "null"]


def test_the_specs_use_every_field_for_a_cluster() -> None:
    whole = yaml.safe_load((HERE / "whole.yaml").read_text())
    gateways = [spec(name).spec.deploy.gateway for name in ("design", "whole")]
    assert set(whole["deploy"]) == set(Deploy.model_fields)
    assert {part for one in gateways if one for part in one.model_fields_set} == set(Gateway.model_fields)
    pods = [one.deploy.model_fields_set for one in spec("whole").spec.endpoints.values()]
    assert set().union(*pods) == set(Pods.model_fields)
    used = set().union(*(one.model_fields_set for one in spec("whole").spec.endpoints.values()))
    assert used == set(Endpoint.model_fields)


@pytest.mark.parametrize("case", ALL)
def test_pods_are_told_a_spec_that_they_can_serve(case: str, tmp_path: Path) -> None:
    told = [one for one in bodies(case) if one["kind"] == "ConfigMap"]
    assert told
    for number, one in enumerate(told):
        path = tmp_path / f"{number}.yaml"
        path.write_text(one["data"]["fairlead.yaml"])
        read = specs.read(path).spec
        assert read.server.host == "0.0.0.0"
        assert read.server.grace > max(each.deadline_ms for each in read.endpoints.values()) / 1000
        assert all(each.replicas is None for each in read.endpoints.values())  # the cluster has them


@pytest.mark.parametrize("case", ALL)
def test_no_secret_is_in_it_and_every_one_is_referred_to(case: str) -> None:
    for body in bodies(case):
        assert body["kind"] != "Secret"
    text = golden(case)
    if case.startswith("whole"):
        for name in ("DB_PASSWORD", "REDIS_PASSWORD", "OTLP_HEADERS", "SALT", "VLLM_KEY", "OPENAI_API_KEY"):
            assert f"secretKeyRef: {{name: shop-secret, key: {name}}}" in text


def containers(case: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for one in bodies(case):
        if one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield pod, container


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_restricted_and_outlives_its_streams(case: str) -> None:
    for pod, container in containers(case):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert "cpu" not in container["resources"]["limits"]
        if "lifecycle" in container:
            slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > slept
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        mounted = {one["name"] for one in container["volumeMounts"]}
        assert mounted <= {one["name"] for one in pod["volumes"]}


def test_selectors_find_the_pods_and_each_arm_its_own() -> None:
    for case in CASES:
        pods = {
            one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
            for one in bodies(case)
            if one["kind"] == "Deployment"
        }
        for one in bodies(case):
            if one["kind"] == "Service":
                fits = [name for name, labels in pods.items() if one["spec"]["selector"].items() <= labels.items()]
                name = one["metadata"]["name"]
                assert fits == ([name] if name in pods else [f"{name}-stable", f"{name}-canary"])


def test_the_autoscaler_follows_from_what_was_measured() -> None:
    hpa = found("whole-hpa-gateway", "HorizontalPodAutoscaler", "churn-stable")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 8)  # 50/s x 0.4 s x 1.5 / 4 = 7.5
    metric = hpa["metrics"][0]["pods"]
    assert metric["metric"]["name"] == "fairlead_requests_in_flight"
    assert metric["target"] == {"type": "AverageValue", "averageValue": "2666m"}  # 4 / 1.5
    assert "# 50/s x 0.4 s, 50% beside it, 4 in a pod (Little's law)" in golden("whole-hpa-gateway")
    assert all(
        "cpu" not in str(one["spec"]["metrics"])
        for one in bodies("whole-hpa-gateway")
        if one["kind"] == "HorizontalPodAutoscaler"
    )
    deployment = found("whole-hpa-gateway", "Deployment", "churn-stable")["spec"]
    assert "replicas" not in deployment  # applying it again would undo the autoscaler
    scaled = found("whole-keda-gateway", "ScaledObject", "churn-stable")["spec"]
    assert scaled["triggers"][0]["metadata"]["threshold"] == "2.667"
    assert 'job="churn-stable",namespace="shop"' in scaled["triggers"][0]["metadata"]["query"]


def test_a_target_that_nobody_measured_says_so() -> None:
    assert 'averageValue: "8"  # target_concurrency, which nobody measured' in golden("plain-hpa")


def test_the_first_call_of_a_sleeping_model_has_time_to_wake_it() -> None:
    route = found("design-keda-gateway", "HTTPRoute", "churn")
    assert route["spec"]["rules"][0]["timeouts"]["request"] == "5450ms"  # 200 ms, 5 s to wake, and a quarter
    woken = found("design-keda-gateway", "HTTPScaledObject")["spec"]
    assert woken["replicas"] == {"min": 0, "max": 4}
    assert woken["scaledownPeriod"] == 600
    assert woken["timeouts"]["conditionWait"] == "5s"
    assert [one["kind"] for one in bodies("design-keda-gateway")].count("ReferenceGrant") == 1


def test_a_canary_has_two_backends_and_begins_with_nothing() -> None:
    route = found("whole-hpa-gateway", "HTTPRoute", "churn")
    assert route["metadata"]["labels"]["fairlead.dev/endpoint"] == "churn"
    backends = route["spec"]["rules"][0]["backendRefs"]
    assert [(one["name"], one["weight"]) for one in backends] == [("churn-stable", 100), ("churn-canary", 0)]
    for case in ("whole-hpa-gateway", "design-keda-gateway"):
        told = [found(case, "ConfigMap", f"churn-{arm}")["data"] for arm in ("stable", "canary")]
        assert told[0] == told[1]  # which version an arm has is said by the rollout
    hpa = found("whole-hpa-gateway", "HorizontalPodAutoscaler", "churn-canary")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 8)  # its last step leads all calls there
    woken = found("design-keda-gateway", "ScaledObject", "churn-canary")["spec"]
    assert (woken["minReplicaCount"], woken["maxReplicaCount"]) == (1, 4)  # nothing holds a call that wakes it


@pytest.mark.parametrize("case", CASES)
def test_either_the_route_shares_calls_out_or_the_servers_do(case: str) -> None:
    words = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0].get("args", [])
             for one in bodies(case) if one["kind"] == "Deployment"}  # fmt: skip
    arms = {name: args[args.index("--arm") + 1] for name, args in words.items() if "--arm" in args}
    moved = case in ("design-keda-gateway", "whole-hpa-gateway", "whole-keda-gateway")
    assert arms == ({"churn-stable": "champion", "churn-canary": "candidate"} if moved else {})
    controllers = [args for args in words.values() if args[:1] == ["controller"]]
    assert all((args[2:] == ["--target", "kubernetes"]) is moved for args in controllers)
    rules = [one["rules"] for one in bodies(case) if one["kind"] == "Role"]
    routed = {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"]}
    exact = [{**routed, "verbs": ["list"]}, {**routed, "resourceNames": ["churn"], "verbs": ["patch"]}]
    assert rules == ([exact] if moved else [])
    tokens = [one["metadata"]["name"] for one in bodies(case)
              if one["kind"] == "ServiceAccount" and one["automountServiceAccountToken"]]  # fmt: skip
    assert [name.rpartition("-")[2] for name in tokens] == (["controller"] if moved else [])


def test_gpus_slices_and_engines_are_asked_for() -> None:
    churn = found("whole-hpa-gateway", "Deployment", "churn-stable")["spec"]["template"]["spec"]
    assert churn["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    assert churn["tolerations"][0]["key"] == "nvidia.com/gpu"
    vllm = found("whole-hpa-gateway", "Deployment", "helpdesk-0-vllm")["spec"]["template"]["spec"]["containers"][0]
    words = " ".join(vllm["args"])
    assert "--tensor-parallel-size 2" in words
    assert "--max-model-len 16384 --dtype bfloat16" in words
    assert "--no-enable-prefix-caching" in words
    assert vllm["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert vllm["startupProbe"]["failureThreshold"] * vllm["startupProbe"]["periodSeconds"] >= 900


def test_endpoints_that_call_one_another_share_a_pod() -> None:
    names = {one["metadata"]["name"] for one in bodies("whole-hpa-gateway") if one["kind"] == "Deployment"}
    assert names == {
        "churn-stable",
        "churn-canary",
        "tabular",
        "risk",
        "fraud",
        "helpdesk",
        "helpdesk-0-vllm",
        "shop-two-controller",
    }


def test_more_rules_go_along() -> None:
    group = {"name": "slo", "rules": [{"alert": "Burning", "expr": "vector(1)", "labels": {"severity": "page"}}]}
    made = objects.objects(spec("whole"), Rendering(mesh="gateway-api", rules=(group,)))
    (rule,) = [one for one in made["common"] if one["kind"] == "PrometheusRule"]
    assert rule["spec"]["groups"][1] == group


def test_rules_of_the_spec_are_taken_too() -> None:
    file = spec("whole")
    made = objects.objects(file, Rendering(mesh="gateway-api", rules=rules.groups(file)))
    (rule,) = [noted_yaml.plain(one) for one in made["common"] if one["kind"] == "PrometheusRule"]
    assert problems(rule) == []
    assert len(rule["spec"]["groups"]) > 2


def test_a_file_of_prices_goes_along(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("- {model: chat, input: 1.5, output: 2}\n")
    text = f"""prices_file: {tmp_path}/prices.yaml
record: false
endpoints:
  chat: {{llm: {{engine: openai, base_url: "https://api.openai.com/v1"}}}}
"""
    made = objects.objects(parse(text, "f.yaml"), Rendering("a:1", insecure=True))["chat"]
    (config,) = [one for one in made if one["kind"] == "ConfigMap"]
    told = yaml.safe_load(config["data"]["fairlead.yaml"])
    assert told["prices"] == [{"model": "chat", "input": 1.5, "output": 2.0}]
    assert "prices_file" not in told


def test_it_is_the_same_each_time() -> None:
    assert golden("whole-hpa-gateway") == golden("whole-hpa-gateway")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.45, "450ms"), (30.25, "30250ms"), (60.0, "60s"), (100.25, "101s"), (3600.0, "3600s"), (0.0001, "1ms")],
)
def test_durations_are_those_of_the_gateway_api(seconds: float, text: str) -> None:
    assert routes.duration(seconds) == text
