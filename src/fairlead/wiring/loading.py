"""How a version comes to life: its model is opened, placed and measured, and what stands around it is put there."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fairlead.contracts.sink import EndpointMeter, Sink
from fairlead.contracts.types import Signature
from fairlead.kit.clock import SystemClock
from fairlead.package.bundle import Bundle
from fairlead.package.environment import Environment
from fairlead.package.sources import parse
from fairlead.serve.batcher import Policy
from fairlead.serve.bounds import bounds
from fairlead.serve.endpoint import Live
from fairlead.serve.explain.asking import Explainer
from fairlead.serve.follow import Following
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.line import Stage
from fairlead.serve.pace import Pace
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.recording import Recording
from fairlead.serve.remote.settings import Upstream
from fairlead.serve.residency import Residency
from fairlead.serve.settings import EndpointSettings
from fairlead.wiring import environments, explaining, graphs, placing, watching
from fairlead.wiring import upstreams as elsewhere
from fairlead.wiring.fallbacks import Fallbacks
from fairlead.wiring.placing import Placed
from fairlead.wiring.residing import House
from fairlead.wiring.stores import opener

if TYPE_CHECKING:
    from fairlead.wiring.serving import Plan, Target

_log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Loading:
    """Brings versions of endpoints to life."""

    plan: Plan
    sink: Sink
    recording: Recording | None
    residency: Residency | None = None
    place: int = 0
    """Of the worker, among those of its server."""
    pipeline: Pipeline | None = None
    """That the steps of graphs go through."""
    before: Callable[[str], Sequence[Stage]] = lambda _: ()
    """Stages of an endpoint that see a call before all others."""
    fallbacks: Fallbacks | None = None
    """What is put around versions; None: nothing is."""
    limiter: Limiter | None = None
    explainers: dict[tuple[str, str], Explainer] = field(default_factory=dict)
    """Of what was loaded, by endpoint and version."""

    def first(self, one: Target, loop: asyncio.AbstractEventLoop) -> Live:
        """What the URI names."""
        return self._load(one, one.uri, loop)

    def version(self, one: Target, version: str, loop: asyncio.AbstractEventLoop) -> Live:
        """Another version of the registered model that the URI names."""
        return self._load(one, f"models:/{parse(one.uri).model}/{version}", loop)

    def following(self, one: Target, watched: watching.Watched, worker: str) -> Following | None:
        """How an endpoint follows the rollouts of its model; None for one that cannot."""
        load = functools.partial(self.version, one)
        return watching.following(self.plan.home, watched, one.name, worker, load, self.plan.arm)

    def _load(self, one: Target, uri: str, loop: asyncio.AbstractEventLoop) -> Live:
        settings, example = self.plan.placed(one.settings or self.plan.endpoints, self.place), None
        once = functools.partial(self._once, one.name, settings)
        fallbacks = None if one.safety.off else self.fallbacks
        first = once if fallbacks is None else _nothing  # what is tried again is charged once, before the first try
        if one.upstream is not None:
            live = live_upstream(one.name, one.upstream, settings, self.sink, SystemClock(), loop, first)
        elif one.graph is not None and self.pipeline is not None:
            live = graphs.live(one.name, one.graph, settings, self.sink, self.pipeline, loop, first)
        else:
            bundle = opener(self.plan.home).open(uri, trust_pickle=one.trust_pickle, runtime=one.runtime)
            own, example = None, bundle.example
            if settings.isolated:
                own = environments.own(bundle, self.plan.home, SystemClock())
                bundle = replace(bundle, notes=())  # they compare with versions that do not run it
            live = live_version(one.name, bundle, settings, self.sink, SystemClock(), loop, self.residency, own, first)
        try:
            if fallbacks is not None:
                older = functools.partial(self._older, one, loop)
                fallbacks.around(live, one.safety, older, loop, once(live.signature))
            made = explaining.explainer(one.name, one.explain, live.signature, example)
        except BaseException:
            loop.call_soon_threadsafe(live.close)
            raise
        self.explainers[live.endpoint, live.version] = made
        if self.recording is not None:
            live.tape = self.recording.tape(live.endpoint, live.version, batched=live.signature.batched)
            for trouble in self.misfits(live):
                _log.warning("not recorded as asked", extra={"fields": {"trouble": trouble}})
        return live

    def _once(self, endpoint: str, settings: EndpointSettings, signature: Signature) -> Sequence[Stage]:
        """What a call passes once: what is not to be had at all costs nothing of a limit."""
        limit = self.limiter.stage(endpoint) if self.limiter is not None else None
        own = bounds(signature, settings.call_rows, settings.string_bytes)
        return (*own, *self.before(endpoint), *(() if limit is None else (limit,)))

    def _older(self, one: Target, loop: asyncio.AbstractEventLoop, version: str) -> Live:
        """Another version of the registered model, for nobody but a fallback: nothing of it is recorded."""
        settings = self.plan.placed(one.settings or self.plan.endpoints, self.place)
        bundle = opener(self.plan.home).open(f"models:/{parse(one.uri).model}/{version}", runtime=one.runtime)
        own = environments.own(bundle, self.plan.home, SystemClock()) if settings.isolated else None
        return live_version(one.name, bundle, settings, self.sink, SystemClock(), loop, self.residency, own)

    def misfits(self, live: Live) -> list[str]:
        """What the spec asks to be kept or hidden that this version does not have. It serves all the same."""
        if self.recording is None:
            return []
        keeping = self.plan.kept.get(live.endpoint, watching.Kept()).keeping
        return [f"{live.endpoint} version {live.version}: {one}" for one in keeping.misfits(live.signature)]


First = Callable[[Signature], Sequence[Stage]]
"""Stages that stand before all others, for a model that takes this."""


def _nothing(_signature: Signature) -> Sequence[Stage]:
    return ()


def live_version(
    endpoint: str,
    bundle: Bundle,
    settings: EndpointSettings,
    measurements: Sink,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
    residency: Residency | None = None,
    environment: Environment | None = None,
    first: First = _nothing,
) -> Live:
    """Load, warm up, measure, decide how to batch: a version that can answer. ``residency``: who lets it sleep."""
    meter = measurements.endpoint(endpoint, bundle.version)
    placed = placing.placed(House(endpoint, settings, meter, clock, loop, residency, environment), bundle)
    live = _live(endpoint, bundle.version, placed, settings, meter, clock, loop, bundle.notes, first)
    loop.call_soon_threadsafe(placed.asleep.begin, live)
    return live


def live_upstream(
    endpoint: str,
    upstream: Upstream,
    settings: EndpointSettings,
    measurements: Sink,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
    first: First = _nothing,
) -> Live:
    """The same for a model on other servers."""
    meter = measurements.endpoint(endpoint, upstream.version)
    placed = elsewhere.placed(endpoint, upstream, settings, meter, clock, loop)
    return _live(endpoint, upstream.version, placed, settings, meter, clock, loop, first=first)


def _live(
    endpoint: str,
    version: str,
    placed: Placed,
    settings: EndpointSettings,
    meter: EndpointMeter,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
    notes: tuple[str, ...] = (),
    first: First = _nothing,
) -> Live:
    plan, problem = placed.plan, placed.curve.problem
    return Live(
        endpoint,
        version,
        placed.model,
        policy=Policy(
            plan.max_rows,
            settings.max_wait_ms / 1000,
            plan.coalesce,
            settings.queue_rows,
            settings.queue_calls,
            settings.shed,
        ),
        placement=placed.placement,
        meter=meter,
        clock=clock,
        loop=loop,
        deadline=settings.deadline_ms / 1000,
        example=placed.row,
        notes=(*notes, problem) if problem else notes,
        stages=(*first(placed.model.signature), *placed.asleep.stages),
        pace=Pace(placed.curve.rows, placed.curve.seconds) if placed.curve.rows else None,
    )
