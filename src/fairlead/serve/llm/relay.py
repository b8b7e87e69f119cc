"""The engine of an endpoint that has none: it is made of others, and what is asked of it is asked of them."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.contracts.engine import Engine, EngineTraits, Load, Running, Tell
from fairlead.contracts.errors import NotFound, Unavailable
from fairlead.contracts.generation import Generation
from fairlead.serve.llm.ask import OVER
from fairlead.serve.llm.others import Find


class Idle:
    """How busy nobody is."""

    waiting = running = 0
    memory = 0.0


class Relay:
    """Engine. ``names``: of the endpoints behind it; the first one that is there counts tokens and has the traits.

    Its stages answer; none of them asks it.
    """

    def __init__(self, names: Sequence[str], find: Find) -> None:
        self._names, self._find = names, find

    @property
    def traits(self) -> EngineTraits:
        one = self._first()
        return one.traits if one is not None else EngineTraits("relay")

    async def start(self) -> None:
        """The others start by themselves."""

    async def stop(self) -> None:
        """And they stop by themselves."""

    async def count(self, asked: Generation) -> int:
        """As the first one that is there counts. Raises Unavailable where none is, InputError as it says."""
        one = self._first()
        if one is None:
            raise Unavailable(f"none of {', '.join(self._names)} is there yet", retry_after=1)
        return await one.count(asked)

    def load(self) -> Load:
        one = self._first()
        return one.load() if one is not None else Idle()

    def troubles(self) -> list[str]:
        return []  # those behind it tell their own

    def generate(self, asked: Generation, tell: Tell) -> Running:
        tell(Unavailable(f"nothing answers for {asked.model}"))
        return OVER

    def _first(self) -> Engine | None:
        for name in self._names:
            try:
                return self._find(name).engine
            except (NotFound, Unavailable):
                continue
        return None
