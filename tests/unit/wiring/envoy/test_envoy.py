"""What a spec becomes for Envoy, and what is refused. That Envoy takes it is in tests/integration/test_envoy.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit import noted_yaml
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.access import EndpointAccess
from fairlead.kit.spec.part import Part
from fairlead.kit.spec.read import SpecFile, parse
from fairlead.wiring.envoy import asked, bootstrap
from fairlead.wiring.envoy.asked import Place, Rendering

GOLDEN = Path(__file__).parent / "golden.yaml"
WHOLE = """server: {port: 8080, grpc_port: 8081, tls: {cert: /etc/tls/server.pem}}
endpoints:
  churn:
    model: models:/churn@champion
    deadline_ms: 500
  fraud:
    upstream:
      urls: [https://models-a.internal:8443/seldon, https://10.0.0.6:8443/seldon]
      model: fraud-v2
      version: "3"
      connections: 8
      ca: /etc/tls/models.pem
    deadline_ms: 800
    resilience:
      retries: 2
      backoff: {base: 20ms, cap: 200ms}
      retry_budget: 0.25
      hedge: {after: 100ms}
      eject: {failures: 3, seconds: 2s, window: 5s, errors: 0.4, requests: 50}
"""
SPLIT = TrafficSplit("churn", "churn", (Share("3", "champion", 75.0), Share("4", "candidate", 25.0)))


def spec(text: str) -> SpecFile:
    return parse(text, "fairlead.yaml")


def rendered(text: str, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = noted_yaml.plain(bootstrap.bootstrap(spec(text), Rendering(**how)))
    return found


def routes(found: dict[str, Any]) -> list[dict[str, Any]]:
    (chain,) = found["static_resources"]["listeners"][0]["filter_chains"]
    hosts = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    listed: list[dict[str, Any]] = hosts[0]["routes"]
    return listed


def cluster(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in found["static_resources"]["clusters"] if one["name"] == name)


def test_the_whole_of_it_is_what_was_reviewed() -> None:
    how = Rendering(admin=Place("127.0.0.1", 9901), splits={"churn": SPLIT})
    assert bootstrap.render(spec(WHOLE), how) == GOLDEN.read_text()


def test_the_text_says_the_same_as_the_tree() -> None:
    how = Rendering(splits={"churn": SPLIT})
    assert yaml.safe_load(bootstrap.render(spec(WHOLE), how)) == noted_yaml.plain(bootstrap.bootstrap(spec(WHOLE), how))


def test_odd_scalars_and_comments_survive() -> None:
    odd = {
        "a": Noted([{"b": Noted("on", "why"), "c": []}, "1.5s", {"@type": "x"}], "list"),
        "yes": None,
        "d": {"e: f": "#"},
    }
    assert yaml.safe_load(noted_yaml.text(odd)) == noted_yaml.plain(odd)


def test_shares_are_drawn_of_what_is_left() -> None:
    three = TrafficSplit("m", "m", (Share("1", "a", 50.0), Share("2", "b", 30.0), Share("3", "c", 20.0)))
    found = routes(rendered("endpoints: {m: {model: ./m.onnx}}", splits={"m": three}))[3:6]
    assert [one["route"]["prefix_rewrite"][-7:-6] for one in found] == ["1", "2", "3"]
    parts = [one["match"].get("runtime_fraction", {}).get("default_value", {}).get("numerator") for one in found]
    assert parts == [500_000, 600_000, None]


def test_what_is_sent_again_depends_on_what_may_have_been_run() -> None:
    text = (
        "endpoints: {m: {upstream: {urls: ['http://10.0.0.1:1', 'http://10.0.0.2:1']}, resilience: {idempotent: %s}}}"
    )
    policies = [routes(rendered(text % one))[3]["route"]["retry_policy"] for one in ("true", "false")]
    assert policies[0]["retriable_status_codes"] == [429, 500, 502, 503, 504]
    assert "reset" in policies[0]["retry_on"]
    assert policies[1]["retriable_status_codes"] == [429]
    assert policies[1]["retry_on"] == "connect-failure,refused-stream,retriable-status-codes"


def test_no_retries_are_no_policy_and_one_address_is_not_shown_errors_of_the_model() -> None:
    text = "endpoints: {m: {upstream: {urls: ['http://10.0.0.1:1'], retries: %d}}}"
    assert "retry_policy" not in routes(rendered(text % 0))[3]["route"]
    assert 500 not in routes(rendered(text % 1))[3]["route"]["retry_policy"]["retriable_status_codes"]


def test_where_it_listens_and_whom_it_asks() -> None:
    found = rendered(
        "{access: {required: true}, endpoints: {m: {model: ./m.onnx}}}",
        listen=Place("0.0.0.0", 80),
        servers=(Place("10.0.0.1", 8080), Place("fairlead.internal", 8080)),
    )
    assert found["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "0.0.0.0"
    behind = cluster(found, "fairlead")
    assert behind["type"] == "STRICT_DNS"
    assert len(behind["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


def test_loading_models_is_shut_unless_the_spec_opens_it() -> None:
    closed = routes(rendered("endpoints: {m: {model: ./m.onnx}}"))
    assert [one["direct_response"]["status"] for one in closed[:3]] == [404, 404, 404]
    opened = routes(rendered("{server: {model_control: true}, endpoints: {m: {model: ./m.onnx}}}"))
    assert not any("direct_response" in one for one in opened)


@pytest.mark.parametrize(
    ("rate", "burst", "bucket"),
    [
        ("500/s", 0, {"max_tokens": 500, "tokens_per_fill": 500, "fill_interval": "1s"}),
        ("30/min", 10, {"max_tokens": 10, "tokens_per_fill": 1, "fill_interval": "2s"}),
    ],
)
def test_a_rate_is_a_bucket(rate: str, burst: int, bucket: dict[str, Any]) -> None:
    found = routes(noted_yaml.plain(bootstrap.bootstrap(limited(EndpointAccess(rate=rate, burst=burst)), Rendering())))[
        3
    ]
    (limit,) = found["typed_per_filter_config"].values()
    assert limit["token_bucket"] == bucket


@pytest.mark.parametrize(
    ("rate", "words"), [("10 rows/s", "counts rows, and Envoy counts requests"), ("1/s, 2/min", "has 2 limits")]
)
def test_a_rate_that_envoy_cannot_keep_is_refused(rate: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"access.rate {words}"):
        bootstrap.bootstrap(limited(EndpointAccess(rate=rate)), Rendering())


def limited(access: Part) -> SpecFile:
    file = spec("endpoints: {m: {upstream: {urls: ['http://10.0.0.1:1']}}}")
    endpoint = file.spec.endpoints["m"].model_copy(update={"access": access})
    return SpecFile(file.spec.model_copy(update={"endpoints": {"m": endpoint}}), file.name, file.lines)


UPSTREAM = "endpoints:\n  m:\n    upstream: {urls: ['http://a:1', 'http://b:1']%s}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            UPSTREAM % "" + "    resilience: {backoff: {jitter: 5ms}}",
            "fairlead.yaml:4: endpoints.m.resilience.backoff.jitter cannot be said to Envoy",
        ),
        (
            UPSTREAM % "" + "    resilience: {hedge: {}}",
            "fairlead.yaml:4: endpoints.m.resilience.hedge needs a measured",
        ),
        (
            UPSTREAM % "" + "    resilience: {hedge: {after: 1s, budget: 0.1}}",
            "fairlead.yaml:4: endpoints.m.resilience.hedge.budget cannot be said",
        ),
        (
            UPSTREAM % "" + "    resilience: {eject: {slower: 5}}",
            "fairlead.yaml:4: endpoints.m.resilience.eject.slower cannot be said: Envoy leaves no address out",
        ),
        (UPSTREAM % ", eject: {most: 0.2}", "fairlead.yaml:3: endpoints.m.upstream.eject.most cannot be said"),
        (UPSTREAM % "" + "    record: {days: 1}", "fairlead.yaml:4: endpoints.m.record is done by the server"),
        (UPSTREAM % "" + "    batching: {max_rows: 8}", "endpoints.m.batching is done by the server"),
        (
            "access: {required: true}\n" + UPSTREAM % "",
            "fairlead.yaml:4: endpoints.m.upstream is asked by Envoy itself, and fairlead.yaml:1: access.required",
        ),
        ("endpoints: {m: {upstream: {urls: ['http://a:1', 'https://b:1']}}}", "to all addresses or to none"),
        (
            "endpoints: {m: {upstream: {urls: ['grpc://a:1']}}}",
            "m.upstream.urls[0] is grpc://a:1, and Envoy makes no gRPC",
        ),
        ("endpoints: {m: {upstream: {urls: ['http://a:1/x', 'http://b:1']}}}", "urls have different paths"),
        (
            "server: {tls: {cert: c, client_ca: a}}\nendpoints: {m: {model: m}}",
            "fairlead.yaml:1: server.tls.client_ca asks callers for certificates",
        ),
        ("{server: {port: 0}, endpoints: {m: {model: m}}}", "server.port is 0, which is known when the server runs"),
    ],
)
def test_what_envoy_cannot_say_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        rendered(text)
    assert words in str(caught.value)


def test_slower_off_is_what_envoy_does() -> None:
    assert rendered(UPSTREAM % "" + "    resilience: {eject: {slower: 0}}")


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (TrafficSplit("m", "m", (Share("1", "a", 100.0),), "header:user"), "the split is by header:user"),
        (TrafficSplit("m", "m", (Share("1", "a", 100.0), Share("2", "b", 0.0, 50.0))), "answers as a shadow"),
    ],
)
def test_a_split_that_envoy_cannot_draw_is_refused(split: TrafficSplit, words: str) -> None:
    with pytest.raises(UsageError, match=f"fairlead.yaml:1: endpoints.m.rollout: .*{words}"):
        rendered("endpoints: {m: {model: ./m.onnx}}", splits={"m": split})


def test_a_public_listener_without_access_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--listen 0.0.0.0:80 is open to others, and .*access.required is not true"):
        rendered("endpoints: {m: {model: ./m.onnx}}", listen=Place("0.0.0.0", 80))


@pytest.mark.parametrize("text", ["", "a", "a:0", "a:99999", "http://a:1", "a b:1", "::1:5"])
def test_a_place_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--listen is .*; expected HOST:PORT"):
        asked.place(text, "--listen")


def test_a_place_of_ipv6() -> None:
    found = asked.place("[::1]:80", "--listen")
    assert (found.host, found.port, str(found), found.numeric) == ("::1", 80, "[::1]:80", True)
