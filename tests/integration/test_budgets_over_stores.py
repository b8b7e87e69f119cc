"""Error budgets over real state stores: two controllers take turns, one of them is away, and the promise ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.errors import LeaseLost
from fairlead.contracts.events import Window
from fairlead.contracts.state import Lease
from fairlead.monitor import timeline
from fairlead.monitor.burn import HOUR_MS, Objective
from fairlead.monitor.latency import Latency
from fairlead.wiring import burning
from fairlead.wiring.burning import Budgeted, Turns
from services import fresh_schema

MINUTE = 60_000
NOW = 1_700_000_000_000 // HOUR_MS * HOUR_MS + 25 * MINUTE
PROMISED = Objective("availability", 0.99, 30 * 86_400)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlState]:
    with fresh_schema() if request.param == "postgres" else nullcontext(f"sqlite:///{tmp_path}/state.db") as url:
        found = SqlState(url)
        yield found
        found.close()


def call(store: SqlState, since_ms: int, minutes: int, bad: int) -> None:
    latency = Latency.of(np.full(100, 0.01)).to_bytes()
    codes = {"": 100 - bad, "internal": bad}
    starts = range(since_ms // MINUTE * MINUTE, since_ms + minutes * MINUTE, MINUTE)
    store.put_windows(
        [Window("churn", "1", "champion", "w", at, MINUTE, 100, 100, codes, latency, {}) for at in starts]
    )


class Controller:
    def __init__(self, store: SqlState, owner: str, *promised: Objective) -> None:
        budgeted = [Budgeted("churn", promised)] if promised else []
        self.turns = Turns(store, budgeted, lambda *_: None, lambda: 0.0)
        self._store, self._owner = store, owner

    def lease(self) -> Lease:
        found = self._store.acquire("controller", self._owner, 30)
        if found is None:
            raise LeaseLost("another leads")
        return found


def said(store: SqlState) -> list[str]:
    return [one.text.split(":")[0].split()[-1] for one in timeline.read(store, "churn") if one.what == "slo"]


def test_controllers_take_turns_and_the_promise_ends(store: SqlState) -> None:
    first, second = Controller(store, "a", PROMISED), Controller(store, "b", PROMISED)
    call(store, NOW - HOUR_MS, 60, 50)
    first.turns.take(NOW, first.lease)
    assert said(store) == ["firing"] * 4
    with pytest.raises(LeaseLost):
        second.turns.take(NOW + MINUTE, second.lease)
    assert said(store) == ["firing"] * 4
    store.release(first.lease())
    call(store, NOW, 180, 50)
    second.turns.take(NOW + 3 * HOUR_MS, second.lease)
    store.release(second.lease())
    first.turns.take(NOW + 3 * HOUR_MS + MINUTE, first.lease)  # it was away for three hours
    found = burning.known(store, "churn")
    assert found is not None
    assert (found.told[0].bad, found.told[0].calls) == (240 * 50, 240 * 100)
    assert said(store) == ["firing"] * 4, "who takes over says nothing again"
    store.release(first.lease())
    last = Controller(store, "c")
    last.turns.take(NOW + 4 * HOUR_MS, last.lease)
    assert said(store) == ["firing"] * 4 + ["resolved"] * 4
    assert store.get("slo", "churn") is None
