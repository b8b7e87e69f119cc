"""Many models in little memory: who sleeps when there is no room, and who sleeps because nobody called for long.

``evictions`` is the decision, pure. ``Residency`` is a thin loop beside the server; it knows of everybody who can
sleep (a model in this process, or the processes of one), and is asked for room before anybody wakes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fairlead.contracts.errors import Unavailable
from fairlead.kit.clock import Clock

log = logging.getLogger("fairlead.serve")

LOOK: Final = 1.0
"""Seconds between two looks at memory and idle models."""

MIB: Final = 2**20


class Sleeper(Protocol):
    """What can leave memory and come back by itself when it is called. Used on the event loop."""

    name: str
    idle: float
    """Seconds without a call after which it sleeps; 0: never for that reason."""

    @property
    def pinned(self) -> bool:
        """Whether it may not be put to sleep."""

    @property
    def busy(self) -> bool:
        """Whether calls wait or run."""

    @property
    def gone(self) -> bool:
        """Whether it was unloaded for good."""

    @property
    def awake(self) -> bool:
        """Whether it is in memory, or on its way."""

    @property
    def used(self) -> float:
        """When it was last called; monotonic seconds."""

    @property
    def memory(self) -> int:
        """Bytes that it has, or had when it was last awake."""

    def sleep(self, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Holding:
    """What the decision knows of one that is awake. ``free``: neither pinned nor busy."""

    memory: int
    used: float
    free: bool


def evictions(held: Sequence[Holding], budget: int, coming: int = 0) -> list[int] | None:
    """Who sleeps so that all others and ``coming`` bytes more are within the budget: the least recently used first.

    Gives places in ``held``. None: there is not enough to be had, and nobody need sleep for nothing.
    """
    over = sum(one.memory for one in held) + coming - budget
    chosen: list[int] = []
    for at in sorted((at for at, one in enumerate(held) if one.free), key=lambda at: held[at].used):
        if over <= 0:
            break
        chosen.append(at)
        over -= held[at].memory
    return chosen if over <= 0 else None


def _holding(one: Sleeper, *, free: bool = True) -> Holding:
    return Holding(one.memory, one.used, free and not one.pinned and not one.busy)


class Residency:
    """A companion of the server. ``budget``: bytes; 0: as much as there is."""

    def __init__(self, budget: int, clock: Clock) -> None:
        self.budget = budget
        self._clock = clock
        self._all: list[Sleeper] = []
        """Several may have one name: versions of an endpoint that are live side by side."""
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def add(self, sleeper: Sleeper) -> None:
        """Look after it from now on, until it is gone; on the event loop. Others may sleep for it at once."""
        self._all.append(sleeper)
        self.look()

    def room(self, sleeper: Sleeper, coming: int) -> None:
        """Make room for ``coming`` bytes of ``sleeper``. Raises Unavailable when there is none to be had."""
        if not self.budget:
            return
        awake = self._awake()
        held = [_holding(one, free=one is not sleeper) for one in awake]
        chosen = evictions(held, self.budget, coming)
        if chosen is None:
            taken = sum(one.memory for one in held if not one.free)
            raise Unavailable(
                f"{sleeper.name} needs {coming / MIB:.0f} MiB; of the {self.budget / MIB:.0f} MiB that models may have "
                f"{taken / MIB:.0f} MiB are pinned or in use",
                retry_after=1,
            )
        for at in chosen:
            awake[at].sleep("memory")

    def look(self) -> None:
        """Put to sleep who was not called for long, and who is too much."""
        now = self._clock.now()
        self._all = [one for one in self._all if not one.gone]
        for one in self._all:
            if one.idle and one.awake and not one.pinned and not one.busy and now - one.used >= one.idle:
                one.sleep("idle")
        if self.budget:
            awake = self._awake()
            chosen = evictions([_holding(one) for one in awake], self.budget)
            self._over = chosen is None
            for at in chosen or []:
                awake[at].sleep("memory")

    def _awake(self) -> list[Sleeper]:
        return [one for one in self._all if one.awake and not one.gone]

    # A companion.

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def drain(self) -> None:
        """Who sleeps may still be woken by calls that came before."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def troubles(self) -> list[str]:
        if not self._over:
            return []
        held = sum(one.memory for one in self._awake()) / MIB
        return [
            f"models have {held:.0f} MiB of memory, over the {self.budget / MIB:.0f} MiB allowed, and none may sleep"
        ]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                self.look()
            except Exception:  # the next look may go well
                log.exception("residency")
