"""Faults around an executor: it stands in the place of an endpoint's own while something is injected, and only then.

The unit is the batch, as it is for a real fault of a model: who rides together fails together. A batch that is slow or
hangs keeps its place, so that those behind it wait as they would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol, runtime_checkable

from fairlead.contracts.errors import FairleadError, ModelFailed, Unavailable
from fairlead.kit.clock import Clock
from fairlead.serve.batcher import Part
from fairlead.serve.call import Dropped
from fairlead.serve.chaos.faults import MARK, Draw, not_numbers, one_row_more
from fairlead.serve.executor import Done, Executor, Result, check_rows

DAY: Final = 86_400.0
"""Seconds that a batch without a deadline hangs."""

Told = Callable[[str, int], None]
"""Hears which fault hit how many calls."""


@runtime_checkable
class Mortal(Protocol):
    """An executor with processes of its own."""

    def crash(self) -> None:
        """Kill one of them, one that runs a batch where there is any."""


class Held(NamedTuple):
    """A batch that waits. ``hangs``: for the deadline of its calls, and not for a time that was asked."""

    timer: asyncio.TimerHandle
    parts: list[Part]
    done: Done
    hangs: bool


class Faulty:
    """``inner``: the executor that it stands before.  ``draw``: which fault a batch has."""

    def __init__(self, inner: Executor, draw: Draw, told: Told, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = inner
        self._draw, self._told = draw, told
        self._clock, self._loop = clock, loop
        self._held: dict[int, Held] = {}
        self._serial = 0
        self._over = False

    @property
    def kind(self) -> str:
        return self.inner.kind

    def submit(self, parts: list[Part], done: Done) -> None:
        fault = None if self._over else self._draw.next()
        if fault is None:
            self.inner.submit(parts, done)
            return
        self._told(fault.kind, len(parts))
        match fault.kind:
            case "slow":
                self._hold(fault.seconds, parts, done)
            case "hang":
                self._hold(max(part.call.deadline for part in parts) - self._clock.now(), parts, done, hangs=True)
            case "error":
                error = ModelFailed(f"the model raised: {MARK}")
                done([(part, error, 0.0, part.rows, None, 0) for part in parts])
            case "drop":
                for part in parts:
                    part.call.finish(Dropped(f"the connection was dropped: {MARK}"))
                done([])
            case "nan":
                self.inner.submit(parts, partial(_changed, done, _nan))
            case "shape":
                self.inner.submit(parts, partial(_changed, done, _misshapen))
            case _:
                self.inner.submit(parts, done)
                if isinstance(self.inner, Mortal):
                    self.inner.crash()

    def end(self) -> Executor:
        """No more faults: what hangs goes on, what is slow takes its time. Gives the executor behind it."""
        self._over = True
        for serial, held in list(self._held.items()):
            if held.hangs:
                held.timer.cancel()
                self._release(serial)
        return self.inner

    def outgrown(self, seconds: float) -> None:
        """The executor behind it may be another from now on; this one stays before it."""
        other = self.inner.outgrown(seconds)
        if other is not None:
            self.inner = other

    def report(self) -> None:
        self.inner.report()

    def troubles(self) -> list[str]:
        return self.inner.troubles()

    def close(self) -> None:
        gone = Unavailable("this version was unloaded; try again", retry_after=1)
        held, self._held = list(self._held.values()), {}
        for one in held:
            one.timer.cancel()
            one.done([(part, gone, 0.0, part.rows, None, 0) for part in one.parts])
        self.inner.close()

    def _hold(self, seconds: float, parts: list[Part], done: Done, *, hangs: bool = False) -> None:
        self._serial = serial = self._serial + 1
        timer = self._loop.call_later(min(max(0.0, seconds), DAY), self._release, serial)
        self._held[serial] = Held(timer, parts, done, hangs)

    def _release(self, serial: int) -> None:
        held = self._held.pop(serial, None)
        if held is not None:
            self.inner.submit(held.parts, held.done)  # which leaves out whose time is over


def _changed(done: Done, change: Callable[[Result], Result], results: list[Result]) -> None:
    done([result if isinstance(result[1], FairleadError) else change(result) for result in results])


def _nan(result: Result) -> Result:
    part, outputs, seconds, rows, _, _ = result
    assert isinstance(outputs, dict)  # noqa: S101 - an error is left as it is
    return part, not_numbers(outputs), seconds, rows, None, 0


def _misshapen(result: Result) -> Result:
    """What the check of every executor makes of it."""
    part, outputs, seconds, rows, _, _ = result
    assert isinstance(outputs, dict)  # noqa: S101 - as above
    try:
        check_rows(one_row_more(outputs), part.rows)
    except ModelFailed as error:
        return part, ModelFailed(f"{error} ({MARK})"), seconds, rows, None, 0
    return part, outputs, seconds, rows, None, 0  # no outputs, and so no rows
