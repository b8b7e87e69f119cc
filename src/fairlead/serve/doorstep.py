"""Where calls wait while nobody is there to answer them: a model that sleeps, or has no replica.

A stage of the line (``serve.line``): while somebody is there it costs a call one comparison. The first call that comes
in vain wakes, once for all that come after it. Waiting has a limit of its own beside the deadline: a call that names no
time gets its whole deadline once somebody is there; one that names a time is answered within it or refused at once,
with the time that waking takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fairlead.contracts.errors import FairleadError, QueueFull, Unavailable
from fairlead.kit.clock import Clock
from fairlead.serve.call import NEVER, Call

SLACK: Final = 1e-6
"""Seconds by which a deadline may differ from the endpoint's own and still be that."""


class Doorstep:
    """``deadline``: of the endpoint, seconds.  ``patience``: seconds that a call waits at most.

    ``limit``: calls that may wait.
    """

    def __init__(self, name: str, *, deadline: float, patience: float, limit: int, clock: Clock) -> None:
        self._name = name
        self.wake: Callable[[], None] = lambda: None
        """Called when somebody waits and nobody is there."""
        self._deadline, self._patience, self._limit = deadline, patience, limit
        self._clock = clock
        self._waiting: dict[asyncio.Future[None], Call] = {}
        """In the order in which they came; some may be finished."""
        self._asked = 0.0
        self.awake = True
        self.used = clock.now()
        """When a call last came."""
        self.takes = 0.0
        """Seconds that waking took the last time; 0.0 while nobody knows."""

    def __call__(self, call: Call) -> Awaitable[None] | None:
        self.used = call.arrived
        return None if self.awake else self._hold(call)

    @property
    def waiting(self) -> int:
        return sum(not call.finished for call in self._waiting.values())

    def shut(self) -> None:
        """Nobody is there any more."""
        self.awake = False

    def open(self) -> float:
        """Somebody is there: let everybody in. Seconds since the first one came in vain; 0.0 where none did."""
        now, self.awake = self._clock.now(), True
        if self._asked:
            self.takes = now - self._asked
        took, self._asked = (self.takes if self._asked else 0.0), 0.0
        for future in self._everybody():
            future.set_result(None)
        return took

    def fail(self, error: FairleadError) -> None:
        """Nobody will come: tell everybody."""
        self._asked = 0.0
        for future in self._everybody():
            future.set_exception(error)

    def _everybody(self) -> list[asyncio.Future[None]]:
        self._waiting = {future: call for future, call in self._waiting.items() if not call.finished}
        return [future for future in self._waiting if not future.done()]

    def _hold(self, call: Call) -> Awaitable[None]:
        """Raises QueueFull, Unavailable, or what waking raises."""
        now = self._clock.now()
        if len(self._waiting) >= self._limit and len(self._everybody()) >= self._limit:
            raise QueueFull(
                f"{self._name} is being woken and {self._limit} calls wait for it; try again later", retry_after=1
            )
        named = call.deadline if abs(call.deadline - call.arrived - self._deadline) > SLACK else NEVER
        if not self._asked:
            self.wake()
            self._asked = now
        self._refuse_late(min(named, call.arrived + self._patience) - now)
        call.deadline = NEVER  # time is kept here until it is in
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = call
        return self._wait(call, named, future)

    def _refuse_late(self, left: float) -> None:
        if self.takes and not self.awake and left < self._asked + self.takes - self._clock.now():
            raise self._late()

    async def _wait(self, call: Call, named: float, future: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(max(0.0, min(named, call.arrived + self._patience) - self._clock.now())):
                await future
        except TimeoutError:
            raise self._late() from None
        finally:
            self._waiting.pop(future, None)
        call.deadline = self._clock.now() + self._deadline if named == NEVER else named

    def _late(self) -> Unavailable:
        took = f"waking takes {self.takes:.1f} s" if self.takes else "it is being woken"
        left = self._asked + self.takes - self._clock.now() if self.takes else 1.0
        return Unavailable(
            f"{self._name} sleeps and is not awake in time for this call ({took}); try again",
            retry_after=max(1.0, left),
        )
