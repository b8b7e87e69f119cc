"""What a reading of the rendered objects, line by line, found: what no schema sees."""

# ruff: noqa: E501 - tables of specs and sentences, a line each
from __future__ import annotations

import posixpath
from typing import Any

import pytest
import yaml

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.spec.read import parse
from fairlead.wiring.kubernetes import kserve, objects
from fairlead.wiring.kubernetes.asked import Rendering
from kubernetes_cases import CASES, bodies, spec
from kubernetes_schemas import problems

BARE = """tracking: http://mlflow:5000
record: false
access: {required: true}
deploy: {image: "a:4", namespace: shop}
state: postgresql://db/f
server: {grpc_port: 8081}
endpoints:
"""
EDGE = BARE.replace("namespace: shop", "namespace: shop, host: m.example.com, gateway: {name: public}")
MODEL = "  {}:\n    model: models:/a/1\n"
UPSTREAM = '  {}:\n    upstream: {{urls: ["https://h:1"], token: "file:{}"}}\n'
STEPS = "  g:\n    graph:\n      inputs: {x: {datatype: FP32, shape: [-1, 4]}}\n      steps:\n"


def graph(*names: str) -> str:
    return STEPS + "".join(
        f"        s{place}: {{endpoint: {one}, take: {{x: x}}}}\n" for place, one in enumerate(names)
    )


def made(text: str, kind: str, **how: Any) -> list[dict[str, Any]]:
    files = objects.objects(parse(text, "f.yaml"), Rendering(**how))
    found = [noted_yaml.plain(one) for bodies in files.values() for one in bodies]
    assert [wrong for one in found for wrong in problems(one)] == []
    return [one for one in found if one["kind"] == kind]


def refused(text: str, **how: Any) -> str:
    with pytest.raises(UsageError) as caught:
        objects.render(parse(text, "f.yaml"), Rendering(**how))
    return str(caught.value)


def test_a_secret_of_a_file_inside_a_url_is_mounted_and_its_port_may_be_called() -> None:
    """A path has slashes, at which a URL would end."""
    text = BARE.replace("postgresql://db/f", '"postgresql://f:${file:/run/secrets/db/password}@db.data.svc:5433/f"')
    (pod,) = [one["spec"]["template"]["spec"] for one in made(text + MODEL.format("a"), "Deployment")]
    (secret,) = [one["secret"] for one in pod["volumes"] if "secret" in one]
    assert secret == {"secretName": "fairlead-secrets", "items": [{"key": "password", "path": "password"}]}
    assert "/run/secrets/db" in [one["mountPath"] for one in pod["containers"][0]["volumeMounts"]]
    (policy,) = made(text + MODEL.format("a"), "NetworkPolicy")
    assert 5433 in [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert "leads to 127.0.0.1" in refused(text.replace("db.data.svc", "127.0.0.1") + MODEL.format("a"))


def test_a_port_with_a_certificate_is_not_told_as_cleartext() -> None:
    ports = {one["name"]: one["appProtocol"] for body in bodies("plain-hpa") if body["kind"] == "Service"
             for one in body["spec"]["ports"]}  # fmt: skip
    assert ports == {"http": "https", "grpc": "https"}
    (service,) = made(BARE + MODEL.format("a"), "Service")
    assert [one["appProtocol"] for one in service["spec"]["ports"]] == ["http", "kubernetes.io/h2c"]


def test_grpc_is_a_rule_of_the_one_route_of_its_host() -> None:
    """Beside a GRPCRoute of the same host a Gateway takes one of the two (GRPCRoute, ``hostnames``)."""
    text = EDGE + MODEL.format("a")
    assert made(text, "GRPCRoute", mesh="gateway-api") == []
    (route,) = made(text, "HTTPRoute", mesh="gateway-api")
    rules = route["spec"]["rules"]
    assert [rule["backendRefs"][0]["port"] for rule in rules] == [8080, 8081]
    assert rules[1]["matches"][0]["path"]["value"] == "/inference.GRPCInferenceService"
    (virtual,) = made(text, "VirtualService", mesh="istio")
    first, rest = virtual["spec"]["http"]
    assert first["route"][0]["destination"]["port"] == {"number": 8081}
    assert first["match"][0] == {"uri": {"prefix": "/inference.GRPCInferenceService/"}}
    assert rest["route"][0]["destination"]["port"] == {"number": 8080}


def test_inside_of_a_mesh_a_service_has_all_of_its_paths() -> None:
    text = BARE.replace("server: {grpc_port: 8081}\n", "") + MODEL.format("a") + MODEL.format("b")
    for route in made(text, "HTTPRoute", mesh="gateway-api"):
        assert route["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
        assert "hostnames" not in route["spec"]
    virtual = made(text, "VirtualService", mesh="istio")
    assert [one["spec"]["hosts"] for one in virtual] == [["a"], ["b"]]
    assert all("match" not in one["spec"]["http"][0] for one in virtual)
    assert "f.yaml:4: deploy.host is a name outside" in refused(text.replace("space: shop", "space: shop, host: m.de"))


def test_a_route_has_no_more_paths_than_a_cluster_takes() -> None:
    text = EDGE.replace("server: {grpc_port: 8081}\n", "") + MODEL.format("other")
    fifteen = [f"m{number}" for number in range(15)]
    (route, _) = sorted(
        made(text + "".join(map(MODEL.format, fifteen)) + graph(*fifteen), "HTTPRoute", mesh="gateway-api"),
        key=lambda one: -len(one["spec"]["rules"]),
    )
    assert [len(rule["matches"]) for rule in route["spec"]["rules"]] == [64, 16]
    thirty = [f"m{number}" for number in range(30)]
    more = text + "".join(map(MODEL.format, thirty)) + graph(*thirty)
    assert "endpoints.g is in a pod with 30 others, which have 155 paths, and a route takes 128" in refused(
        more, mesh="gateway-api"
    )


def test_the_interceptor_knows_a_sleeping_model_by_the_host_and_paths_of_its_route() -> None:
    text = EDGE.replace("server: {grpc_port: 8081}\n", "")
    hosted = "  a:\n    llm: {engine: openai, base_url: 'https://x.y/v1'}\n    replicas: {min: 0, max: 3}\n"
    two = text + hosted + hosted.replace("  a:", "  b:")
    how = {"mesh": "gateway-api", "scaler": "keda"}
    routes = [one["spec"]["hostnames"] for one in made(two, "HTTPRoute", **how)]
    woken = [one["spec"] for one in made(two, "HTTPScaledObject", **how)]
    assert [one["hosts"] for one in woken] == routes == [["a.m.example.com"], ["b.m.example.com"]]
    assert all("pathPrefixes" not in one for one in woken)  # every path of the host
    shared = made(text + hosted + MODEL.format("c"), "HTTPScaledObject", **how)[0]["spec"]
    assert "/v2/models/a" in shared["pathPrefixes"]


@pytest.mark.parametrize(("name", "anywhere"), [("gke-l7-rilb", True), ("cilium", True), ("istio", False)])
def test_proxies_that_are_no_pods_may_call(name: str, anywhere: bool) -> None:
    text = EDGE.replace("server: {grpc_port: 8081}\n", "").replace("name: public", f"gateway_class: {name}")
    (policy,) = made(text + MODEL.format("a"), "NetworkPolicy", mesh="gateway-api")
    assert ("from" not in policy["spec"]["ingress"][0]) is anywhere


def out(policy: dict[str, Any]) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] if "to" not in rule for port in rule["ports"]}


def test_pods_reach_what_they_need_and_vllm_only_at_its_own() -> None:
    policies = {one["metadata"]["name"]: one for one in bodies("whole-hpa-gateway") if one["kind"] == "NetworkPolicy"}
    assert out(policies["helpdesk"]) == {53, 5353, 443, 4318, 5433, 6380, 9000}  # no 8000 of whatever pod
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "fairlead",
            "app.kubernetes.io/instance": "helpdesk-0-vllm"}}} in policies["helpdesk"]["spec"]["egress"][-1]["to"]  # fmt: skip
    assert 6443 in out(policies["shop-two-controller"])  # it moves weights by the cluster's API
    identity = [rule for rule in policies["churn"]["spec"]["egress"] if "to" in rule]
    assert identity[0]["to"] == [{"ipBlock": {"cidr": "169.254.0.0/16"}}]
    plain = next(one for one in bodies("plain-hpa") if one["kind"] == "NetworkPolicy")
    assert all("to" not in rule for rule in plain["spec"]["egress"])


def test_no_figure_is_no_load_of_none() -> None:
    for case in CASES:
        for one in bodies(case):
            if one["kind"] == "ScaledObject":
                assert one["spec"]["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
                assert one["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_prometheus_finds_its_objects_and_records_one_namespace() -> None:
    found = [one for one in bodies("whole-keda-gateway") if one["apiVersion"].startswith("monitoring.coreos.com")]
    assert len(found) == 3
    assert all(one["metadata"]["labels"]["release"] == "kube-prometheus-stack" for one in found)
    (rule,) = [one for one in found if one["kind"] == "PrometheusRule"]
    expressions = [one["expr"] for one in rule["spec"]["groups"][0]["rules"]]
    assert all(one.count('namespace="shop"') == 2 for one in expressions)


def test_a_pipeline_is_where_it_is_run() -> None:
    for one in bodies("whole-hpa-gateway"):
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "shop-two-controller":
            pod = one["spec"]["template"]["spec"]
            assert {"name": "claim-0", "mountPath": "/opt/shop", "readOnly": True} in pod["containers"][0][
                "volumeMounts"
            ]
    retrained = "    retrain: {{pipeline: /opt/a.py}}\n    deploy: {{volumes: {{/opt/p: {}}}}}\n"
    text = BARE.replace("record: false", "events: s3://b/c")
    one = "  a:\n    model: models:/a@b\n" + retrained.format("x")
    two = "  c:\n    model: models:/c@b\n" + retrained.format("y")
    assert "endpoints.c.deploy.volumes has y at /opt/p, and another endpoint" in refused(text + one + two)


@pytest.mark.parametrize("case", [*CASES, "kserve"])
def test_every_volume_is_mounted_once_and_none_hides_another(case: str) -> None:
    for one in bodies(case):
        if one["kind"] in ("Deployment", "ServingRuntime"):
            pod = one["spec"]["template"]["spec"] if one["kind"] == "Deployment" else one["spec"]
            (container,) = pod["containers"]
            assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
            folders = [each["mountPath"] for each in container["volumeMounts"]]
            assert len(set(folders)) == len(folders)
            assert not {posixpath.dirname(folder) for folder in folders} & set(folders)


def test_vllm_has_room_for_weights_and_keeps_its_caches_there() -> None:
    (pod,) = [one["spec"]["template"]["spec"] for one in bodies("design-keda-istio")
              if one["kind"] == "Deployment" and one["metadata"]["name"] == "assistant-0-vllm"]  # fmt: skip
    (home,) = [one for one in pod["volumes"] if one["name"] == "home"]
    assert home == {"name": "home", "emptyDir": {"sizeLimit": "100Gi"}}
    written = {one["name"]: one["value"] for one in pod["containers"][0]["env"] if "value" in one}
    assert all(written[name].startswith("/var/lib/fairlead") for name in ("HOME", "HF_HOME", "VLLM_CACHE_ROOT"))


def test_kserve_pods_are_as_restricted_as_others() -> None:
    for one in bodies("kserve"):
        if one["kind"] == "ServingRuntime":
            (container,) = one["spec"]["containers"]
            context = container["securityContext"]
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)
    text = BARE.replace("{grpc_port: 8081}", "{port: 9090}") + MODEL.format("a")
    with pytest.raises(UsageError, match=r"f\.yaml:6: server\.port is 9090, which is Knative's own in each pod"):
        kserve.render(parse(text, "f.yaml"), Rendering())


CANARY = "  churn:\n    model: models:/churn@champion\n    rollout: {strategy: canary}\n"
VLLM = "  a:\n    llm: {engine: vllm, model: b/c}\n"


@pytest.mark.parametrize(
    ("endpoints", "said"),
    [
        (CANARY + MODEL.format("churn-stable"), "endpoints.churn-stable makes the Service churn-stable, and so does one of churn"),
        (VLLM + MODEL.format("a-vllm"), "endpoints.a-vllm makes the ServiceAccount a-vllm, and so does one of a"),
        (MODEL.format("a.b") + MODEL.format("a_b"), "endpoints.a_b and a.b are both a-b in Kubernetes"),
        (MODEL.format("a_"), "f.yaml:7: endpoints.a_ has a name that Kubernetes cannot have"),
        (MODEL.format("a" * 128), "has a name that Kubernetes cannot have; give at most 46"),
        (UPSTREAM.format("a", "/run/a/token") + UPSTREAM.format("b", "/run/b/token"), "endpoints.b.upstream.token: /run/b/token and /run/a/token are both the key token of the Secret"),
        (UPSTREAM.format("a", "/token"), "f.yaml:8: endpoints.a.upstream.token is in the folder /, where a pod has something else"),
        (UPSTREAM.format("a", "/etc/token"), "endpoints.a.upstream.token is in the folder /etc, where a pod has something else"),
        (UPSTREAM.format("a", "/run/my token"), "endpoints.a.upstream.token is the file 'my token', and a key of a Secret has letters"),
        (UPSTREAM.format("a", "/run/x/token") + "    deploy: {volumes: {/run/x: c}}\n", "endpoints.a.upstream.token is in /run/x, which is a volume"),
        (MODEL.format("a") + "    deploy: {volumes: {/m: a, /m/x: b}}\n", "endpoints.a.deploy.volumes is in the folder /m/x, which is in /m"),
        (MODEL.format("a") + '    deploy: {volumes: {"/a:b": c}}\n', "endpoints.a.deploy.volumes has the folder '/a:b'"),
        (MODEL.format("a") + "    deploy: {volumes: {/var: c}}\n", "endpoints.a.deploy.volumes has the folder '/var'"),
    ],
)  # fmt: skip
def test_what_would_be_one_or_hide_another(endpoints: str, said: str) -> None:
    text = EDGE.replace("server: {grpc_port: 8081}\n", "").replace("record: false", "record: true") + endpoints
    text += "events: s3://shop/events\n"
    assert said in refused(text, mesh="gateway-api")


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("{cert: /etc/tls/a.pem, key: /etc/key/b.pem}", "f.yaml:6: server.tls.key is /etc/key/b.pem, and the certificate is in /etc/tls"),
        ("{cert: /etc/a.pem}", "f.yaml:6: server.tls.cert is in the folder /etc, where a pod has something else"),
    ],
)  # fmt: skip
def test_certificates_have_a_folder_of_their_own(tls: str, said: str) -> None:
    assert said in refused(BARE.replace("grpc_port: 8081", f"tls: {tls}") + MODEL.format("a"))


def test_the_file_of_the_whole_is_none_of_an_endpoint() -> None:
    text = BARE.replace("server: {grpc_port: 8081}\n", "") + MODEL.format("common") + MODEL.format("fairlead-common")
    files = objects.render(parse(text, "f.yaml"), Rendering())
    assert set(files) == {"fairlead-fairlead-common.yaml", "common.yaml", "fairlead-common.yaml"}
    named = "project: x\n" + text.replace("record: false", "events: s3://b/c") + MODEL.format("x-controller")
    assert "endpoints.x-controller makes the ServiceAccount x-controller, and so does one of the whole" in refused(
        named
    )


def test_names_that_yaml_reads_otherwise_stay_names() -> None:
    for name in ("1", "true", "null", "no", "1e3", "0x1f"):
        text = BARE.replace("server: {grpc_port: 8081}\n", "") + MODEL.format(f'"{name}"')
        files = objects.render(parse(text, "f.yaml"), Rendering())
        every = [one for each in files.values() for one in yaml.safe_load_all(each)]
        assert all(isinstance(one["metadata"]["name"], str) for one in every)
        (config,) = [one for one in every if one["kind"] == "ConfigMap"]
        assert list(yaml.safe_load(config["data"]["fairlead.yaml"])["endpoints"]) == [name]


def test_keys_of_callers_are_in_a_store_that_pods_share() -> None:
    text = BARE.replace("state: postgresql://db/f\n", "") + MODEL.format("a")
    assert "(keys of callers are in it)" in refused(text)
    open_to_all = text.replace("access: {required: true}\n", "")
    assert objects.render(parse(open_to_all, "f.yaml"), Rendering(insecure=True))
    assert spec("plain").spec.record is False
