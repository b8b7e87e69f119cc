"""Error budgets in the controller: what the timeline, the webhook and the pages are told of windows in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import LeaseLost, Unavailable
from fairlead.contracts.events import Window
from fairlead.contracts.state import Lease
from fairlead.monitor import timeline
from fairlead.monitor.burn import HOUR_MS, Objective
from fairlead.monitor.latency import Latency
from fairlead.testing.state import MemoryState
from fairlead.wiring import burning
from fairlead.wiring.burning import Budgets, Pledged

MINUTE = 60_000
NOW = 1_700_000_000_000 // HOUR_MS * HOUR_MS + 25 * MINUTE
PROMISED = (Objective("availability", 0.99, 30 * 86_400), Objective("latency", 0.9, 30 * 86_400, 0.1))


class Posts:
    def __init__(self) -> None:
        self.bodies: list[Mapping[str, Any]] = []
        self.down = False

    def __call__(self, url: str, body: Mapping[str, Any]) -> None:
        assert url == "http://hook"
        if self.down:
            raise Unavailable("down")
        self.bodies.append(body)


@pytest.fixture
def store() -> MemoryState:
    return MemoryState()


def call(
    store: MemoryState, at_ms: int, *, bad: int = 0, calls: int = 100, seconds: float = 0.01, arm: str = "champion"
) -> None:
    codes = {"": calls - bad, **({"internal": bad} if bad else {})}
    latency = Latency.of(np.full(calls, seconds)).to_bytes()
    start = at_ms // MINUTE * MINUTE
    store.put_windows([Window("churn", "1", arm, "w0", start, MINUTE, calls, calls, codes, latency, {})])


def budgets(store: MemoryState, posts: Posts) -> Budgets:
    return Budgets(store, Pledged("churn", PROMISED, "http://hook"), posts)


def told(store: MemoryState) -> list[str]:
    return [one.text.split(":")[0] for one in timeline.read(store, "churn") if one.what == "slo"]


def test_a_burning_budget_is_told_once_and_when_it_holds_again(store: MemoryState) -> None:
    posts = Posts()
    one = budgets(store, posts)
    for back in range(60):
        call(store, NOW - back * MINUTE)
    assert one.look(NOW) == []
    now = NOW
    for _ in range(12):
        now += MINUTE
        call(store, now, bad=90)
        one.look(now)
    assert told(store) == ["alert FairleadAvailabilityBudgetBurn firing"] * 4, "of an hour, six, a day and three"
    assert burning.firing(store.get("slo", "churn").body) == ["availability"]  # type: ignore[union-attr]
    found = burning.known(store, "churn")
    assert found is not None
    assert {one.window for one in found.told[0].burns if one.since_ms} == {"1h", "6h", "1d", "3d"}
    assert found.told[0].left == pytest.approx(1 - 12 * 90 / 7200 / 0.01), "all that there is was read at once"
    assert found.told[1].since_ms == 0
    for _ in range(80):
        now += MINUTE
        call(store, now)
        one.look(now)
    assert told(store)[4:] == ["alert FairleadAvailabilityBudgetBurn resolved"] * 2, "the others see the trouble still"
    names = [(alert["labels"]["window"], alert["status"]) for body in posts.bodies for alert in body["alerts"]]
    fired = {(span, "firing") for span in ("1h", "6h", "1d", "3d")}
    assert (len(names), set(names)) == (6, fired | {("1h", "resolved"), ("6h", "resolved")})
    lines = [one for one in timeline.read(store, "churn") if one.what == "slo"]
    line = next(one for one in lines if one.evidence["labels"]["window"] == "1h")
    assert line.evidence["labels"] == {
        "alertname": "FairleadAvailabilityBudgetBurn", "endpoint": "churn", "severity": "critical", "window": "1h",
        "objective": "availability",
    }  # fmt: skip
    assert line.evidence["bad"] >= 10


def test_slow_answers_burn_the_budget_of_latency_and_shadows_burn_none(store: MemoryState) -> None:
    one = budgets(store, Posts())
    for back in range(60):
        call(store, NOW - back * MINUTE, bad=100, arm="shadow")
        call(store, NOW - back * MINUTE, seconds=0.5)
    one.look(NOW)
    assert set(told(store)) == {"alert FairleadLatencyBudgetBurn firing"}


def test_it_reads_further_back_with_each_look_and_then_knows_what_is_left(store: MemoryState) -> None:
    one = budgets(store, Posts())
    for day in range(40):
        call(store, NOW - day * 24 * HOUR_MS, bad=day % 2, calls=1000)
    asked: list[tuple[int, int]] = []
    read = store.windows

    def counted(name: str, *, since_ms: int = 0, until_ms: int | None = None, **how: Any) -> list[Window]:
        asked.append((since_ms, until_ms or 0))
        return read(name, since_ms=since_ms, until_ms=until_ms, **how)

    store.windows = counted  # type: ignore[method-assign,assignment]
    for look in range(40):
        one.look(NOW + look * MINUTE)
    found = burning.known(store, "churn")
    assert found is not None
    assert [burn.window for burn in found.told[0].burns] == ["1h", "6h", "1d", "3d"]
    assert found.told[0].left == pytest.approx(1 - 15 / 30_000 / 0.01)
    assert len(asked) > 40, "a day with windows at a time"
    asked.clear()
    one.look(NOW + 41 * MINUTE)
    assert len(asked) == 1, "what was read once is not read again"
    one.look(NOW + 41 * MINUTE + 5_000)
    assert len(asked) == 1


def test_another_controller_goes_on_where_the_first_ended(store: MemoryState) -> None:
    posts = Posts()
    for back in range(60):
        call(store, NOW - back * MINUTE, bad=50)
    budgets(store, posts).look(NOW)
    firing = len(told(store))
    assert firing
    posts.down = True  # nor does a webhook that is away stop anything
    again = budgets(store, posts)
    assert again.look(NOW + MINUTE) == []
    assert len(told(store)) == firing


def test_who_lost_the_lease_writes_nothing(store: MemoryState) -> None:
    def fence() -> Lease:
        raise LeaseLost("another leads")

    one = budgets(store, Posts())
    for back in range(60):
        call(store, NOW - back * MINUTE, bad=50)
    with pytest.raises(LeaseLost):
        burning.turns([one], NOW, fence)
    assert (told(store), store.get("slo", "churn")) == ([], None)
    burning.turns([one], NOW, lambda: None)  # and is asked again at once
    assert told(store)


def test_what_fails_for_one_is_left_for_the_next_look(store: MemoryState, caplog: pytest.LogCaptureFixture) -> None:
    store.down = True
    burning.turns([budgets(store, Posts())], NOW, lambda: None)
    assert "left for the next look" in caplog.text
