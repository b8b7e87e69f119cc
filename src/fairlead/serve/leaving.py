"""Letting a version go: nobody new comes, what it has is answered first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fairlead.kit.clock import Clock
from fairlead.serve.endpoint import Live
from fairlead.serve.recording import Tape

DRAIN_SECONDS: Final = 30.0
"""Time for a version that left to answer what it has."""


async def let_go(live: Live, clock: Clock, retire: Callable[[Tape], None]) -> None:
    """Wait until it is idle, close it, and close what records it."""
    ends = clock.now() + DRAIN_SECONDS
    while not live.idle and clock.now() < ends:  # noqa: ASYNC110 - the batcher tells nobody that it is idle
        await asyncio.sleep(0.05)
    live.close()
    if live.tape is not None:
        retire(live.tape)
