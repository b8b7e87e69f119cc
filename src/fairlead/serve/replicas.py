"""Replicas that come and go: processes of one version, as many as an autoscaler says, down to none.

A thin loop beside one ``Live`` whose batches run in processes: it looks how many calls are in flight, asks, and has
processes started or ended. With none, calls wait on the ``Doorstep`` and the first one wakes a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.scaling import Autoscaler, Scaling
from fairlead.contracts.sink import EndpointMeter
from fairlead.kit.clock import Clock
from fairlead.serve.doorstep import Doorstep
from fairlead.serve.endpoint import Live
from fairlead.serve.isolated.executor import ProcessExecutor

log = logging.getLogger("fairlead.serve")

LOOK: Final = 0.1
"""Seconds between two looks at the calls in flight."""

LOOKS: Final = 10
"""Looks between two decisions."""

TOUCHED: Final = 1e-6
"""Calls in flight that stand for calls which came and went between two looks."""


class Replicas:
    """A ``Sleeper``. ``doorstep``: a stage of the line of the version that it looks after.

    ``room``: makes room for so many bytes, or raises Unavailable.  Everything on the event loop.
    """

    idle = 0.0
    """The scaler says when the last one ends."""

    def __init__(
        self,
        name: str,
        executor: ProcessExecutor,
        doorstep: Doorstep,
        scaling: Scaling,
        scaler: Autoscaler,
        room: Callable[[Replicas, int], None],
        meter: EndpointMeter,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name = name
        self._executor, self._doorstep = executor, doorstep
        self._scaling, self._scaler = scaling, scaler
        self._room = room
        self._meter = meter
        self._clock, self._loop = clock, loop
        self._live: Live | None = None
        self._wanted = executor.ready
        self._each = executor.resident // max(1, executor.ready)
        self._timer: asyncio.TimerHandle | None = None
        self._looks: list[int] = []
        self._decided = clock.now()
        executor.changed = self._changed
        doorstep.wake = self.wake

    def start(self, live: Live) -> None:
        """Look after ``live`` until it is closed."""
        self._live = live
        self._meter.wanted(self._wanted)
        self._changed()
        self._schedule()

    # A sleeper.

    @property
    def memory(self) -> int:
        return max(self._wanted, 1) * self._each

    @property
    def busy(self) -> bool:
        return self._live is None or not self._live.idle or self._doorstep.waiting > 0

    @property
    def pinned(self) -> bool:
        return self._scaling.least > 0

    @property
    def gone(self) -> bool:
        return self._live is not None and self._live.closed

    @property
    def awake(self) -> bool:
        return self._wanted > 0

    @property
    def used(self) -> float:
        return self._doorstep.used

    def wake(self) -> None:
        """Have one process at least. Raises Unavailable when there is no room for it."""
        if self._wanted == 0:
            self._room(self, self._each)
            self._want(1, "woken")
        if self._timer is None:
            self._decided = self._doorstep.used
            self._schedule()

    def sleep(self, why: str) -> None:
        """Have none."""
        if self._wanted:
            self._want(0, why)

    def _schedule(self) -> None:
        if not self._timer and self._live is not None and not self._live.closed:
            self._timer = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        live = self._live
        if live is None or live.closed:
            return
        if not self._wanted:  # only a call wakes
            self._looks.clear()
            return
        self._looks.append(live.calls + self._doorstep.waiting)
        if len(self._looks) >= LOOKS:
            self._decide()
        self._schedule()

    def _decide(self) -> None:
        now = self._clock.now()
        concurrency = sum(self._looks) / len(self._looks)
        if self._doorstep.used >= self._decided:
            concurrency = max(concurrency, TOUCHED)
        seconds, self._decided = now - self._decided, now
        self._looks.clear()
        wanted = self._scaler.decide(now, seconds, concurrency, self._executor.ready)
        if (ready := self._executor.ready) and (memory := self._executor.resident):
            self._each = memory // ready
        if wanted == 0 and self.busy:
            wanted = 1
        if wanted > self._wanted:
            wanted = self._affordable(wanted)
        if wanted != self._wanted:
            self._want(wanted, "load" if wanted else "idle")

    def _affordable(self, wanted: int) -> int:
        """As many more as there is room for."""
        for count in range(wanted, self._wanted, -1):
            with contextlib.suppress(Unavailable):
                self._room(self, (count - self._wanted) * self._each)
                return count
        return self._wanted

    def _want(self, count: int, why: str) -> None:
        live = self._live
        assert live is not None  # noqa: S101 - start comes first
        told = {"endpoint": live.endpoint, "version": live.version, "replicas": count, "before": self._wanted}
        log.info("replicas", extra={"fields": {**told, "why": why}})
        if count == 0:
            self._doorstep.shut()
        self._wanted = count
        self._meter.wanted(count)
        self._executor.want(count)

    def _changed(self) -> None:
        """A process came, went or could not be started."""
        live, doorstep = self._live, self._doorstep
        if live is None:
            return
        ready = self._executor.ready
        if live.closed:
            doorstep.fail(Unavailable(f"version {live.version} of {live.endpoint!r} was unloaded", retry_after=1))
        elif ready:
            live.at_once(ready)
            if not doorstep.awake and (took := doorstep.open()):
                self._meter.woke(took)
        elif away := self._executor.away():
            doorstep.fail(
                Unavailable(
                    f"no process of {live.endpoint!r} could be started; the next try is in {away:.0f} seconds and the "
                    "server's log says why",
                    retry_after=max(1.0, away),
                )
            )
