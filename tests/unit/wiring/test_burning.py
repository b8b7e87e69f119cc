"""Error budgets in the controller: what the timeline, the webhook and the pages are told of windows in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import LeaseLost, Unavailable
from fairlead.contracts.events import Window
from fairlead.contracts.state import Lease, Tally
from fairlead.monitor import timeline
from fairlead.monitor.burn import HOUR_MS, Objective
from fairlead.monitor.latency import Latency
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring import burning
from fairlead.wiring.burning import LOOK_MS, Budgeted, Budgets, Turns

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
    return Budgets(store, Budgeted("churn", PROMISED, "http://hook"), posts)


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
    assert burning.firing(store.get("slo", "churn")) == ["availability"]  # type: ignore[arg-type]
    found = burning.known(store, "churn")
    assert found is not None
    assert {one.window for one in found.told[0].burns if one.since_ms} == {"1h", "6h", "1d", "3d"}
    assert found.told[0].left == pytest.approx(1 - 12 * 90 / 7200 / 0.01), "all that there is was read at once"
    assert not any(one.since_ms for one in found.told[1].burns)
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
    assert len(asked) == 31, "a day with windows at a time"
    asked.clear()
    one.look(NOW + 41 * MINUTE)
    assert asked == [], "what was read once is not read again"


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

    turns, _ = taking(store, Posts(), PROMISED)
    for back in range(60):
        call(store, NOW - back * MINUTE, bad=50)
    with pytest.raises(LeaseLost):
        turns.take(NOW, fence)
    assert (told(store), store.get("slo", "churn")) == ([], None)
    turns.take(NOW, lambda: None)  # and is asked again at once
    assert told(store)


def taking(store: MemoryState, posts: Posts, promised: tuple[Objective, ...], *names: str) -> tuple[Turns, ManualClock]:
    clock = ManualClock()
    budgeted = [Budgeted(name, promised, "http://hook") for name in names or ("churn",)]
    return Turns(store, budgeted, posts, clock.now), clock


def test_what_fails_for_one_is_left_for_the_next_look(store: MemoryState, caplog: pytest.LogCaptureFixture) -> None:
    def counted(name: str, **how: Any) -> dict[int, Tally]:
        if name == "churn":
            raise Unavailable("away")
        return tallies(name, **how)

    tallies, store.tallies = store.tallies, counted  # type: ignore[method-assign,assignment]
    turns, _ = taking(store, Posts(), PROMISED, "churn", "other")
    turns.take(NOW, lambda: None)
    assert (store.get("slo", "churn"), store.get("slo", "other") is not None) == (None, True)
    turns.take(NOW + 500, lambda: None)
    assert caplog.text.count("left for the next look") == 1, "not at every turn of the controller"
    store.tallies = tallies  # type: ignore[method-assign]
    turns.take(NOW + LOOK_MS, lambda: None)
    assert store.get("slo", "churn") is not None


def test_looks_that_take_long_leave_the_controller_its_other_work(store: MemoryState) -> None:
    turns, clock = taking(store, Posts(), PROMISED, "a", "b", "c")
    read = store.tallies

    def slow(name: str, **how: Any) -> dict[int, Tally]:
        clock.advance(0.4)
        return read(name, **how)

    store.tallies = slow  # type: ignore[method-assign,assignment]
    seen = []
    for turn in range(3):
        turns.take(NOW + turn, lambda: None)
        seen.append([one.key for one in store.all("slo")])
    assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]


def firing(store: MemoryState, *promised: Objective) -> Posts:
    """An hour of which half failed, looked at once."""
    posts = Posts()
    for back in range(60):
        call(store, NOW - back * MINUTE, bad=50)
    taking(store, posts, promised)[0].take(NOW, lambda: None)
    assert store.get("slo", "churn") is not None
    posts.bodies.clear()
    return posts


def ended(posts: Posts) -> set[tuple[str, str, str]]:
    found = [(one["labels"], one["status"]) for body in posts.bodies for one in body["alerts"]]
    return {(labels["alertname"], labels["window"], status) for labels, status in found}


@pytest.mark.parametrize(
    ("after", "ends"),
    [
        ((), {"1h", "6h", "1d", "3d"}),
        ((Objective("latency", 0.9, 30 * 86_400, 0.1),), {"1h", "6h", "1d", "3d"}),
        ((Objective("availability", 0.99, 7 * 86_400),), {"1d", "3d"}),
        ((Objective("availability", 0.9, 30 * 86_400),), {"1h", "6h"}),
    ],
)
def test_alerts_on_what_is_promised_no_more_end(
    store: MemoryState, after: tuple[Objective, ...], ends: set[str]
) -> None:
    """The objective is gone, another one came, its time has fewer burn rates, or calls cannot burn so fast."""
    posts = firing(store, Objective("availability", 0.99, 30 * 86_400))
    turns, _ = taking(store, posts, after)
    turns.take(NOW + MINUTE, lambda: None)
    assert ended(posts) == {("FairleadAvailabilityBudgetBurn", window, "resolved") for window in ends}
    document = store.get("slo", "churn")
    assert (document is None) == (not after)
    assert document is None or (burning.firing(document) == ["availability"]) == (len(ends) < 4)
    lines = len(told(store))
    turns.take(NOW + 2 * MINUTE, lambda: None)
    assert len(told(store)) == lines, "once"


def test_alerts_of_an_endpoint_that_the_spec_has_no_more_end(store: MemoryState) -> None:
    firing(store, *PROMISED)
    taking(store, Posts(), PROMISED, "another")[0].take(NOW + MINUTE, lambda: None)
    assert told(store)[-4:] == ["alert FairleadAvailabilityBudgetBurn resolved"] * 4
    assert [one.key for one in store.all("slo")] == ["another"]


def test_a_memory_that_cannot_be_read_is_made_anew(store: MemoryState, caplog: pytest.LogCaptureFixture) -> None:
    posts = firing(store, *PROMISED)
    document = store.get("slo", "churn")
    assert document is not None
    store.put("slo", "churn", {**document.body, "told": "x", "standings": {"slo.": {"since_ms": "?"}}}, 1)
    budgets(store, posts).look(NOW + MINUTE)
    assert "judged anew" in caplog.text
    found = burning.known(store, "churn")
    assert found is not None
    assert min(one.since_ms for one in found.told[0].burns if one.since_ms) == NOW + MINUTE


def test_a_clock_that_was_ahead_does_not_stop_the_looks(store: MemoryState) -> None:
    ahead = NOW + HOUR_MS
    for back in range(60):
        call(store, ahead - back * MINUTE, bad=90)
    one = budgets(store, Posts())
    one.look(ahead)
    assert told(store)
    store.prune_windows(ahead + MINUTE)
    for back in range(60):
        call(store, NOW - back * MINUTE)
    one.look(NOW)
    found, document = burning.known(store, "churn"), store.get("slo", "churn")
    assert found is not None
    assert document is not None
    assert (found.at_ms, burning.firing(document)) == (NOW, [])
    assert found.told[0].calls == 6_000
    again = budgets(store, Posts())  # of a machine whose clock is behind that of the one before
    for back in range(60):
        call(store, NOW - HOUR_MS - back * MINUTE, bad=90)
    again.look(NOW - HOUR_MS)
    found = burning.known(store, "churn")
    assert found is not None
    assert min(one.since_ms for one in found.told[0].burns if one.since_ms) == NOW - HOUR_MS


@pytest.mark.parametrize("hours", [3, 30])
def test_what_came_while_another_led_or_the_store_was_away_is_read(store: MemoryState, hours: int) -> None:
    one = budgets(store, Posts())
    call(store, NOW)
    one.look(NOW)
    for back in range(hours):
        call(store, NOW + back * HOUR_MS + 5 * MINUTE, bad=50)
    later = NOW + hours * HOUR_MS
    for look in range(3):
        one.look(later + look * MINUTE)
    found = burning.known(store, "churn")
    assert found is not None
    assert (found.told[0].bad, found.told[0].calls) == (50 * hours, 100 * hours + 100)


def test_windows_of_a_day_are_read_until_they_end(store: MemoryState) -> None:
    one, day = budgets(store, Posts()), 24 * HOUR_MS
    start = NOW // day * day
    for hour in range(1, 24):
        calls = 100 * hour
        latency = Latency.of(np.full(calls, 0.01)).to_bytes()
        codes = {"": calls - hour, "internal": hour}
        store.put_windows([Window("churn", "1", "champion", "w0", start, day, calls, calls, codes, latency, {})])
        one.look(start + hour * HOUR_MS)
        found = burning.known(store, "churn")
        assert found is not None
        assert (found.told[0].bad, found.told[0].calls) == (hour, calls)


def test_a_look_reads_what_changed_and_no_more_than_so_many_windows(
    store: MemoryState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burning, "MOST", 100)
    read, got = store.windows, list[int]()

    def counted(name: str, **how: Any) -> list[Window]:
        found = read(name, **how)
        got.append(len(found))
        return found

    for back in range(6 * 60):
        call(store, NOW - back * MINUTE, bad=1)
    store.windows = counted  # type: ignore[method-assign,assignment]
    one = budgets(store, Posts())
    looks = 0
    while True:
        one.look(NOW + looks * LOOK_MS)
        found = burning.known(store, "churn")
        assert found is not None
        looks += 1
        if found.told[0].left is not None:
            break
    assert (looks, max(got), sum(got)) == (5, 94, 6 * 60)
    assert (found.told[0].bad, found.told[0].calls) == (360, 36_000)
    got.clear()
    call(store, NOW, bad=9)
    call(store, NOW - 40 * MINUTE, bad=2, calls=200)  # late
    one.look(NOW + looks * LOOK_MS)
    found = burning.known(store, "churn")
    assert found is not None
    assert (found.told[0].bad, found.told[0].calls) == (361, 36_100), "as many calls as before are the same window"
    assert got == [5]
    got.clear()
    for back in (36, 24, 19):  # a part, not the next, and two after it
        call(store, NOW - back * MINUTE, bad=2, calls=300)
    monkeypatch.setattr(burning, "MOST", 12)
    looks += 1
    one.look(NOW + looks * LOOK_MS)
    assert got == [5, 10], "what did not change takes no room"


def test_a_promise_over_part_of_an_hour_is_known_at_once(store: MemoryState) -> None:
    call(store, NOW)
    Budgets(store, Budgeted("churn", (Objective("availability", 0.99, 7 * 86_400 + 1_800),)), Posts()).look(NOW)
    found = burning.known(store, "churn")
    assert found is not None
    assert found.told[0].left == 1.0
