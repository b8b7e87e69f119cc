"""Which trigger fires, and which waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Happening, RetrainRequest
from fairlead.retrain.triggers import Known, Triggers, due, parse

HOUR, DAY = 3_600_000, 86_400_000
MONDAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
ON = Triggers(drift=True, performance=True, cooldown_ms=DAY)


def request(at_ms: int, status: str = "done", trigger: str = "drift") -> RetrainRequest:
    return RetrainRequest(f"r{at_ms}", "churn", trigger, "", at_ms, status=status)


def alert(at_ms: int, what: str = "drift", text: str = "age drifted") -> Happening:
    return Happening("churn", what, text, at_ms, {"psi": 0.4})


def asked(triggers: Triggers, **known: Any) -> tuple[str, str]:
    """Trigger (empty for none) and reason."""
    said = due(triggers, Known(**{"now_ms": MONDAY, **known}), "churn", "r-1")
    return said.request.trigger if said.request else "", said.why


def test_a_request_says_all() -> None:
    said = due(ON, Known(MONDAY, alerts=[alert(MONDAY - 2), alert(MONDAY - 1, text="more")]), "churn", "r-1")
    evidence = {"at_ms": MONDAY - 1, "psi": 0.4}
    assert said.request == RetrainRequest("r-1", "churn", "drift", "more", MONDAY, evidence, "open")


def test_nothing_fires() -> None:
    assert asked(ON) == ("", "no trigger fires")
    assert asked(Triggers(), alerts=[alert(MONDAY - 1)], new_rows=9) == ("", "no trigger fires")


@pytest.mark.parametrize("status", ["open", "running"])
def test_one_at_a_time(status: str) -> None:
    known = {"requests": [request(MONDAY - 9, status)], "alerts": [alert(MONDAY - 1)], "asked": "now!"}
    assert asked(ON, **known) == ("", f"request r{MONDAY - 9} (drift) is {status}: one at a time")


@pytest.mark.parametrize("status", ["done", "blocked", "failed"])
def test_the_cool_down_holds_alerts_and_data_back(status: str) -> None:
    triggers = Triggers(drift=True, rows=10, cooldown_ms=DAY)
    known = {"alerts": [alert(MONDAY - 1)], "new_rows": 10}
    trigger, why = asked(triggers, requests=[request(MONDAY - DAY + 5000, status)], **known)
    assert trigger == ""
    assert why == "drift waits 5 s more for the cool-down: age drifted"
    assert asked(triggers, requests=[request(MONDAY - DAY, status)], **known)[0] == "drift"


def test_a_person_waits_for_nothing() -> None:
    assert asked(ON, requests=[request(MONDAY - 1)], asked="new columns") == ("human", "new columns")


def test_an_alert_that_was_answered_or_lies_ahead_is_not_new() -> None:
    known = {"requests": [request(MONDAY - 2 * DAY)], "alerts": [alert(MONDAY - 2 * DAY)]}
    assert asked(ON, **known)[0] == ""
    assert asked(ON, alerts=[alert(MONDAY + 1)])[0] == ""


@pytest.mark.parametrize("status", ["done", "blocked", "failed"])
def test_decay_asks_again_after_each_cool_down_while_the_version_serves(status: str) -> None:
    decay = [alert(MONDAY - 3 * DAY, "performance", "AUC fell")]
    before = [request(MONDAY - DAY, status)]
    decay.append(alert(MONDAY - 5, "performance", "AUC fell"))  # it is told again while it stands
    assert asked(ON, requests=before, alerts=decay, again_rows=200) == ("performance", "AUC fell")
    assert asked(ON, requests=before, alerts=decay, again_rows=199)[0] == ("performance" if status == "failed" else "")
    late = [request(MONDAY - DAY + 5000, status)]
    assert asked(ON, requests=late, alerts=decay, again_rows=200)[0] == ""


def test_performance_comes_before_drift() -> None:
    known = {"alerts": [alert(MONDAY - 1), alert(MONDAY - 5, "performance", "AUC fell")]}
    assert asked(ON, **known) == ("performance", "AUC fell")
    assert asked(Triggers(drift=True), **known)[0] == "drift"


class TestSchedule:
    triggers = Triggers(cron="0 3 * * 1")

    def test_fires_when_due_and_once_for_what_was_missed(self) -> None:
        since = {"since_ms": MONDAY}
        assert asked(self.triggers, **since, now_ms=MONDAY + 3 * HOUR - 1)[0] == ""
        trigger, why = asked(self.triggers, **since, now_ms=MONDAY + 3 * HOUR)
        assert (trigger, why) == ("schedule", "0 3 * * 1 was due at 2024-01-01 03:00 UTC")
        late = MONDAY + 20 * DAY
        assert asked(self.triggers, **since, now_ms=late)[0] == "schedule"
        done = [request(late, trigger="schedule")]
        assert asked(self.triggers, **since, requests=done, now_ms=late + HOUR)[0] == ""

    def test_keeps_its_pace_whatever_else_was_asked(self) -> None:
        known = {"since_ms": MONDAY, "now_ms": MONDAY + 4 * HOUR, "requests": [request(MONDAY + 3 * HOUR + 1)]}
        assert asked(self.triggers, **known)[0] == "schedule"

    def test_a_clock_that_jumped_back_fires_nothing(self) -> None:
        assert asked(self.triggers, since_ms=MONDAY + DAY, now_ms=MONDAY)[0] == ""


def test_data_by_rows_and_by_age() -> None:
    assert asked(Triggers(rows=100), new_rows=99)[0] == ""
    assert asked(Triggers(rows=100), new_rows=100) == ("data", "100 new labelled rows have come")
    week = Triggers(age_ms=7 * DAY)
    assert asked(week, trained_ms=MONDAY - 7 * DAY, new_rows=0)[0] == ""
    assert asked(week, trained_ms=MONDAY - 7 * DAY + 1, new_rows=5)[0] == ""
    trigger, why = asked(week, trained_ms=MONDAY - 7 * DAY, new_rows=5)
    assert (trigger, why) == ("data", "the last training is 7.0 days old and there are new labelled rows")


def test_parse() -> None:
    found = parse(["drift", "performance", "cron: 0 3 * * 1", "data: 1000", "data: 7d"], cooldown_ms=5)
    assert found == Triggers(True, True, "0 3 * * 1", 1000, 7 * DAY, 5)
    assert parse(["data: 90m"]).age_ms == 90 * 60_000
    assert parse([]) == Triggers()


@pytest.mark.parametrize(
    "entry", ["drfit", "cron:", "cron: 61 * * * *", "cron: 0 3 * *", "cron: 0 0 31 2 *", "data: some", "drift: 3"]
)
def test_what_is_no_trigger_is_named(entry: str) -> None:
    with pytest.raises(UsageError, match="retrain.on has") as raised:
        parse([entry])
    assert repr(entry) in str(raised.value)
