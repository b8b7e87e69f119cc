"""Labels name their endpoint, and the store is one: one unit keeps those of all that share a host."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.kit import noted_yaml
from fairlead.kit.spec.read import parse
from fairlead.serve import http
from fairlead.wiring.kubernetes import objects, routes
from fairlead.wiring.kubernetes.asked import Rendering
from kubernetes_schemas import problems

HEAD = """tracking: http://mlflow:5000
state: postgresql://db/f
events: s3://b/c
access: {required: true}
deploy: {image: "a:4", namespace: shop, host: m.example.com, gateway: {name: public}}
endpoints:
"""
MODEL = "  {}:\n    model: models:/{}@champion\n"
SLEEPS = "    replicas: {min: 0, max: 3, target_concurrency: 4}\n"
WOKEN = "interceptor"
"""In the name of what holds a call until a pod is awake, 5 seconds as usual, and leads it there then."""
CHAT = "  {}:\n    llm: {{engine: openai, base_url: 'https://x.y/v1'}}\n"


def given(*names: str, extra: str = "") -> str:
    return HEAD + "".join(MODEL.format(name, name) + extra for name in names)


def made(text: str, kind: str, mesh: str = "gateway-api") -> dict[str, dict[str, Any]]:
    files = objects.objects(parse(text, "f.yaml"), Rendering(mesh=mesh, scaler="keda"))
    found = [noted_yaml.plain(one) for several in files.values() for one in several]
    assert [wrong for one in found for wrong in problems(one)] == []
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def keepers(text: str) -> list[str]:
    """Units whose route has the labels of its host, in a rule of their own."""
    found = []
    for name, route in made(text, "HTTPRoute").items():
        rules = [one for one in route["spec"]["rules"] if "/v1/feedback" in str(one["matches"])]
        assert len(rules) <= 1
        if rules:
            assert rules[0]["matches"] == [{"path": {"type": "Exact", "value": "/v1/feedback"}}]
            assert rules[0]["timeouts"] == {"request": "15250ms" if WOKEN in str(rules) else "10250ms"}
            assert rules[0]["backendRefs"] == route["spec"]["rules"][0]["backendRefs"]
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (given("a"), ["a"]),
        (given("a", "b"), ["a"]),
        (given("a", extra=SLEEPS) + MODEL.format("b", "b"), ["b"]),
        (given("a", "b", extra=SLEEPS), ["a"]),
        (given("a", "b") + "    access: {scopes: ['b:predict', 'partners:feedback']}\n", ["b"]),
        (given("a", "b") + "    access: {scopes: ['b:*']}\n", ["b"]),
        (given("a", "b") + "    access: {scopes: ['partners:predict']}\n", ["a"]),
        (given("a", "b", extra="    access: {scopes: ['partners:*']}\n"), []),
        (given("a", "b") + CHAT.format("c") + CHAT.format("d"), ["a", "c", "d"]),
        (given("a", "b").replace("endpoints:", "record: false\nendpoints:"), []),
        (given("a", "b").replace(", host: m.example.com, gateway: {name: public}", ""), ["a", "b"]),
    ],
    ids=[
        "one", "the first", "one that is awake", "all asleep", "who may give them", "by any action", "not who gives",
        "two say who", "hosts of their own", "nothing is kept", "inside of a mesh",
    ],
)  # fmt: skip
def test_one_unit_of_a_host_keeps_the_labels(text: str, wanted: list[str]) -> None:
    assert keepers(text) == wanted


def test_istio_leads_them_to_the_same_unit_before_its_other_paths() -> None:
    first, second = made(given("a", "b"), "VirtualService", mesh="istio").values()
    assert first["spec"]["http"][0]["match"] == [{"uri": {"exact": "/v1/feedback"}}]
    assert first["spec"]["http"][0]["timeout"] == "10.25s"
    assert "/v1/feedback" not in str(second)


def test_istio_waits_for_a_pod_to_wake_too() -> None:
    (one,) = made(given("a", extra=SLEEPS.replace("4}", "4, wake_deadline: 30s}")), "VirtualService", "istio").values()
    assert one["spec"]["http"][0]["timeout"] == "40.25s"


def test_a_sleeping_unit_is_woken_by_labels_and_has_time_to_keep_them() -> None:
    first, second = made(given("a", "b", extra=SLEEPS), "HTTPScaledObject").values()
    assert "/v1/feedback" in first["spec"]["pathPrefixes"]
    assert "/v1/feedback" not in second["spec"]["pathPrefixes"]
    quick = given("a", extra=f"{SLEEPS}    deadline_ms: 200\n")
    (alone,) = made(quick, "HTTPScaledObject").values()
    assert alone["spec"]["timeouts"]["responseHeader"] == "10250ms"


def test_a_route_waits_as_long_as_a_server_keeps_labels() -> None:
    assert http.KEEP_SECONDS < routes.LABELS_SECONDS < http.KEEP_SECONDS + 1
