"""The timer that notes how late it fires."""

from __future__ import annotations

import asyncio
import time

from fairlead.kit.clock import SystemClock
from fairlead.serve.stalls import BEAT, Stalls
from fairlead.testing.sinks import MemorySink


def stand_still(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass


async def test_a_stall_is_told_and_nothing_after_the_stop() -> None:
    sink = MemorySink()
    stalls = Stalls(sink, SystemClock())
    stalls.start()
    await asyncio.sleep(0)
    stand_still(4 * BEAT)
    await asyncio.sleep(2 * BEAT)
    await stalls.stop()
    assert max(sink.stalls) >= 2 * BEAT
    told = len(sink.stalls)
    await asyncio.sleep(3 * BEAT)
    assert len(sink.stalls) == told
    assert stalls.troubles() == []
