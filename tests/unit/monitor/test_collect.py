"""Windows while the store is down, and events while old ones cannot be dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.contracts.errors import StorageFull, Unavailable
from fairlead.contracts.events import Columns
from fairlead.monitor.binning import Reference
from fairlead.monitor.collect import Collector
from fairlead.monitor.keep import PRUNE_SECONDS, Keeper
from fairlead.monitor.reference import reference
from fairlead.testing.clock import ManualClock
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState

FIRST, SECOND = (reference({"x": np.arange(100.0) + shift}, {}, model="m", version=str(shift)) for shift in (0, 5))


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(1_000_000)
        self.state = MemoryState(self.clock)
        self.against: Reference | None = FIRST
        self.collector = Collector(self.state, self._find, "0", lambda _: 60_000, self.clock)

    def record(self, calls: int) -> None:
        """Some calls, a second after the last."""
        self.clock.advance(1.1)
        times = np.full(calls, self.clock.wall_ms())
        x = np.zeros((calls, 1))
        ids = [str(at) for at in range(calls)]
        rows = np.ones(calls, int)
        batch = [Columns("m", "1", "champion", ids, times, x[:, 0], [""] * calls, rows, {"x": x}, {})]
        self.collector.record(batch)

    def _find(self, endpoint: str, version: str) -> Reference | None:
        if self.state.down:
            raise Unavailable("down")
        return self.against

    @property
    def calls(self) -> int:
        return sum(window.calls for window in self.state.windows("m"))


def test_folding_goes_on_while_the_store_is_down_and_nothing_is_lost() -> None:
    bench = Bench()
    bench.record(3)
    bench.state.down = True
    for _ in range(5):
        bench.record(2)
    assert "not to answer" in bench.collector.trouble
    bench.state.down = False
    bench.record(1)
    assert (bench.calls, bench.collector.trouble) == (14, "")


def test_another_reference_begins_windows_of_its_own() -> None:
    bench = Bench()
    bench.record(3)
    bench.against = SECOND
    bench.record(4)
    bench.collector.close()
    assert {window.reference: window.calls for window in bench.state.windows("m")} == {FIRST.id: 3, SECOND.id: 4}


class Stuck(MemoryEvents):
    """Drops nothing."""

    def prune(self, endpoint: str, before_ms: int) -> int:
        raise StorageFull("read only")


def test_events_are_kept_once_when_old_ones_cannot_be_dropped() -> None:
    clock = ManualClock(1_000_000)
    events = Stuck()
    keeper = Keeper(events, lambda _: 1000, clock)

    def batch(name: str) -> Sequence[Columns]:
        one = np.ones(1)
        return [Columns("m", "1", "champion", [name], one.astype(int), one, [""], one.astype(int), {"x": one}, {})]

    keeper.record(batch("a"))
    clock.advance(PRUNE_SECONDS + 1)
    keeper.record(batch("b"))
    assert keeper.trouble == "old events stay: read only"
    assert events.frame("m")["prediction_id"].tolist() == ["a", "b"]
