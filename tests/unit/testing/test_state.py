from __future__ import annotations

import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.kit.clock import Clock
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState


def test_a_store_that_is_down_answers_nothing_and_loses_nothing() -> None:
    store = MemoryState(ManualClock())
    kept = store.put("split", "churn", {}, 0)
    store.down = True
    for act in (lambda: store.get("split", "churn"), lambda: store.acquire("x", "me", 1), lambda: store.labels("e")):
        with pytest.raises(Unavailable) as error:
            act()
        assert error.value.retry_after
    store.down = False
    assert store.get("split", "churn") == kept


def test_the_clock_moves_by_hand() -> None:
    clock: Clock = ManualClock(5.0)
    assert (clock.now(), clock.wall_ms()) == (0.0, 5000)
    clock.advance(1.25)  # type: ignore[attr-defined]
    assert (clock.now(), clock.wall_ms()) == (1.25, 6250)
