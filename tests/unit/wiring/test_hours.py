"""Long spans read by the hour: the same as every window merged, whatever came late, and no more than asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fairlead.contracts.events import Columns, Window
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit.codec.records import to_body
from fairlead.monitor.exact import LEVEL
from fairlead.monitor.mapping import of_windows, parts, served, traffic
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import Folder, Merged, merge
from fairlead.testing.state import MemoryState
from fairlead.wiring.hours import CHECKED_MS, HOUR_MS, YOUNG_MS, Hours, with_columns
from fairlead.wiring.reporting import Asked, Stores, drift, measured

np = pytest.importorskip("numpy")
MINUTE, DAY = 60_000, 24 * HOUR_MS
START = 1_767_225_600_000
DAYS = 4
END = START + DAYS * DAY
LENGTH = 10 * MINUTE


@pytest.fixture(scope="module")
def recorded() -> tuple[MemoryState, object]:
    """Two workers; the second version and another reference come in the middle of an hour; a shadow; errors."""
    rng = np.random.default_rng(3)
    state = MemoryState()

    def rows(n: int, shift: float = 0.0) -> tuple[dict[str, object], dict[str, object]]:
        texts = rng.choice(["a", "b", *(f"new-{number}" for number in range(300))], n)
        return {"x": rng.normal(shift, 1, n), "t": texts.astype(object)}, {"p": rng.random(n)}

    kept, other = (reference(*rows(3000, shift), model="churn", version="1") for shift in (0.0, 1.0))
    state.put("reference", "churn/1", to_body(kept), 0)
    state.put("watch", "churn", {"version": "1"}, 0)
    split = TrafficSplit("churn", "churn", (Share("1", "champion", 100),))
    state.put("split", "churn", to_body(split), 0)
    change, renewed = START + 2 * DAY + HOUR_MS // 2, START + DAY + HOUR_MS // 3
    for start in range(START, END, LENGTH):
        for worker in ("w0", "w1"):
            for version, arm in (("1", "champion"), ("2", "shadow" if start < change else "candidate")):
                n = int(rng.integers(1, 12))
                inputs, outputs = rows(n)
                known = other if start < renewed else kept
                folder = Folder(known, "churn", version, arm, worker, LENGTH)
                at, codes = np.full(n, start), [""] * (n - 1) + ["model_failed"]
                seconds = rng.exponential(0.01, n)
                ids, ones = ["i"] * n, np.ones(n, int)
                folder.add(Columns("churn", version, arm, ids, at, seconds, codes, ones, inputs, outputs))
                (one,) = folder.windows()
                pairs = {"calls": float(n), "shift": 0.25 * n} if arm == "shadow" else {}
                state.put_windows([replace(one, pairs=pairs)])
    return state, kept


def same(one: Merged, other: Merged) -> None:
    """Counts to the last one, sums to rounding."""
    for name in ("calls", "rows", "codes", "start_ms", "end_ms", "reference"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.latency.counts.tolist() == other.latency.counts.tolist()
    assert one.columns.keys() == other.columns.keys()
    for name, column in one.columns.items():
        twin = other.columns[name]
        assert column.counts.tolist() == twin.counts.tolist(), name
        for told in ("missing", "foreign", "finite", "infinite", "low", "high", "texts"):
            assert getattr(column, told) == getattr(twin, told), (name, told)
        assert column.total == pytest.approx(twin.total, rel=1e-12, abs=1e-9)


def of(windows: Sequence[Window], version: str, arm: str, reference: str) -> list[Window]:
    return [one for one in windows if (one.version, one.arm, one.reference) == (version, arm, reference)]


def read(hours: Hours[tuple[Window, ...]], state: MemoryState, now_ms: int, since: int = START) -> list[Window]:
    return [one for some in hours.read(state, "churn", since, END, now_ms).values() for one in some]


def test_hours_merged_are_all_windows_merged(recorded: tuple[MemoryState, object]) -> None:
    state, _ = recorded
    direct, hourly = state.windows("churn"), read(with_columns(), state, END + DAY)
    keys = {(one.version, one.arm, one.reference) for one in direct}
    assert keys == {(one.version, one.arm, one.reference) for one in hourly}
    assert len(keys) == 5
    assert len(hourly) < len(direct) / 10
    for key in keys:
        ours, theirs = of(hourly, *key), of(direct, *key)
        same(merge(ours), merge(theirs))
        for one, other in zip(parts(ours, HOUR_MS), parts(theirs, HOUR_MS), strict=True):
            same(one, other)
        for name in ("calls", "shift"):
            assert sum(one.pairs.get(name, 0) for one in ours) == sum(one.pairs.get(name, 0) for one in theirs)


@pytest.mark.parametrize("shift", [0, 17 * MINUTE, HOUR_MS - 1])
def test_a_long_report_is_that_of_every_window(recorded: tuple[MemoryState, object], shift: int) -> None:
    state, kept = recorded
    asked = Asked("churn", START + shift, END - shift)
    assert asked.unit_ms == HOUR_MS
    ends = (one for one in state.windows("churn") if one.start_ms + LENGTH > asked.since_ms)
    direct = [one for one in ends if one.start_ms <= asked.until_ms]
    stores = Stores(state, None)
    for _ in range(2):  # anew, and remembered
        found = measured(stores, asked)
        assert found.report.traffic == traffic(direct)
        assert found.report.served == served(direct)
        some = of(direct, "1", "champion", kept.id)  # type: ignore[attr-defined]
        assert found.rows == sum(one.rows for one in some)
        assert found.tests == of_windows(kept, merge(some), LEVEL / 2)  # type: ignore[arg-type]
        assert found.spans == tuple((one.start_ms, one.end_ms) for one in parts(some, HOUR_MS))
        assert drift(stores, asked).tests == found.tests


def test_what_comes_late_is_seen() -> None:
    state = MemoryState()
    old, one = START, Window("churn", "1", "champion", "w0", START, LENGTH, 6, 6, {"": 6}, b"", {})
    hours: Hours[int] = Hours(lambda some: sum(one.calls for one in some), lambda _: 1, columns=False)
    lazy: Hours[int] = Hours(
        lambda some: sum(one.calls for one in some), lambda _: 1, columns=False, checked_ms=CHECKED_MS
    )
    now = old + 10 * DAY

    def asked(of: Hours[int], at: int) -> dict[int, int]:
        return of.read(state, "churn", old, old + 2 * HOUR_MS, at)

    assert asked(hours, now) == asked(lazy, now) == {}
    state.put_windows([one])
    assert asked(hours, now) == {old: 6}
    assert asked(lazy, now + CHECKED_MS - 1) == {}, "the bound that is promised"
    assert asked(lazy, now + CHECKED_MS) == {old: 6}
    state.put_windows([replace(one, calls=9), replace(one, worker="w1", start_ms=old + HOUR_MS)])
    assert asked(hours, now) == {old: 9, old + HOUR_MS: 6}
    assert asked(lazy, now + 3 * CHECKED_MS) == {old: 9, old + HOUR_MS: 6}
    state.prune_windows(old + 1)
    assert asked(hours, now) == {old + HOUR_MS: 6}
    young = old + HOUR_MS + YOUNG_MS - 1
    assert asked(lazy, young)[old + HOUR_MS] == 6
    state.put_windows([replace(one, calls=8, start_ms=old + HOUR_MS)])
    assert asked(lazy, young + 1)[old + HOUR_MS] == 8 + 6, "young hours are looked at each time"


def test_what_is_kept_is_bounded_and_read_once(recorded: tuple[MemoryState, object]) -> None:
    state, _ = recorded
    calls: list[tuple[int, int]] = []

    class Counting(MemoryState):
        def windows(self, endpoint: str, **how: object) -> list[Window]:  # type: ignore[override]
            calls.append((int(how["since_ms"]), int(how["until_ms"])))  # type: ignore[call-overload]
            return state.windows(endpoint, **how)  # type: ignore[arg-type]

        def tallies(self, endpoint: str, **how: int) -> dict:  # type: ignore[type-arg,override]
            return state.tallies(endpoint, **how)

    store = Counting()
    hours: Hours[int] = Hours(len, lambda _: 1, columns=True, kept=10)
    first = hours.read(store, "churn", START, END, END + DAY)
    assert sum(first.values()) == len(state.windows("churn"))
    assert sum(until - since for since, until in calls) == DAYS * DAY, "each hour once"
    assert max(until - since for since, until in calls) <= 6 * HOUR_MS, "a few hours in memory at once"
    calls.clear()
    assert hours.read(store, "churn", END - 10 * HOUR_MS, END, END + DAY) == dict(list(first.items())[-10:])
    assert calls == []
    assert hours.read(store, "churn", START, END, END + DAY) == first
    assert len(calls) > 0, "the rest was forgotten"
