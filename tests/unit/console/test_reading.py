"""How long what was read is shown again, and the span of time that may be asked for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from fairlead.console.asked import LONGEST_DAYS, asked
from fairlead.console.reading import Reader
from fairlead.contracts.errors import InvalidParameter, StateError
from fairlead.kit.clock import SystemClock

DAY = 86_400_000
NOW = 1_700_000_000_000
KEPT, LONG = 0.05, 0.4


async def again(*, brief: bool = False, fails: bool = False) -> int:
    """How often a slow read was done, when it is asked for again once ``KEPT`` seconds are over."""
    times = 0

    def work() -> int:
        nonlocal times
        times += 1
        time.sleep(LONG)
        if fails:
            raise StateError("the store does not answer")
        return times

    reader = Reader(SystemClock(), kept=KEPT)
    try:
        for pause in (2 * KEPT, 0.0):
            await asyncio.gather(reader.read("one", work, brief=brief), return_exceptions=True)
            await asyncio.sleep(pause)
    finally:
        reader.close()
    return times


async def test_a_slow_read_is_kept_as_long_as_it_took() -> None:
    assert await again() == 1


@pytest.mark.parametrize("how", [{"brief": True}, {"fails": True}], ids=str)
async def test_who_comes_and_what_failed_are_asked_again_soon(how: dict[str, bool]) -> None:
    assert await again(**how) == 2


def span(**told: int) -> tuple[int, int]:
    found = asked({}, [(name, str(value)) for name, value in told.items()], (), "24h", NOW)
    return found.since_ms, found.until_ms


def test_nothing_is_asked_of_the_future() -> None:
    assert span(since=NOW - DAY, until=NOW + DAY) == (NOW - DAY, NOW)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"since": NOW + 1, "until": NOW + DAY}, "is not before until"),
        ({"since": 0}, f"more than {LONGEST_DAYS} days"),
        ({"since": 0, "until": 99_999_999_999_999}, f"more than {LONGEST_DAYS} days"),
    ],
)
def test_a_span_has_a_bound(told: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        span(**told)
