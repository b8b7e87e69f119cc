"""Texts that become vectors go down a line as questions do: what is measured, limited and paid for there is so here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.contracts.access import Caller
from fairlead.contracts.embedder import Embedded, Text
from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Begun, Ended, Generation, Sampling, Usage
from fairlead.kit.clock import Clock
from fairlead.serve.llm.ask import Ask, Enter, Notes, Stage, over
from fairlead.serve.llm.embeddings import Embedding, typed

NOTHING = Sampling(most=0)
"""No token is written."""


class Vectoring:
    """``stages``: outermost first."""

    def __init__(self, live: Embedding, stages: Sequence[Stage], clock: Clock) -> None:
        self._live, self._stages, self._clock = live, stages, clock

    async def embed(
        self, texts: Sequence[Text], caller: Caller | None, request_id: str, size: int, notes: Notes
    ) -> Embedded:
        """Raises what stages refuse with, and what ``Embedding.embed`` raises. ``size``: bytes of the body."""
        live, now = self._live, self._clock.now()
        rows = await live.read(texts)
        counts = tuple(map(len, rows))
        ended: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def hear(event: Event) -> None:
            if over(event) and not ended.done():
                ended.set_result(event)

        made: list[NDArray[np.float32]] = []

        def compute(_ask: Ask, tell: Tell) -> Running:
            return _Computing(live, rows, now + live.deadline, made.append, tell)

        enter: Enter = compute
        for one in reversed(self._stages):
            enter = one.stage(enter)
        asked = Generation(request_id, live.name, "", NOTHING, deadline=now + live.deadline)
        running = enter(Ask(asked, now, request_id, caller, size, prompt=sum(counts), notes=notes), hear)
        try:
            event = await ended
        finally:
            running.cancel()
        if isinstance(event, FairleadError):
            raise event
        return Embedded(made[0], counts)


class _Computing:
    """The end of the line. ``Begun`` is told when the first of the texts are computed: from then on they cost."""

    def __init__(
        self,
        live: Embedding,
        rows: Sequence[Sequence[int]],
        deadline: float,
        made: Callable[[NDArray[np.float32]], None],
        tell: Tell,
    ) -> None:
        self._tell: Tell | None = tell
        self._usage = Usage(sum(map(len, rows)))
        self._made = made
        self._task = asyncio.get_running_loop().create_task(self._run(live, rows, deadline))

    async def _run(self, live: Embedding, rows: Sequence[Sequence[int]], deadline: float) -> None:
        try:
            self._made(await live.riding.embed(rows, deadline, self._begun))
        except Exception as error:  # noqa: BLE001 - every answer ends, whatever an embedder raises
            self._end(typed(error))
        else:
            self._end(Ended("stop", self._usage))

    def _begun(self) -> None:
        if self._tell is not None:
            self._tell(Begun(self._usage))

    def _end(self, event: Event) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(event)

    def cancel(self) -> None:
        if self._tell is not None:
            self._tell = None
            self._task.cancel()
