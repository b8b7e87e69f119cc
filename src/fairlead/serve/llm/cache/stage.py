"""The stage that answers what was answered before, marked, and streamed as it was streamed then.

A hit costs no token: ``facts["cache"]`` says so to the ledger. Only whole answers are kept, and of requests for several
answers (``n``) none is given: whoever asks for several wants them to differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import numpy as np

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Begun, Ended, Piece
from fairlead.contracts.vectors import Vector
from fairlead.kit.clock import Clock
from fairlead.serve.call import BATCH
from fairlead.serve.llm.ask import CACHED, KEPT, OVER, Ask, Enter, Later
from fairlead.serve.llm.cache.canonical import exact, partition, question
from fairlead.serve.llm.cache.meaning import Match, Meaning
from fairlead.serve.llm.cache.sameness import differ
from fairlead.serve.llm.cache.shelf import Kept, Shelf

log = logging.getLogger("fairlead.serve")

WHOLE: Final = frozenset({"stop", "tool_calls", "length"})
"""Ends of answers that are kept."""
LONGEST: Final = 4096
"""Pieces of an answer that is kept."""
AUDITS: Final = 4
"""Hits that are asked of the model again at once; more are not."""
SAME: Final = 0.8
"""Similarity of two answers to one question that say the same, at least."""

Embed = Callable[[str], Awaitable[Vector]]
"""Raises FairleadError: then the question is asked as if there were no cache."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``scope``: of ``canonical.SCOPES``.  ``audit``: share of hits by meaning that are asked of the model again."""

    scope: str = "key"
    audit: float = 0.05
    patience: float = 0.25
    """Seconds that a question waits to be embedded, at most."""


class Caching:
    """``meaning``, ``embed``: None where only the same question gets the same answer.

    ``told``: hears of every look: ``exact``, ``semantic``, ``miss``, ``guarded``, ``same``, ``false``.
    """

    def __init__(
        self,
        shelf: Shelf,
        clock: Clock,
        rules: Rules,
        told: Callable[[str], None],
        meaning: Meaning | None = None,
        embed: Embed | None = None,
        dice: Random | None = None,
    ) -> None:
        self._shelf, self._clock, self._rules, self._told = shelf, clock, rules, told
        self._meaning, self._embed = meaning, embed
        self._dice = dice or Random()  # noqa: S311 - no secret
        self._tasks: set[asyncio.Task[None]] = set()
        self._audits = 0

    def stage(self, after: Enter) -> Enter:
        def enter(ask: Ask, tell: Tell) -> Running:
            if not ask.first or ask.notes.facts.get("several"):
                return after(ask, tell)
            key, now = exact(ask, self._rules.scope), self._clock.now()
            found = self._shelf.get(key, now)
            if found is not None:
                self._told("exact")
                return self._replay(ask, found, "exact", now, tell, Later())
            asked = question(ask.generation)
            if self._meaning is None or self._embed is None or not asked or self._meaning.trial.off:
                self._told("miss")
                return after(ask, self._keeping(key, asked, None, b"", tell))
            later = Later()
            self._begin(self._by_meaning(after, ask, later.hearing(tell), key, asked, later))
            return later

        return enter

    @property
    def settled(self) -> bool:
        """Whether nothing is looked up or audited now."""
        return not self._tasks

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _by_meaning(self, after: Enter, ask: Ask, tell: Tell, key: bytes, asked: str, later: Later) -> None:
        meaning = self._meaning
        assert meaning is not None  # noqa: S101 - else this is not called
        vector = await self._vector(asked)
        if later.cancelled:
            return
        where, now, match = partition(ask, self._rules.scope), self._clock.now(), Match()
        if vector is not None:
            try:
                match = meaning.find(where, vector, asked, now)
            except Exception:  # an index that fails: a cache that fails is none
                log.exception("look-up failed")
                vector = None
        if match.kept is None:
            self._told("guarded" if match.guarded else "miss")
            later.then(after(ask, self._keeping(key, asked, vector, where, tell)))
            return
        self._told("semantic")
        ask.notes.facts["similarity"] = match.similarity
        if self._dice.random() < self._rules.audit and self._audits < AUDITS:
            self._audits += 1
            self._begin(self._audit(after, ask, match.kept))
        self._replay(ask, match.kept, "semantic", now, tell, later)

    async def _vector(self, text: str) -> Vector | None:
        assert self._embed is not None  # noqa: S101 - as above
        try:
            return await asyncio.wait_for(self._embed(text), self._rules.patience)
        except (FairleadError, TimeoutError):
            return None
        except Exception:  # a cache that fails is none
            log.exception("embedding failed")
            return None

    def _replay(self, ask: Ask, kept: Kept, tier: str, now: float, tell: Tell, running: Later) -> Running:
        """Tell it again; ``running`` may be cancelled meanwhile."""
        ask.notes.facts[KEPT] = tier
        ask.notes.headers[CACHED] = f"{tier}; age={round(now - kept.at)}"
        events: tuple[Event, ...] = (Begun(kept.ended.usage._replace(output=0, reasoning=0)), *kept.pieces, kept.ended)
        for event in events:
            if running.cancelled:
                break
            tell(event)
        return running

    def _keeping(self, key: bytes, asked: str, vector: Vector | None, where: bytes, tell: Tell) -> Tell:
        """Passes on what is told, and keeps the answer once it is whole."""
        pieces: list[Piece] = []

        def keep(event: Event) -> None:
            if isinstance(event, Piece):
                if len(pieces) <= LONGEST:
                    pieces.append(event)
            elif isinstance(event, Ended) and event.reason in WHOLE and len(pieces) <= LONGEST:
                kept = Kept(tuple(pieces), event, self._clock.now(), asked)
                self._keep(key, kept, vector, where)
            tell(event)

        return keep

    def _keep(self, key: bytes, kept: Kept, vector: Vector | None, where: bytes) -> None:
        """Never raises: the answer is told whether it can be kept or not."""
        try:
            self._shelf.put(key, kept)
            if vector is not None and self._meaning is not None and self._shelf.get(key, kept.at) is not None:
                self._meaning.put(where, key, vector)
        except Exception:  # such as a vector of another length: the model that embeds was changed
            log.exception("answer not kept for its meaning")

    async def _audit(self, after: Enter, ask: Ask, kept: Kept) -> None:
        """Ask the model what the cache answered, and see whether it says the same. The caller does not wait."""
        said: list[str] = []
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def hear(event: Event) -> None:
            if isinstance(event, Piece):
                said.append(event.text)
            elif isinstance(event, Ended | FairleadError) and not ended.done():
                ended.set_result(isinstance(event, Ended))

        generation = replace(ask.generation, id=f"{ask.generation.id}-audit", lane=BATCH, tenant="")
        quiet = Ask(generation, self._clock.now(), ask.request_id, through=ask.through)  # on nobody's account
        running: Running = OVER
        try:
            running = after(quiet, hear)
            if not await ended:
                return
            same = await self._agree("".join(said), kept.text)
        finally:
            self._audits -= 1
            running.cancel()
        if same is not None and self._meaning is not None:
            self._told("same" if same else "false")
            before, self._meaning.trial = self._meaning.trial, self._meaning.trial.seen(same=same)
            if self._meaning.trial.threshold != before.threshold:
                fields = {"endpoint": ask.generation.model, "threshold": self._meaning.trial.threshold}
                log.warning("semantic cache threshold raised", extra={"fields": fields})

    async def _agree(self, one: str, other: str) -> bool | None:
        """Whether two answers say the same; None where nobody can tell."""
        if one == other:
            return True
        if differ(one, other) in ("polarity", "number"):
            return False
        left, right = await self._vector(one), await self._vector(other)
        if left is None or right is None:
            return None
        size = float(np.linalg.norm(left) * np.linalg.norm(right))
        return bool(size) and float(left @ right) / size >= SAME

    def troubles(self) -> list[str]:
        """What does not work now."""
        off = self._meaning is not None and self._meaning.trial.off
        return ["the semantic cache is off: too many of its hits were false"] if off else []
