"""The dashboard of a spec: operations and models in rows of their own, never one light for both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.monitor.burn import CALLERS, OWN
from fairlead.wiring.grafana.panels import SOURCE, WIDE, Query, Row, Shown, laid
from fairlead.wiring.prometheus.objectives import objectives

_OF: Final = 'endpoint=~"$endpoint",version=~"$version"'
_NAME: Final = 'endpoint=~"$endpoint"'
_RATE: Final = "$__rate_interval"
_FIRED: Final = 'ALERTS{alertname=~"Fairlead.*",alertstate="firing",endpoint=~"$endpoint|"}'
_VERSION: Final = "{{endpoint}} {{version}}"


def dashboard(file: SpecFile) -> dict[str, Any]:
    """As Grafana imports it (classic schema). Raises UsageError, as ``objectives`` does."""
    spec = file.spec
    predicting = [one for one in spec.endpoints.values() if not one.speaks]
    speaking = [one for one in spec.endpoints.values() if one.speaks and one.embedding is None]
    rows = [*_promised(file), *(_operations() if predicting else ()), *(_answers() if speaking else ())]
    if any(one.model.startswith("models:") for one in predicting):
        rows += _models()
    rows += [*_extras(predicting), *_money(file, speaking), _server(file)]
    title = f"Fairlead: {spec.project}" if spec.project else "Fairlead"
    return {
        "uid": "fairlead-" + hashlib.sha256(title.encode()).hexdigest()[:12],
        "title": title,
        "description": "Made by `fairlead render grafana`; it is made again when the spec changes.",
        "tags": ["fairlead"],
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "schemaVersion": 42,
        "templating": {"list": _variables(bool(predicting))},
        "annotations": {"list": [_annotation()]},
        "panels": laid(rows),
    }


def _variables(versions: bool) -> list[dict[str, Any]]:
    names = 'label_values({__name__=~"fairlead_requests_total|fairlead_llm_answers_total"}, endpoint)'
    found: list[dict[str, Any]] = [
        {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus"},
        _variable("endpoint", "Endpoint", names),
    ]
    if versions:
        query = f"label_values(fairlead_requests_total{{{_NAME}}}, version)"
        found.append(_variable("version", "Version", query))
    return found


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "label": label, "query": query, "datasource": SOURCE, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".*",
    }  # fmt: skip


def _annotation() -> dict[str, Any]:
    return {
        "name": "Alerts", "enable": True, "iconColor": "red", "datasource": SOURCE, "expr": _FIRED,
    }  # fmt: skip


def _promised(file: SpecFile) -> Iterator[Row]:
    """What is left of error budgets, where the rules of ``fairlead render prometheus`` run."""
    found = objectives(file)
    if not found:
        return
    left = tuple(
        Query(
            f"1 - {one.record}3d{one.labels} / {1 - one.objective.target:.6g}", f"{one.endpoint} {one.objective.kind}"
        )
        for one in found
    )
    burning = tuple(
        Query(f"{one.record}1h{one.labels} / {1 - one.objective.target:.6g}", f"{one.endpoint} {one.objective.kind}")
        for one in found
    )
    yield Row(
        "Objectives",
        (
            Shown("Error budget left, of the last 3 days' share", "1: nothing was spent. Under 0: more than allowed.",
                  left, "percentunit", "bargauge", 8, most=1),
            Shown("Burn rate over 1 hour", "1: the budget lasts exactly its window. Alerts fire at 14.4, over 30 days.",
                  burning, "none", width=16, red=14.4),
        ),
    )  # fmt: skip


def _operations() -> Iterator[Row]:
    own, callers = "|".join(OWN), "|".join(CALLERS)
    yield Row(
        "Operations",
        (
            Shown("Calls", "By endpoint and version.",
                  (Query(f"sum by (endpoint, version) (rate(fairlead_requests_total{{{_OF}}}[{_RATE}]))", _VERSION),),
                  "reqps"),
            Shown("Calls that failed", "Share of those that were owed an answer; callers' own errors do not count.",
                  (Query(f'sum by (endpoint, version) (rate(fairlead_requests_total{{{_OF},code=~"{own}"}}[{_RATE}])) '
                         f'/ sum by (endpoint, version) '
                         f'(rate(fairlead_requests_total{{{_OF},code!~"{callers}"}}[{_RATE}]))', _VERSION),),
                  "percentunit", red=0.01),
            Shown("Callers' errors", "By code.",
                  (Query(f'sum by (endpoint, code) (rate(fairlead_requests_total{{{_OF},code=~"{callers}"}}[{_RATE}]))',
                         "{{endpoint}} {{code}}"),), "reqps"),
            _quantiles("Latency of calls", "request", "From arrival to reply."),
            _quantiles("Time in the queue", "queue", "From arrival to the model."),
            _quantiles("Time in the model", "compute", "Of the batches that a call rode in."),
            Shown("Rows", "Answered.",
                  (Query(f"sum by (endpoint, version) (rate(fairlead_rows_total{{{_OF}}}[{_RATE}]))", _VERSION),),
                  "rowsps"),
            Shown("Rows in a batch", "Median and 99th percentile.",
                  tuple(_quantile("fairlead_batch_rows", share) for share in (0.5, 0.99)), "none"),
            Shown("Rows that wait", "Now, in all workers.",
                  (Query(f"sum by (endpoint, version) (fairlead_queue_rows{{{_OF}}})", _VERSION),), "none"),
            Shown("Calls refused early", "By why and lane.",
                  (Query(f"sum by (endpoint, reason, lane) (rate(fairlead_shed_total{{{_OF}}}[{_RATE}]))",
                         "{{endpoint}} {{reason}} {{lane}}"),), "reqps", width=12),
            Shown("Ready", "1 when a version answers calls.",
                  (Query(f"min by (endpoint, version) (fairlead_endpoint_ready{{{_OF}}})", _VERSION),), "none",
                  "state-timeline", width=12, most=1),
        ),
    )  # fmt: skip


def _quantile(histogram: str, share: float) -> Query:
    rate = f"sum by (le, endpoint, version) (rate({histogram}_bucket{{{_OF}}}[{_RATE}]))"
    return Query(f"histogram_quantile({share:g}, {rate})", f"{_VERSION} p{100 * share:g}")


def _quantiles(title: str, name: str, text: str) -> Shown:
    shares = tuple(_quantile(f"fairlead_{name}_seconds", share) for share in (0.5, 0.95, 0.99))
    return Shown(title, f"{text} Median, 95th and 99th percentile.", shares, "s")


def _models() -> Iterator[Row]:
    reading = f'fairlead_monitor_reading{{{_NAME},reading=~"%s"}}'
    yield Row(
        "Models",
        (
            Shown("Alerts of the monitors", "1 while one fires: drift, decay, errors, and the spec's own.",
                  (Query(f"max by (endpoint, alert) (fairlead_alert_firing{{{_NAME}}})", "{{endpoint}} {{alert}}"),),
                  "none", "state-timeline", red=1, most=1),
            Shown("Drift of columns", "Population stability index of the newest window, by column.",
                  (Query("max by (endpoint, reading) (" + reading % "drift.psi.*" + ")", "{{endpoint}} {{reading}}"),),
                  "none", red=0.25),
            Shown("Share of the calls", "By the traffic split: a rollout moves it.",
                  (Query(f"max by (endpoint, version) (fairlead_traffic_share{{{_OF}}})", _VERSION),), "percentunit",
                  most=1),
        ),
    )  # fmt: skip


def _extras(predicting: list[Endpoint]) -> Iterator[Row]:
    """What only some endpoints have."""
    found: list[Shown] = []
    if any(one.upstream is not None for one in predicting):
        found.append(
            Shown("Other servers, by outcome", "Requests to upstreams.",
                  (Query(f"sum by (address, outcome) (rate(fairlead_upstream_requests_total{{{_OF}}}[{_RATE}]))",
                         "{{address}} {{outcome}}"),), "reqps")
        )  # fmt: skip
    if any(one.resilience.fallback for one in predicting):
        found.append(
            Shown("Answered by fallbacks", "By rung.",
                  (Query(f"sum by (endpoint, rung) (rate(fairlead_fallbacks_total{{{_OF}}}[{_RATE}]))",
                         "{{endpoint}} {{rung}}"),), "reqps")
        )  # fmt: skip
    if any(one.executor == "process" for one in predicting):
        found.append(
            Shown("Memory of models' processes", "Resident.",
                  (Query(f"sum by (endpoint, version) (fairlead_model_processes_resident_bytes{{{_OF}}})", _VERSION),),
                  "bytes")
        )  # fmt: skip
    if found:
        yield Row("Resilience", tuple(found))


def _answers() -> Iterator[Row]:
    def middle(title: str, name: str, text: str, unit: str = "s") -> Shown:
        rate = f"sum by (le, endpoint) (rate(fairlead_llm_{name}_bucket{{{_NAME}}}[{_RATE}]))"
        shares = tuple(
            Query(f"histogram_quantile({share:g}, {rate})", f"{{{{endpoint}}}} p{100 * share:g}")
            for share in (0.5, 0.95, 0.99)
        )
        return Shown(title, text, shares, unit)

    answers = f"sum by (endpoint, outcome) (rate(fairlead_llm_answers_total{{{_NAME}}}[{_RATE}]))"
    tokens = f"sum by (endpoint, class) (rate(fairlead_llm_tokens_total{{{_NAME}}}[{_RATE}]))"
    yield Row(
        "Language models",
        (
            Shown("Answers by outcome", "A reason, or an error code.", (Query(answers, "{{endpoint}} {{outcome}}"),),
                  "reqps"),
            Shown("Tokens", "By class.", (Query(tokens, "{{endpoint}} {{class}}"),), "none"),
            Shown("Answers under way", "Now.",
                  (Query(f"sum by (endpoint) (fairlead_llm_answers_running{{{_NAME}}})", "{{endpoint}}"),), "none"),
            middle("Time to first token", "first_token_seconds", "From arrival to the first piece."),
            middle("Time a token", "token_seconds", "After the first, on average over an answer."),
            middle("Whole answers", "answer_seconds", "From arrival to the end."),
        ),
    )  # fmt: skip


def _money(file: SpecFile, speaking: list[Endpoint]) -> Iterator[Row]:
    found: list[Shown] = []
    if any(one.cache is not None for one in speaking):
        looks = f"sum by (endpoint, outcome) (rate(fairlead_llm_cache_total{{{_NAME}}}[{_RATE}]))"
        found.append(Shown("Looks into the cache", "By outcome.", (Query(looks, "{{endpoint}} {{outcome}}"),), "ops"))
    if any(one.guardrails is not None for one in speaking):
        kinds = f"sum by (endpoint, kind, action) (rate(fairlead_guard_findings_total{{{_NAME}}}[{_RATE}]))"
        found.append(Shown("Findings of guardrails", "By kind and what was done.",
                           (Query(kinds, "{{endpoint}} {{kind}} {{action}}"),), "ops"))  # fmt: skip
    if file.spec.budgets or any(one.budgets for one in speaking):
        used = "fairlead_budget_settled / (fairlead_budget_amount > 0)"
        found.append(Shown("Spent of budgets", "In the present window.", (Query(used, "{{budget}} {{unit}}"),),
                           "percentunit", "bargauge", red=0.9, most=1))  # fmt: skip
    if found:
        yield Row("Money and safety", tuple(found))


def _server(file: SpecFile) -> Row:
    panels = [
        Shown("Longest stall of the event loop", "In the last minute or two.",
              (Query("max by (instance) (fairlead_event_loop_longest_stall_seconds)", "{{instance}}"),), "s", red=0.5),
        Shown("Memory", "Resident.", (Query("sum by (instance) (process_resident_memory_bytes)", "{{instance}}"),),
              "bytes"),
        Shown("Processors", "Cores in use.", (Query(f"sum by (instance) (rate(process_cpu_seconds_total[{_RATE}]))",
                                              "{{instance}}"),), "none"),
        Shown("What does not work beside serving", "Worker processes in which a part is degraded.",
              (Query("max by (part) (fairlead_degraded)", "{{part}}"),), "none", width=WIDE // 2, red=1),
    ]  # fmt: skip
    if file.spec.record is not False:
        kept = f"sum by (recorder) (rate(fairlead_events_kept_total[{_RATE}]))"
        dropped = f"sum by (recorder) (rate(fairlead_events_dropped_total[{_RATE}]))"
        panels.append(
            Shown("Prediction events", "Kept and dropped.",
                  (Query(kept, "{{recorder}} kept"), Query(dropped, "{{recorder}} dropped")), "ops", width=WIDE // 2)
        )  # fmt: skip
    return Row("Server", tuple(panels))
