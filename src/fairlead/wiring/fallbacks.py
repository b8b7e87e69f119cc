"""What stands around versions when they are loaded: their breaker, retries and fallbacks, checked against them."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence

from fairlead.contracts.errors import FairleadError, Unavailable, UsageError
from fairlead.contracts.types import Signature
from fairlead.kit.clock import SystemClock
from fairlead.serve import ladder
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.graph.kinds import Kind, alike, fits, kinds, rowwise
from fairlead.serve.ladder import Ladder
from fairlead.serve.line import Stage
from fairlead.serve.resilience import policy
from fairlead.serve.resilience.answers import Answers
from fairlead.serve.resilience.constants import one_row
from fairlead.serve.resilience.policy import Another, Cached, Constant, Older, Safety
from fairlead.serve.rungs import FromAnother, FromCache, FromConstant, Rung

_log = logging.getLogger("fairlead.serve")

Load = Callable[[str], Live]
"""Brings another version of the same model to life; blocks."""


class Fallbacks:
    """A companion of the server: what it loaded to fall back to stays until the end."""

    def __init__(self, catalog: Catalog, clock: SystemClock) -> None:
        self._catalog, self._clock = catalog, clock
        self._older: dict[tuple[str, str], Live] = {}
        self._ladders: list[Ladder] = []

    def around(
        self, live: Live, safety: Safety, load: Load, loop: asyncio.AbstractEventLoop, first: Sequence[Stage] = ()
    ) -> None:
        """Make a version safe before it is live. ``first``: what its calls pass once, however often they are tried.

        Raises UsageError for a fallback that does not fit it.
        """
        if safety.off:
            return
        rungs = [
            rung
            for place, asked in enumerate(safety.fallback)
            if (rung := self._rung(live, asked, _where(live, safety, place), load)) is not None
        ]
        made = ladder.around(live, safety, rungs, clock=self._clock, loop=loop, first=first)
        self._ladders = [*(one for one in self._ladders if not one.live.closed), made]

    def start(self) -> None:
        """It is there from the beginning."""

    def drain(self) -> None:
        """Calls go on to be answered."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        for live in self._older.values():
            live.close()

    def troubles(self) -> list[str]:
        return [trouble for one in self._ladders for trouble in one.troubles()]

    def _rung(self, live: Live, asked: policy.Rung, where: str, load: Load) -> Rung | None:
        endpoint, version = live.endpoint, live.version
        match asked:
            case Cached():
                return FromCache(asked.name, endpoint, version, Answers(asked.ttl, asked.limit))
            case Constant():
                try:
                    row = one_row(live.signature, asked.value)
                except UsageError as error:
                    raise UsageError(f"{where}: {error}") from None
                return FromConstant(asked.name, endpoint, version, row, live.signature.batched)
            case Another():
                find = functools.partial(self._catalog.resolve, asked.endpoint)
                return self._another(live, asked.name, find, where)
            case Older():
                if asked.version == version:
                    fields = {"endpoint": endpoint, "version": version, "fallback": asked.name}
                    _log.warning("no fallback to the version itself", extra={"fields": fields})
                    return None
                older = self._loaded(endpoint, asked.version, where, load)
                return self._another(live, asked.name, lambda: older, where)

    def _another(self, live: Live, name: str, find: Callable[[], Live], where: str) -> Rung:
        own, gives = live.signature, tuple(spec.name for spec in live.signature.outputs)
        misfit = functools.partial(unlike, own)
        try:
            why = misfit(find().signature)
        except Unavailable:  # it is unloaded now, and looked at when it is asked
            why = ""
        if why:
            raise UsageError(f"{where} does not fit: {why}")
        return FromAnother(name, live.endpoint, find, misfit, gives, self._clock)

    def _loaded(self, endpoint: str, version: str, where: str, load: Load) -> Live:
        key = (endpoint, version)
        if key not in self._older:
            try:
                self._older[key] = load(version)
            except FairleadError as error:
                raise type(error)(f"{where}: {error}") from error
            _log.info("loaded to fall back to", extra={"fields": {"endpoint": endpoint, "version": version}})
        return self._older[key]


def unlike(own: Signature, other: Signature) -> str:
    """Why a model cannot stand in for another, as the end of a sentence; empty where it can."""
    if own.batched != other.batched:
        return "one of the two takes rows and the other does not"
    gives = kinds(other)
    if not own.outputs:
        return "the model does not say what it gives; declare its outputs"
    for name, kind in kinds(own).items():
        there = gives.get(name)
        if there is None or there.datatype is not kind.datatype or not alike(there.shape, kind.shape):
            return f"its {name} is {there or 'not there'}, and the model's is {kind}"
    takes = {spec.name: Kind(spec.datatype, rowwise(spec.shape, own.batched)) for spec in own.inputs}
    for spec in other.inputs:
        wanted = Kind(spec.datatype, spec.shape)
        if spec.name not in takes:
            if spec.required:
                return f"it takes {spec.name!r}, which the model does not"
        elif not fits(takes[spec.name], spec):
            return f"its {spec.name} is {wanted}, and the model's is {takes[spec.name]}"
    return ""


def _where(live: Live, safety: Safety, place: int) -> str:
    if place < len(safety.places):
        return safety.places[place]
    return f"endpoint {live.endpoint!r}: resilience.fallback[{place}]"
