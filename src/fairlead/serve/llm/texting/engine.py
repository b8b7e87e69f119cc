"""An engine in text of an engine in ids of tokens and a tokenizer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from fairlead.contracts.engine import EngineTraits, Load, Running, Tell
from fairlead.contracts.errors import DeadlineExceeded, FairleadError, ModelFailed, Unavailable
from fairlead.contracts.generation import Generation
from fairlead.contracts.tokens import TokenEngine, Tokenizer
from fairlead.kit.clock import Clock
from fairlead.serve.llm.texting.answering import Answer
from fairlead.serve.llm.texting.prompts import fits, schemas_weight, weight
from fairlead.serve.llm.texting.speaking import Manner, Prepared, Speech

INLINE: Final = 4_096
"""Characters of a prompt that are read on the event loop: a millisecond or two. More are read in a thread."""
_THREADS: Final = 2


class Texting:
    """An ``Engine``. Prompts are read here, tokens are made by ``engine``, and text is made of them here."""

    def __init__(
        self, name: str, engine: TokenEngine, open_: Callable[[], Tokenizer], clock: Clock, manner: Manner | None = None
    ) -> None:
        self._name, self._engine, self._open, self._clock, self._manner = name, engine, open_, clock, manner or Manner()
        self._speech: Speech | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: set[_Late] = set()

    @property
    def traits(self) -> EngineTraits:
        speech = self._speech
        tools, chats = speech is not None and speech.format is not None, speech is not None and speech.tokenizer.chats
        return replace(self._engine.traits, tools=tools, resumes=chats)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Once it was started."""
        return None if self._speech is None else self._speech.tokenizer

    async def start(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fairlead-prompts")
        tokenizer, longest = await asyncio.get_running_loop().run_in_executor(self._pool, self._opened)
        await self._engine.start()
        self._speech = Speech(self._name, tokenizer, self._engine.traits, self._manner, longest)

    def _opened(self) -> tuple[Tokenizer, int]:
        """The tokenizer, and the bytes of its longest piece."""
        tokenizer = self._open()
        return tokenizer, max(map(len, map(tokenizer.piece, range(tokenizer.size))), default=1)

    async def stop(self) -> None:
        for one in list(self._waiting):
            one.fail(Unavailable("the engine was stopped", retry_after=1))
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        await self._engine.stop()
        self._speech = None

    def load(self) -> Load:
        inner = self._engine.load()
        return _Load(inner.waiting + len(self._waiting), inner.running, inner.memory) if self._waiting else inner

    def troubles(self) -> list[str]:
        return self._engine.troubles()

    async def count(self, asked: Generation) -> int:
        speech = self._speech
        if speech is None:
            raise Unavailable("the engine is not started", retry_after=1)
        ids = speech.prompts.remembered(asked)
        if ids is None:
            speech.possible(asked)
        if ids is None and (weight(asked) + schemas_weight(asked) <= INLINE or self._pool is None):
            ids = speech.prompts.made(asked)
        elif ids is None:
            ids = await asyncio.get_running_loop().run_in_executor(self._pool, speech.prompts.made, asked)
        speech.prompts.remember(asked, ids)
        fits(len(ids), self._engine.traits.context, asked.sampling.least, self._name)
        return len(ids)

    def generate(self, asked: Generation, tell: Tell) -> Running:
        late, speech = _Late(asked, tell), self._speech
        if speech is None or self._pool is None:
            late.fail(Unavailable("the engine is not started", retry_after=1))
            return late
        if asked.deadline <= self._clock.now():
            late.fail(DeadlineExceeded("the time of the request was over before the model was asked"))
            return late
        ids = speech.prompts.remembered(asked)
        size = (weight(asked) if ids is None else 0) + schemas_weight(asked)
        if size <= INLINE:
            self._begin(late, speech, functools.partial(speech.prepared, asked, ids))
            return late.answer or late
        self._waiting.add(late)
        future = asyncio.get_running_loop().run_in_executor(self._pool, speech.prepared, asked, ids)
        future.add_done_callback(functools.partial(self._read, late, speech))
        return late

    def _read(self, late: _Late, speech: Speech, done: asyncio.Future[Prepared]) -> None:
        """A thread has read the prompt."""
        self._waiting.discard(late)
        if done.cancelled():
            late.fail(Unavailable("the engine was stopped", retry_after=1))
            return
        error = done.exception()
        if error is None and late.asked.deadline <= self._clock.now():
            late.fail(DeadlineExceeded("the time of the request was over before the model was asked"))
        elif not late.over:
            self._begin(late, speech, done.result)

    def _begin(self, late: _Late, speech: Speech, prepared: Callable[[], Prepared]) -> None:
        """Ask the engine."""
        asked = late.asked
        try:
            made = prepared()
            speech.prompts.remember(asked, made.ids)
            generation = speech.generation(asked, made)
            answer = Answer(speech.reading(asked, made), late.tell)
        except FairleadError as error:
            late.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever a tokenizer of others raises ends this answer only
            late.fail(ModelFailed(f"the tokenizer of {self._name} failed: {type(error).__name__}"))
            return
        late.answer = answer
        answer.runs(self._engine.generate(generation, answer.told))


@dataclass(slots=True)
class _Load:
    waiting: int
    running: int
    memory: float


class _Late:
    """An answer whose prompt is being read; then it is that answer."""

    __slots__ = ("answer", "asked", "over", "tell")

    def __init__(self, asked: Generation, tell: Tell) -> None:
        self.asked, self.tell = asked, tell
        self.answer: Answer | None = None
        self.over = False

    def fail(self, error: FairleadError) -> None:
        if not self.over:
            self.over = True
            self.tell(error)

    def cancel(self) -> None:
        self.over = True
        if self.answer is not None:
            self.answer.cancel()
