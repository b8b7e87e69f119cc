from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import RetrainRequest
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor.alerts import Alert, Reading, Rule, Standing, ask, fingerprint, happening, judge
from fairlead.monitor.webhook import body, fields

HOUR = 3_600_000
LOW = Rule("AucLow", "performance.roc_auc", below=0.8, k=2, m=3, severity="critical", labels={"team": "risk"})


def run(rule: Rule, values: list[float | None], **more: Any) -> list[tuple[int, str, str]]:
    """(window, alert, status) of everything that was told."""
    standings: dict[str, Standing] = {}
    told = []
    for number, value in enumerate(values, 1):
        standings = {name: from_body(Standing, to_body(one)) for name, one in standings.items()}
        standings, alerts = judge(
            [rule], standings, {rule.watch: Reading(value)}, endpoint="churn", at_ms=number * HOUR, **more
        )
        told += [(number, one.name, one.status) for one in alerts]
    return told


def test_k_of_m_windows_fire_once_and_resolve() -> None:
    assert run(LOW, [0.9, 0.7, 0.9, 0.7, 0.7, 0.9, 0.9]) == [(4, "AucLow", "firing"), (7, "AucLow", "resolved")]
    assert run(LOW, [0.7, 0.9, 0.9, 0.7, 0.9]) == []
    assert run(replace(LOW, below=None, above=0.8, k=1, m=1), [0.8, 0.81, 0.8]) == [
        (2, "AucLow", "firing"),
        (3, "AucLow", "resolved"),
    ]


def test_a_missing_value_is_never_zero() -> None:
    """It does not fire a rule on low values, does not resolve one that fires, and has an alert of its own."""
    told = run(LOW, [None, None, None, None, 0.9])
    assert told == [(3, "AucLowNoData", "firing"), (5, "AucLowNoData", "resolved")]
    told = run(LOW, [0.7, 0.7, None, float("nan"), None, None, 0.9, 0.9], repeat_ms=99 * HOUR)
    assert told == [
        (2, "AucLow", "firing"),
        (5, "AucLowNoData", "firing"),
        (7, "AucLowNoData", "resolved"),
        (8, "AucLow", "resolved"),
    ]
    assert run(replace(LOW, absent=0), [None] * 10) == []
    standings, alerts = judge([LOW], {}, {}, endpoint="churn", at_ms=HOUR)
    assert (standings["AucLow"].missing, alerts) == (1, [])


def test_a_firing_alert_is_repeated() -> None:
    told = run(replace(LOW, k=1, m=1), [0.7] * 6, repeat_ms=2 * HOUR)
    assert [number for number, *_ in told] == [1, 3, 5]
    told = run(replace(LOW, absent=1), [None] * 6, repeat_ms=3 * HOUR)
    assert [number for number, *_ in told] == [1, 4]


def test_a_window_is_judged_once() -> None:
    rule = replace(LOW, k=1, m=1)
    readings = {rule.watch: Reading(0.5, {"rows": 900})}
    standings, alerts = judge([rule], {}, readings, endpoint="churn", at_ms=HOUR)
    assert len(alerts) == 1
    assert alerts[0].evidence == {"rows": 900}
    assert "is 0.5: below 0.8 in 1 of the last 1 windows" in alerts[0].annotations["summary"]
    again, none = judge([rule], standings, readings, endpoint="churn", at_ms=HOUR)
    assert (again, none) == (standings, [])
    gone, _ = judge([], standings, readings, endpoint="churn", at_ms=2 * HOUR)
    assert gone == {}


def test_rules_that_cannot_work_are_refused() -> None:
    for broken in ({}, {"above": 1.0, "below": 0.0}, {"above": 1.0, "k": 3, "m": 2}, {"above": 1.0, "absent": -1}):
        with pytest.raises(UsageError, match="alert rule 'r'"):
            Rule("r", "drift.psi", **broken)
    with pytest.raises(UsageError, match="asks is drift"):
        Rule("r", "drift.psi", above=0.1, asks="cron")
    with pytest.raises(UsageError, match="same name"):
        judge([LOW, LOW], {}, {}, endpoint="e", at_ms=1)


def test_fingerprints_are_those_of_prometheus() -> None:
    """Values of ``prometheus/common``, model/signature_test.go."""
    assert int(fingerprint({}), 16) == 14695981039346656037
    assert int(fingerprint({"name": "garland, briggs", "fear": "love is not enough"}), 16) == 5799056148416392346


def alert(**more: Any) -> Alert:
    base: dict[str, Any] = {
        "name": "AucLow", "endpoint": "churn", "status": "firing", "severity": "critical", "labels": {"team": "risk"},
        "annotations": {"summary": "low"}, "starts_ms": 1_767_225_600_000, "value": 0.7, "asks": "performance",
    }  # fmt: skip
    return Alert(**(base | more))


def test_the_webhook_body_is_alertmanagers() -> None:
    resolved = alert(name="Drift", status="resolved", ends_ms=1_767_225_660_500, severity="warning")
    sent = body([alert(), resolved], receiver="ops", external_url="http://here/")
    assert sent["version"] == "4"
    assert sent["status"] == "firing"
    assert sent["groupKey"] == '{}:{endpoint="churn"}'
    assert sent["groupLabels"] == {"endpoint": "churn"}
    assert sent["commonLabels"] == {"team": "risk", "endpoint": "churn"}
    assert sent["commonAnnotations"] == {"summary": "low"}
    assert (sent["receiver"], sent["externalURL"], sent["truncatedAlerts"]) == ("ops", "http://here/", 0)
    first, second = sent["alerts"]
    assert first["labels"] == {"team": "risk", "alertname": "AucLow", "endpoint": "churn", "severity": "critical"}
    assert (first["startsAt"], first["endsAt"]) == ("2026-01-01T00:00:00.000Z", "0001-01-01T00:00:00Z")
    assert second["endsAt"] == "2026-01-01T00:01:00.500Z"
    assert first["fingerprint"] == alert().fingerprint
    assert set(first) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
    assert body([resolved])["status"] == "resolved"
    assert body([alert()] * 5, at_most=2)["truncatedAlerts"] == 3
    assert body([])["groupLabels"] == {}


def test_a_log_line_and_a_line_of_the_timeline() -> None:
    assert fields(alert())["since"] == "2026-01-01T00:00:00.000Z"
    assert fields(alert())["summary"] == "low"
    told = happening(alert())
    assert (told.what, told.text, told.at_ms) == ("alert", "alert AucLow firing: low", 1_767_225_600_000)
    assert happening(alert(status="resolved", ends_ms=9)).at_ms == 9


def test_a_retrain_is_asked_for() -> None:
    drift = alert(name="Psi", asks="drift", starts_ms=5)
    asked = ask([drift, alert()], [], endpoint="churn", at_ms=1000)
    assert asked.request is not None
    assert (asked.request.trigger, asked.request.status, asked.request.why) == ("performance", "open", "low")
    assert [one["name"] for one in asked.request.evidence["alerts"]] == ["Psi", "AucLow"]
    assert from_body(RetrainRequest, to_body(asked.request)) == asked.request
    assert ask([drift, alert()], [], endpoint="churn", at_ms=1000).request == asked.request
    assert ask([alert()], [], endpoint="churn", at_ms=1001).request.id != asked.request.id  # type: ignore[union-attr]


def test_one_retrain_at_a_time_and_a_cool_down() -> None:
    def request(status: str, at_ms: int, endpoint: str = "churn") -> RetrainRequest:
        return RetrainRequest("r1", endpoint, "human", "", at_ms, status=status)

    for status in ("open", "running"):
        asked = ask([alert()], [request(status, 0)], endpoint="churn", at_ms=10**12)
        assert asked.request is None
        assert f"r1 is {status}" in asked.why
    early = ask([alert()], [request("failed", 0)], endpoint="churn", at_ms=HOUR, cool_down_ms=2 * HOUR)
    assert early.request is None
    assert "60 min to go" in early.why
    assert ask([alert()], [request("done", 0)], endpoint="churn", at_ms=2 * HOUR, cool_down_ms=2 * HOUR).request
    assert ask([alert()], [request("open", 0, "other")], endpoint="churn", at_ms=HOUR).request
    for quiet in (alert(status="resolved"), alert(asks=""), alert(endpoint="other")):
        assert ask([quiet], [], endpoint="churn", at_ms=HOUR).request is None
