"""A bounded sample of what known callers ask, for whoever looks for those who copy a model; and the delay they get.

A stage keeps some calls as they are; a second later, when they are answered, their rows go to a thread. Endpoints that
ask nobody who they are have no such stage.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.threads import Threads
from fairlead.serve.call import Call
from fairlead.serve.line import Stage

log = logging.getLogger("fairlead.serve")

TICK_SECONDS: Final = 1.0
CALLS: Final = 256
"""Calls of a second that are kept, of all endpoints, and"""
EACH: Final = 32
"""those of one caller of one endpoint."""
ROWS: Final = 16
"""First rows of a call that are looked at."""
STOP_SECONDS: Final = 2.0
"""For the last samples, at the end."""
PATIENCE: Final = 30
"""Seconds that a call is kept while it is not answered."""

Delays = Mapping[tuple[str, str], float]
"""Seconds by endpoint and caller."""


class Sample(NamedTuple):
    """Rows of one call, and what was answered to them."""

    endpoint: str
    caller: str
    inputs: Tensors
    outputs: Tensors


Keep = Callable[[Sequence[Sample]], Delays]
"""Takes what was sampled, in a thread, once a second; gives who is answered later than others. It may raise."""


class Sampling:
    """A companion of the server."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._thread = Threads(1, "fairlead-callers")
        self._calls: list[tuple[str, Call, int]] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._delays: Delays = {}
        self._trouble = ""
        self._ticks = 0
        self._ticking: asyncio.Task[None] | None = None

    def stage(self, endpoint: str) -> Stage:
        """Sees every call of an endpoint that has a caller; waits for those who are to be answered later."""

        def look(call: Call) -> Awaitable[None] | None:
            caller = call.caller
            if caller is None:
                return None
            who = (endpoint, caller.name)
            if len(self._calls) < CALLS and self._counts[who] < EACH:
                self._counts[who] += 1
                self._calls.append((endpoint, call, self._ticks))
            if self._delays and (delay := self._delays.get(who)):
                return asyncio.sleep(delay)
            return None

        return look

    def start(self) -> None:
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def drain(self) -> None:
        """Nothing is let in here."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            last = asyncio.get_running_loop().create_task(self._turn())
            await asyncio.wait((last,), timeout=STOP_SECONDS)
            last.cancel()
        self._thread.close()

    def troubles(self) -> list[str]:
        return [f"callers are not looked at: {self._trouble}"] if self._trouble else []

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._turn()

    async def _turn(self) -> None:
        samples = self._taken()
        try:
            self._delays = await self._thread.ask(partial(self._keep, samples))
        except Exception as error:  # noqa: BLE001 - serving goes on whatever is found out
            if not self._trouble:
                log.warning("callers are not looked at", extra={"fields": {"error": str(error)}})
            self._trouble = str(error) or type(error).__name__
        else:
            self._trouble = ""

    def _taken(self) -> list[Sample]:
        """What is answered; the rest is kept for a while."""
        self._ticks += 1
        calls, self._calls = self._calls, []
        self._counts.clear()
        samples = []
        for endpoint, call, tick in calls:
            outcome, caller = call.outcome, call.caller
            if outcome is None and self._ticks - tick < PATIENCE:
                self._calls.append((endpoint, call, tick))
            elif type(outcome) is Reply and not outcome.degraded and caller is not None:
                inputs, outputs = _head(call.inputs, call.rows), _head(outcome.outputs, call.rows)
                samples.append(Sample(endpoint, caller.name, inputs, outputs))
        return samples


def _head(tensors: Tensors, rows: int) -> Tensors:
    """The first rows of what has so many."""
    return {name: array[:ROWS] for name, array in tensors.items() if array.ndim and len(array) == rows}
