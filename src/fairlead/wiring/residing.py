"""What lets a version sleep: replicas that an autoscaler counts, or a model of this process that leaves memory."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead.contracts.errors import BrokenModel, UsageError
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.scaling import Autoscaler, Scaling
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Signature
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate.scale import Kpa
from fairlead.package.environment import Environment
from fairlead.serve.doorstep import Doorstep
from fairlead.serve.endpoint import Live, Placement, executor_of
from fairlead.serve.executor import Elsewhere, Executor
from fairlead.serve.isolated.executor import ProcessExecutor
from fairlead.serve.line import Stage
from fairlead.serve.replicas import Replicas
from fairlead.serve.residency import MIB, Residency
from fairlead.serve.resident import Resident
from fairlead.serve.settings import EndpointSettings

WAKE = 5.0
"""Seconds that a call waits for a model that sleeps for want of memory, where nobody says."""


class Fixed:
    """An ``Autoscaler`` that always wants the same."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def decide(self, now: float, seconds: float, concurrency: float, replicas: int) -> int:  # noqa: ARG002 - the contract
        return self._replicas


@dataclass(frozen=True, slots=True)
class House:
    """Where versions of one endpoint are placed: what they share. ``residency`` None: nobody sleeps.

    ``environment``: the libraries of this version's own, None for those that are here.
    """

    name: str
    settings: EndpointSettings
    meter: EndpointMeter
    clock: SystemClock
    loop: asyncio.AbstractEventLoop
    residency: Residency | None = None
    environment: Environment | None = None

    @property
    def sleeps(self) -> bool:
        """Whether the model may have to leave memory."""
        return self.residency is not None and (self.residency.budget > 0 or self._replicas.least == 0)

    @property
    def scales(self) -> bool:
        """Whether its processes come and go."""
        return self.sleeps or (self.residency is not None and self._replicas.most > 1)

    @property
    def _replicas(self) -> Scaling:
        return self.settings.replicas or Scaling(least=1, most=1)

    @property
    def scaling(self) -> Scaling:
        """What is asked; under a budget alone nobody sleeps but for memory."""
        asked, processes = self.settings.replicas, self.settings.processes
        return asked or Scaling(0, processes, idle=0.0, wake=WAKE)

    def doorstep(self) -> Doorstep:
        return Doorstep(
            self.name,
            deadline=self.settings.deadline_ms / 1000,
            patience=self.scaling.wake,
            limit=self.settings.queue_calls,
            clock=self.clock,
        )


@dataclass(frozen=True, slots=True)
class Asleep:
    """What a version that can sleep needs beside its model. ``begin``: told of the version, on the event loop."""

    stages: tuple[Stage, ...] = ()
    begin: Callable[[Live], None] = field(default=lambda _live: None)


def fits(house: House, size: int) -> None:
    """Raises UsageError when there is never room for so many bytes."""
    budget = house.residency.budget if house.residency else 0
    if 0 < budget < size:
        raise UsageError(
            f"{house.name} takes {size / MIB:.1f} MiB of memory and all models of a worker together may have "
            f"{budget / MIB:.1f} MiB; allow more memory"
        )


def replicas(house: House, executor: ProcessExecutor) -> Asleep:
    """Processes that come and go."""
    assert house.residency is not None  # noqa: S101 - it scales
    asked = house.settings.replicas
    scaler: Autoscaler = Fixed(house.settings.processes) if asked is None else Kpa(asked)
    doorstep = house.doorstep()
    found = Replicas(
        house.name, executor, doorstep, house.scaling, scaler, house.residency.room, house.meter, house.clock,
        house.loop,
    )  # fmt: skip
    return Asleep((doorstep,), functools.partial(_began, house.residency, found))


def resident(
    house: House, model: LoadedModel, placement: Placement, load: Callable[[], LoadedModel], size: int
) -> tuple[Elsewhere, Asleep]:
    """A model of this process that leaves memory and comes back. Raises UsageError when there is never room for it."""
    residency = house.residency
    assert residency is not None  # noqa: S101 - it sleeps
    try:
        fits(house, size)
    except UsageError:
        model.close()
        raise
    signature, traits = model.signature, model.traits
    doorstep = house.doorstep()

    def run_by(loaded: LoadedModel) -> Executor:
        return executor_of(loaded, placement, house.clock, house.loop, house.name)

    found = Resident(
        house.name, model, load=functools.partial(_again, load, signature, house.name), run_by=run_by,
        room=residency.room, doorstep=doorstep, size=size, idle=house.scaling.idle,
        pinned=house.settings.replicas is not None and house.scaling.least > 0, meter=house.meter, clock=house.clock,
        loop=house.loop,
    )  # fmt: skip
    return Elsewhere(signature, traits, found), Asleep((doorstep,), functools.partial(_began, residency, found))


def _again(load: Callable[[], LoadedModel], signature: Signature, name: str) -> LoadedModel:
    model = load()
    if model.signature != signature:
        model.close()
        raise BrokenModel(f"{name} changed on disk while it slept: it takes and gives other tensors now; load it again")
    return model


def _began(residency: Residency, sleeper: Replicas | Resident, live: Live) -> None:
    sleeper.start(live)
    residency.add(sleeper)


def size_of(path: Path | None) -> int:
    """Bytes of a file or folder."""
    if path is None:
        return 0
    return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())


def shared(asked: Scaling, place: int, workers: int) -> Scaling:
    """The part of one of the workers: each has some of the replicas, and all together have what was asked."""

    def part(count: int) -> int:
        return count // workers + (place < count % workers)

    return replace(asked, least=part(asked.least), most=part(asked.most))
