"""Hours that the leader adds up: what is read of them is, to the byte, what the windows say, whatever came late."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairlead.contracts.errors import LeaseLost, StateError, Unavailable
from fairlead.contracts.events import Columns, Window
from fairlead.contracts.state import Hour, Lease
from fairlead.monitor.findings import DAY_MS
from fairlead.monitor.latency import Latency
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import Folder
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring.console.folding import Folds, Slots
from fairlead.wiring.hours import HOUR_MS, with_columns
from fairlead.wiring.summing import KEPT_DAYS, MARGIN_MS, MOST_WINDOWS, PAUSE_SECONDS, Summing

np = pytest.importorskip("numpy")
MINUTE = 60_000
START = 1_767_225_600_000
HOURS = 30
END = START + HOURS * HOUR_MS
NOW = END + MARGIN_MS


def held() -> Lease:
    return Lease("controller", "me", 1, 0)


class Counting(MemoryState):
    """How many windows were read; ``fence`` is not its own, so it is not checked."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.most = 0
        self.broken: set[int] = set()

    def windows(self, endpoint: str, **how: object) -> list[Window]:  # type: ignore[override]
        if how.get("since_ms") in self.broken:
            raise StateError("stored counts cannot be read")
        found = super().windows(endpoint, **how)  # type: ignore[arg-type]
        self.read += len(found)
        return found

    def put_hours(self, endpoint: str, hours: object, *, fence: Lease | None = None) -> None:
        self.most = max(self.most, sum(one.tally.windows for one in hours))  # type: ignore[attr-defined]
        super().put_hours(endpoint, hours)  # type: ignore[arg-type]


RNG = np.random.default_rng(5)
KEPT = reference(
    {"x": RNG.normal(0, 1, 500), "t": RNG.choice(["a", "b"], 500).astype(object)},
    {"p": RNG.random(500)},
    model="m",
    version="1",
)


def window(start: int, worker: str = "w0", version: str = "1", arm: str = "champion", n: int = 3) -> Window:
    folder = Folder(KEPT if worker == "w0" else None, "churn", version, arm, worker, 10 * MINUTE)
    inputs = {"x": RNG.normal(0.3, 1, n), "t": RNG.choice(["a", "c"], n).astype(object)}
    codes = [""] * (n - 1) + ["model_failed"]
    at, seconds, ones = np.full(n, start), RNG.exponential(0.01, n), np.ones(n, int)
    folder.add(Columns("churn", version, arm, ["i"] * n, at, seconds, codes, ones, inputs, {"p": RNG.random(n)}))
    (one,) = folder.windows()
    return replace(one, pairs={"calls": float(n), "shift": float(RNG.normal())}) if arm == "shadow" else one


def filled(store: MemoryState) -> None:
    for start in range(START, END, 10 * MINUTE):
        store.put_windows([window(start), window(start, "w1"), window(start, version="2", arm="shadow")])


def round_(summing: Summing, now_ms: int = NOW, steps: int = 200) -> int:
    return sum(summing.step(now_ms, held) for _ in range(steps))


def hourly(store: MemoryState) -> dict[int, tuple[Window, ...]]:
    return with_columns().read(store, "churn", START, END, NOW)


def over_time(store: MemoryState) -> object:
    slots = Slots(START, END, HOURS)
    assert slots.hourly
    found = Folds().read(store, "churn", slots, NOW)

    def plain(one: object) -> object:
        return one.calls, one.rows, dict(one.codes), one.first_ms, one.latency.counts.tolist()  # type: ignore[attr-defined]

    parts = [plain(one.totals) for one in slots.all()]
    return plain(found.total), {key: plain(one) for key, one in found.versions.items()}, parts


def without_hours(store: MemoryState) -> MemoryState:
    """The same windows, and no hour that was added up."""
    other = MemoryState()
    other.put_windows(store.windows("churn"))
    return other


def test_what_is_kept_is_read_in_place_of_minutes_and_says_the_same() -> None:
    store = Counting()
    filled(store)
    assert round_(Summing(store)) == HOURS
    before, of_time = hourly(without_hours(store)), over_time(without_hours(store))
    store.read = 0
    assert hourly(store) == before
    assert over_time(store) == of_time
    assert store.read == 0
    assert round_(Summing(store)) == 0, "nothing is left to add up"


def test_late_windows_are_seen_at_once_whatever_was_added_up_before() -> None:
    """At random: windows come late, grow, come for new versions; the leader passes by or does not; hours are read."""
    chance, store = random.Random(3), Counting()
    filled(store)
    summing = Summing(store)
    stale = 0
    for turn in range(60):
        start = START + chance.randrange(HOURS * 6) * 10 * MINUTE
        worker, version = chance.choice([("w0", "1"), ("w1", "1"), ("late", "1"), ("w0", "3")])
        known = [one for one in store.windows("churn", since_ms=start, until_ms=start + 1) if one.worker == worker]
        calls = max((one.calls for one in known), default=0) + chance.randrange(1, 4)
        store.put_windows([window(start, worker, version, n=calls)])
        for _ in range(chance.randrange(3)):
            summing.step(NOW + turn * 20 * MINUTE, held)
        stale += any(
            one.tally != store.tallies("churn", since_ms=START, until_ms=END, unit_ms=HOUR_MS)[one.start_ms]
            for one in store.hours("churn", since_ms=START, until_ms=END)
        )
        assert hourly(store) == hourly(without_hours(store))
        assert over_time(store) == over_time(without_hours(store))
    assert stale > 5, "else it was not tried"
    round_(summing, NOW + DAY_MS)
    store.read = 0
    hourly(store)
    assert store.read == 0, "it came by and added them up again"


def test_a_window_that_comes_between_reading_and_keeping_makes_the_hour_stale() -> None:
    class Racing(Counting):
        def put_hours(self, endpoint: str, hours: object, *, fence: Lease | None = None) -> None:
            if not self.put:
                self.put = True
                self.put_windows([window(START, "late")])
            super().put_hours(endpoint, hours, fence=fence)

        put = False

    store = Racing()
    filled(store)
    summing = Summing(store)
    assert summing.step(START + HOUR_MS + MARGIN_MS, held) == 1
    assert hourly(store)[START] == hourly(without_hours(store))[START]
    assert any(one.worker == "late" for one in store.windows("churn", since_ms=START, until_ms=START + HOUR_MS))
    assert summing.step(START + 2 * HOUR_MS + MARGIN_MS, held) == 2, "that one again, and the next"
    store.read = 0
    assert hourly(store)[START] == hourly(without_hours(store))[START]


def test_an_hour_is_added_up_when_it_is_over_and_little_at_a_time() -> None:
    store = Counting()
    filled(store)
    summing = Summing(store)
    assert round_(summing, END + MARGIN_MS - 1) == HOURS - 1
    assert [one.start_ms for one in store.hours("churn", since_ms=END - HOUR_MS, until_ms=END)] == []
    assert summing.step(END + MARGIN_MS, held) == 1
    some = [replace(window(END), worker=f"w{number}") for number in range(MOST_WINDOWS // 2 + 1)]
    for hour in range(3):
        store.put_windows([replace(one, start_ms=END + hour * HOUR_MS) for one in some])
    store.most = 0
    assert [summing.step(NOW + 3 * HOUR_MS, held) for _ in range(4)] == [1, 1, 1, 0]
    assert store.most == len(some)


def test_each_endpoint_has_its_turn_and_one_that_cannot_be_read_holds_nobody_up() -> None:
    store = Counting()
    filled(store)
    store.put_windows([replace(one, endpoint="other") for one in store.windows("churn")])
    store.broken = {START + HOUR_MS}
    assert round_(Summing(store)) == 2 * (HOURS - 1)
    store.broken = set()
    assert round_(Summing(store)) == 2


def test_hours_are_pruned_with_windows_and_older_ones_are_not_made() -> None:
    store, old = Counting(), NOW - KEPT_DAYS * DAY_MS
    filled(store)
    store.put_windows([window(old // HOUR_MS * HOUR_MS)])
    summing = Summing(store)
    assert round_(summing, steps=400) == HOURS
    store.prune_windows(START + HOUR_MS + 1)
    kept = [one.start_ms for one in store.hours("churn", since_ms=0, until_ms=END)]
    assert kept == list(range(START + 2 * HOUR_MS, END, HOUR_MS)), "one that was cut is not kept"
    assert hourly(store) == hourly(without_hours(store))


def test_turns_are_apart_and_trouble_waits() -> None:
    store, clock = Counting(), ManualClock(NOW / 1000)
    filled(store)
    summing = Summing(store)
    store.down = True
    summing.turn(clock, held)
    store.down = False
    summing.turn(clock, held)
    assert store.hours("churn", since_ms=START, until_ms=END) == []
    clock.advance(PAUSE_SECONDS)
    summing.turn(clock, held)
    assert store.hours("churn", since_ms=START, until_ms=END) != []

    def lost() -> Lease:
        raise LeaseLost("another controller leads now")

    clock.advance(PAUSE_SECONDS)
    with pytest.raises(LeaseLost):
        summing.turn(clock, lost)


def test_a_store_that_is_down_while_hours_are_read_says_so() -> None:
    store = Counting()
    filled(store)
    round_(Summing(store))
    store.down = True
    with pytest.raises(Unavailable):
        hourly(store)


def test_an_hour_of_many_windows_is_read_in_pieces_and_the_lease_kept_meanwhile() -> None:
    store, asked = Counting(), list[int]()
    some = [window(START + place * 10 * MINUTE) for place in range(6)]
    store.put_windows([replace(one, worker=f"w{number}") for one in some for number in range(120)])

    def fence() -> Lease:
        asked.append(store.read)
        if len(asked) == refuses:
            raise LeaseLost("another controller leads now")
        return held()

    refuses = 2
    with pytest.raises(LeaseLost):
        Summing(store).step(START + HOUR_MS + MARGIN_MS, fence)
    assert (asked, store.hours("churn", since_ms=START, until_ms=END)) == ([240, 480], [])
    asked.clear()
    store.read = refuses = 0
    assert Summing(store).step(START + HOUR_MS + MARGIN_MS, fence) == 1
    assert asked == [240, 480, 720]
    (hour,) = store.hours("churn", since_ms=START, until_ms=END)
    assert {START: hour.tally} == store.tallies("churn", since_ms=START, until_ms=END, unit_ms=HOUR_MS)
    assert len(hour.windows) == 1
    assert over_time(store) == over_time(without_hours(store))


def test_one_endpoint_whose_hours_are_not_taken_leaves_the_others_their_turn() -> None:
    class Refusing(Counting):
        full = "churn"

        def put_hours(self, endpoint: str, hours: object, *, fence: Lease | None = None) -> None:
            if endpoint == self.full:
                raise Unavailable("the statement took too long")
            super().put_hours(endpoint, hours, fence=fence)

    store, clock = Refusing(), ManualClock(NOW / 1000)
    filled(store)
    store.put_windows([replace(one, endpoint="other") for one in store.windows("churn")])
    summing = Summing(store)

    def kept(name: str) -> int:
        return len(store.hours(name, since_ms=START, until_ms=END))

    for _ in range(20):
        summing.turn(clock, held)
        clock.advance(PAUSE_SECONDS)
    assert (kept("churn"), kept("other")) == (0, HOURS)
    store.full = ""
    clock.advance(HOUR_MS / 1000)
    summing.turn(clock, held)
    assert kept("churn") > 0, "its turn came again"


def test_latencies_of_no_calls_are_kept_too() -> None:
    empty = Window("churn", "1", "champion", "w0", START, MINUTE, 0, 0, {}, Latency.none().to_bytes(), {})
    store = Counting()
    store.put_windows([empty, replace(empty, worker="w1")])
    round_(Summing(store))
    (hour,) = store.hours("churn", since_ms=START, until_ms=END)
    assert isinstance(hour, Hour)
    assert hourly(store) == hourly(without_hours(store))
