"""Keeps faults on the versions of an endpoint while somebody asks for it, and takes them away when nobody does.

A companion of the server. An injection has a time at which it ends, whoever began it and whatever became of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from typing import Final

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.executor import Faulty
from fairlead.serve.chaos.faults import MARK, Draw, Injection, check, parsed
from fairlead.serve.endpoint import Live

log = logging.getLogger("fairlead.serve")

LOOK: Final = 0.2
"""Seconds between two looks: at what is over, and at versions that came meanwhile."""
TELL: Final = 1.0
"""Seconds between two lines of the log that say what was injected."""


class _Active:
    """What is injected into one endpoint. ``chance``: shared by its versions, so that a seed tells all."""

    def __init__(self, injection: Injection, place: int) -> None:
        self.injection = injection
        self.draw = Draw(parsed(injection.inject), random.Random(f"{injection.seed}/{place}").random)  # noqa: S311
        self.counts: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.told_at = 0.0
        self.faulty: dict[int, tuple[Live, Faulty]] = {}


class Injector:
    """The ``Chaos`` of one process. ``place``: of the worker."""

    def __init__(self, catalog: Catalog, sink: Sink, clock: Clock, place: int = 0) -> None:
        self._catalog, self._sink, self._clock, self._place = catalog, sink, clock, place
        self._active: dict[str, _Active] = {}
        self._looking: asyncio.Task[None] | None = None

    def active(self, endpoint: str) -> str:
        found = self._active.get(endpoint)
        return found.injection.id if found is not None and found.injection.ends > self._clock.now() else ""

    async def inject(self, endpoint: str, injection: Injection) -> None:
        live = self._catalog.resolve(endpoint)
        if injection.ends <= self._clock.now():
            return  # told late, to a worker that was started meanwhile
        other = self.active(endpoint)
        if other and other != injection.id:
            raise Unavailable(
                f"another command injects into {endpoint!r}; end it first: fairlead chaos {endpoint} --stop",
                retry_after=1,
            )
        if other:
            self._active[endpoint].injection = injection
            return
        check(parsed(injection.inject), live.signature, live.executor.kind)
        self._end(endpoint)  # one that is over and was not looked at yet
        self._active[endpoint] = _Active(injection, self._place)
        fields = {"endpoint": endpoint, "faults": injection.inject, "seed": injection.seed, "by": MARK}
        log.warning("chaos begins", extra={"fields": fields})
        self._apply(endpoint)

    async def calm(self, endpoint: str) -> None:
        self._catalog.resolve(endpoint)
        self._end(endpoint)

    # A companion.

    def start(self) -> None:
        log.warning("chaos is allowed", extra={"fields": {"why": "--chaos; callers may inject faults"}})
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def drain(self) -> None:
        """Nothing hangs on the way out."""
        for endpoint in list(self._active):
            self._end(endpoint)

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        self.drain()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def troubles(self) -> list[str]:
        """What keeps this server from being one for production."""
        now = self._clock.now()
        return [
            "chaos is allowed: callers may inject faults (--chaos)",
            *(
                f"endpoint {name!r}: faults are injected ({', '.join(one.injection.inject)}), for "
                f"{one.injection.ends - now:.0f} s more unless it is asked again"
                for name, one in self._active.items()
                if one.injection.ends > now
            ),
        ]

    # Within.

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for endpoint, one in list(self._active.items()):
                if one.injection.ends <= self._clock.now():
                    self._end(endpoint)
                else:
                    self._apply(endpoint)
                    self._tell(endpoint, one)

    def _apply(self, endpoint: str) -> None:
        """To every version that is live now."""
        one = self._active[endpoint]
        loop = asyncio.get_running_loop()

        def told(kind: str, calls: int) -> None:
            one.counts[kind] += calls
            self._sink.injected(endpoint, kind, calls)

        here = {id(live): live for live in self._catalog.all() if live.endpoint == endpoint}
        for key in [key for key in one.faulty if key not in here]:
            del one.faulty[key]  # it left, and takes its faults with it
        for key, live in here.items():
            if key not in one.faulty:
                live.executor = faulty = Faulty(live.executor, one.draw, told, self._clock, loop)
                one.faulty[key] = (live, faulty)

    def _end(self, endpoint: str) -> None:
        one = self._active.pop(endpoint, None)
        if one is None:
            return
        for live, faulty in one.faulty.values():
            live.executor = faulty.end()
        self._tell(endpoint, one, last=True)

    def _tell(self, endpoint: str, one: _Active, *, last: bool = False) -> None:
        """Say in the log what was injected, so that nobody looks for another cause."""
        now = self._clock.now()
        if (one.counts != one.told and now - one.told_at >= TELL) or last:
            one.told, one.told_at = one.counts.copy(), now
            fields = {"endpoint": endpoint, "calls": dict(one.counts), "by": MARK}
            log.warning("chaos ends" if last else "chaos", extra={"fields": fields})
