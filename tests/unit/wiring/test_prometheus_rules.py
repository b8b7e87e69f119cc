"""What rules and dashboards are made of a spec, and what is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairlead.adapters.sinks.prometheus.chats import Chats
from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile, parse
from fairlead.monitor import burn
from fairlead.serve.edges.status import STATUS
from fairlead.wiring.grafana.dashboard import dashboard
from fairlead.wiring.prometheus import rules

SPEC = """
project: shop
server: {workers: 2, tls: {cert: ./c.pem, key: ./k.pem}}
access: {required: true}
prices: [{model: chat, input: 1, output: 2}]
budgets: [{tenant: acme, amount: 50 USD, per: month}]
endpoints:
  churn:
    model: models:/churn@champion
    slo: {availability: 0.999, latency_ms: 100}
    resilience: {breaker: {}, fallback: [cache]}
  fraud:
    upstream: {urls: ["http://10.0.0.5:8000"]}
  chat:
    llm: {engine: echo}
    slo: {availability: 0.99, latency_ms: 500, latency_share: 0.95, window: 7d}
    cache: {exact: 1h}
    guardrails: {input: [pii]}
"""


def spec(text: str = SPEC) -> SpecFile:
    return parse(text, "fairlead.yaml")


def alerts(text: str = SPEC) -> list[dict[str, Any]]:
    return [rule for group in rules.groups(spec(text)) for rule in group["rules"] if "alert" in rule]


def test_every_code_of_a_call_is_the_servers_or_the_callers_or_neither() -> None:
    known = {*burn.OWN, *burn.CALLERS}
    assert known >= set(STATUS), set(STATUS) - known
    assert not set(burn.OWN) & set(burn.CALLERS)
    assert {code for code in STATUS if STATUS[code] >= 500} <= set(burn.OWN)


def test_burn_rates_are_the_workbooks_and_follow_the_window() -> None:
    month = 30 * 86_400
    assert [one.factor(month) for one in burn.BURNS] == pytest.approx([14.4, 6, 3, 1])
    of = {(one["labels"]["endpoint"], one["labels"]["window"]) for one in alerts() if "Availability" in one["alert"]}
    assert {window for name, window in of if name == "churn"} == {"1h", "6h", "1d", "3d"}
    assert {window for name, window in of if name == "chat"} == {"1h", "6h"}  # of 7 days, slower burns are within it
    expr = next(one["expr"] for one in alerts() if one["labels"].get("window") == "1h" and "churn" in one["expr"])
    assert "> 0.0144 and" in expr


def test_a_latency_is_held_against_a_bound_that_is_measured() -> None:
    with pytest.raises(UsageError, match=r"slo.latency_ms is 120, no bound of .*; take 100 or 250"):
        rules.groups(spec(SPEC.replace("latency_ms: 100", "latency_ms: 120")))
    with pytest.raises(UsageError, match=r"slo.latency_ms is 0.05, .*; take 0.1$"):
        rules.groups(spec(SPEC.replace("latency_ms: 100", "latency_ms: 0.05")))
    with pytest.raises(UsageError, match=r"give availability, latency_ms, or both"):
        spec(SPEC.replace("slo: {availability: 0.999, latency_ms: 100}", "slo: {}"))


def test_only_what_an_endpoint_has_is_watched() -> None:
    of: dict[str, set[str]] = {}
    for one in alerts():
        of.setdefault(one["labels"].get("endpoint", ""), set()).add(one["alert"].removeprefix("Fairlead"))
    assert of["churn"] >= {"BreakerOpen", "FallbacksAnswer", "ModelAlert", "EndpointDown", "LatencyBudgetBurn"}
    assert of["fraud"] == {"EndpointDown", "Shedding", "UpstreamLeftOut"}
    assert of["chat"] >= {"EngineLost", "QueueRefuses", "GuardMissed"}
    assert of[""] >= {"Degraded", "WorkersRestart", "CertificateExpires", "BudgetNearlySpent"}
    small = {one["alert"] for one in alerts("endpoints: {a: {model: ./a.onnx}}")}
    assert small == {f"Fairlead{name}" for name in ("Degraded", "EventsDropped", "EventLoopStalls", "EndpointDown",
                                                    "Shedding")}  # fmt: skip


def test_the_job_asks_as_the_server_wants_to_be_asked() -> None:
    job = rules.scrape(spec())["scrape_configs"][0]
    assert job["scheme"] == "https"
    assert job["authorization"]["credentials_file"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]
    assert rules.scrape(spec("server: {host: '::1'}\nendpoints: {a: {model: ./a.onnx}}"))["scrape_configs"][0][
        "static_configs"
    ] == [{"targets": ["[::1]:8080"]}]


def expressions(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def exported() -> set[str]:
    text = Path(__file__).parents[3].joinpath("docs/metrics.md").read_text()
    kinds = re.findall(r"^\| `(fairlead_\w+)` \| (\w+) \|", text, re.MULTILINE)
    found = {name for name, kind in kinds if kind != "histogram"}
    return found | {
        f"{name}_{part}" for name, kind in kinds if kind == "histogram" for part in ("bucket", "count", "sum")
    }


def test_every_metric_that_is_asked_for_is_one_that_is_exported() -> None:
    assert Chats  # its names are in the document, which is made from it
    recorded = {rule["record"] for group in rules.groups(spec()) for rule in group["rules"] if "record" in rule}
    asked = [*expressions(dashboard(spec())), *(one["expr"] for one in alerts())]
    names = {name for text in asked for name in re.findall(r"\b(?:endpoint:)?fairlead_\w+(?::\w+)?", text)}
    assert len(names) > 30
    assert names - recorded <= exported()


def test_a_dashboard_keeps_operations_and_models_apart() -> None:
    board = dashboard(spec())
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Objectives", "Operations", "Language models", "Models", "Resilience", "Money and safety", "Server"]
    assert not any("avg(" in text or "_sum" in text for text in expressions(board))  # no mean
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in board["panels"] if panel["type"] != "row")


def test_a_dashboard_is_what_grafana_reads() -> None:
    folder = os.environ.get("FAIRLEAD_DATA")
    if not folder:
        pytest.skip("FAIRLEAD_DATA is not set: no schema of Grafana here")
    schema = json.loads((Path(folder) / "specs/grafana/dashboard.jsonschema.json").read_text())
    found = list(jsonschema.Draft7Validator(schema).iter_errors(dashboard(spec())))
    assert not found, [(list(one.path), one.message[:200]) for one in found]
    broken = dashboard(spec()) | {"schemaVersion": "42"}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(broken))
