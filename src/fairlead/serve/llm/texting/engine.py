"""An engine in text of an engine in ids of tokens and a tokenizer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.contracts.engine import EngineTraits, Load, Running, Tell
from fairlead.contracts.errors import DeadlineExceeded, FairleadError, InvalidParameter, ModelFailed, Unavailable
from fairlead.contracts.generation import Generation
from fairlead.contracts.tokens import TokenEngine, TokenGeneration, Tokenizer
from fairlead.kit.clock import Clock
from fairlead.serve.llm.texting import schemas
from fairlead.serve.llm.texting.answering import Answer, Reading
from fairlead.serve.llm.texting.calling.parsing import FORMATS, JSON, Format, chosen
from fairlead.serve.llm.texting.prompts import Prompts, fits, offered, schemas_weight, talks, weight
from fairlead.serve.llm.texting.stopping import Automaton
from fairlead.serve.llm.texting.thinking import CLOSE, OPEN

INLINE: Final = 8_192
"""Characters of a prompt that are read on the event loop: about a millisecond. More are read in a thread."""
_UNBOUNDED: Final = 1 << 20
"""Tokens of an answer, where neither the caller nor the model says."""
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model calls tools and thinks. ``tools``: ``auto`` (as its chat template says), ``none``, or of ``FORMATS``.

    ``thinks``: ``auto``, ``none`` or ``think``: whether ``<think>`` is told apart from the answer.
    """

    tools: str = "auto"
    thinks: str = "auto"


class Texting:
    """An ``Engine``. Prompts are read here, tokens are made by ``engine``, and text is made of them here."""

    def __init__(
        self, name: str, engine: TokenEngine, tokenizer: Tokenizer, clock: Clock, manner: Manner = Manner()
    ) -> None:
        self._name, self._engine, self.tokenizer, self._clock = name, engine, tokenizer, clock
        template = tokenizer.template
        takes = "tools" in template and manner.tools != "none"
        auto = chosen(template) if takes else None
        self._format: Format | None = FORMATS.get(manner.tools, auto) if manner.tools != "none" else None
        self._thinks = manner.thinks == "think" or (manner.thinks == "auto" and (OPEN in template or CLOSE in template))
        self._prompts = Prompts(tokenizer)
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: set[_Late] = set()

    @property
    def traits(self) -> EngineTraits:
        return replace(self._engine.traits, tools=self._format is not None)

    async def start(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fairlead-prompts")
        await self._engine.start()

    async def stop(self) -> None:
        for one in list(self._waiting):
            one.fail(Unavailable("the engine was stopped", retry_after=1))
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        await self._engine.stop()

    def load(self) -> Load:
        inner = self._engine.load()
        return _Load(inner.waiting + len(self._waiting), inner.running, inner.memory) if self._waiting else inner

    def troubles(self) -> list[str]:
        return self._engine.troubles()

    async def count(self, asked: Generation) -> int:
        ids = self._prompts.remembered(asked)
        if ids is None and (weight(asked) + schemas_weight(asked) <= INLINE or self._pool is None):
            ids = self._prompts.made(asked)
        elif ids is None:
            ids = await asyncio.get_running_loop().run_in_executor(self._pool, self._prompts.made, asked)
        self._prompts.remember(asked, ids)
        fits(len(ids), self._engine.traits.context, asked.sampling.least, self._name)
        return len(ids)

    def generate(self, asked: Generation, tell: Tell) -> Running:
        late = _Late(asked, tell)
        if asked.deadline <= self._clock.now():
            late.fail(DeadlineExceeded("the time of the request was over before the model was asked"))
            return late
        ids = self._prompts.remembered(asked)
        size = (weight(asked) if ids is None else 0) + schemas_weight(asked)
        if size <= INLINE or self._pool is None:
            self._begin(late, functools.partial(self._prepared, asked, ids))
            return late.answer or late
        self._waiting.add(late)
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._prepared, asked, ids)
        future.add_done_callback(functools.partial(self._read, late))
        return late

    def _prepared(self, asked: Generation, ids: Sequence[int] | None) -> _Prepared:
        """What takes time, maybe in a thread."""
        grammar = self._grammar(asked)
        stops = asked.sampling.stop
        return _Prepared(ids or self._prompts.made(asked), Automaton(stops) if stops else None, grammar)

    def _read(self, late: _Late, done: asyncio.Future[_Prepared]) -> None:
        """A thread has read the prompt."""
        self._waiting.discard(late)
        if done.cancelled():
            late.fail(Unavailable("the engine was stopped", retry_after=1))
            return
        error = done.exception()
        if error is None and late.asked.deadline <= self._clock.now():
            late.fail(DeadlineExceeded("the time of the request was over before the model was asked"))
        elif not late.over:
            self._begin(late, done.result)

    def _begin(self, late: _Late, prepared: Callable[[], _Prepared]) -> None:
        """Ask the engine."""
        asked = late.asked
        try:
            made = prepared()
            self._prompts.remember(asked, made.ids)
            generation = self._generation(asked, made)
            answer = Answer(self._reading(asked, made), late.tell)
        except FairleadError as error:
            late.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever a tokenizer of others raises ends this answer only
            late.fail(ModelFailed(f"the tokenizer of {self._name} failed: {type(error).__name__}"))
            return
        late.answer = answer
        answer.runs(self._engine.generate(generation, answer.told))

    def _generation(self, asked: Generation, made: _Prepared) -> TokenGeneration:
        ids, sampling, traits = made.ids, asked.sampling, self._engine.traits
        fits(len(ids), traits.context, sampling.least, self._name)
        if sampling.bias:
            raise InvalidParameter(f"logit_bias: {self._name} has no place for it; leave it out")
        if sampling.logprobs is not None and traits.logprobs < 0:
            raise InvalidParameter(f"logprobs: {self._name} does not tell them; leave it out")
        room = traits.context - len(ids) if traits.context else _UNBOUNDED
        most = room if sampling.most is None else min(sampling.most, room)
        ends = () if sampling.ignore_end else self.tokenizer.ends
        return TokenGeneration(asked.id, ids, most, sampling, ends, made.grammar, asked.adapter)

    def _grammar(self, asked: Generation) -> Mapping[str, Any] | None:
        """What the answer is held to, before it is written."""
        schema: Mapping[str, Any] | None = None
        for place, tool in enumerate(offered(asked)):
            if tool.parameters is not None:
                schemas.checked(tool.parameters, f"tools[{place}].function.parameters", held=False)
        if asked.tools and asked.choose not in ("auto", "none"):
            wanted = [one for one in asked.tools if asked.choose in ("required", one.name)]
            if not wanted:
                raise InvalidParameter(f"tool_choice: there is no tool {asked.choose!r} among tools")
            schema = schemas.of_calls(wanted)
        elif asked.format is not None:
            schema = asked.format.schema
            where = "response_format.json_schema.schema"
            schema = schemas.ANY_OBJECT if schema is None else schemas.checked(schema, where)
        if schema is None:
            return None
        if not self._engine.traits.schemas:
            raise InvalidParameter(
                f"{self._name} has an engine that no schema can hold; leave out response_format, let tool_choice be "
                "auto"
            )
        return {"json_schema": schema}

    def _reading(self, asked: Generation, made: _Prepared) -> Reading:
        ids, tools, held = made.ids, offered(asked), made.grammar is not None
        format_ = None if not tools or (held and asked.choose == "auto") else JSON if held else self._format
        thinks = self._thinks and not held and talks(asked)
        wanted = (format_.marks if format_ is not None else frozenset()) | ({OPEN, CLOSE} if thinks else set())
        marks = self.tokenizer.marks
        shown = {token: text.encode() for token, text in marks.items() if text in wanted} if wanted else {}
        begins = self.tokenizer.pads and (talks(asked) or len(ids) <= len(self.tokenizer.begin))
        return Reading(
            asked.id, self.tokenizer.piece, len(ids), begins, made.stops, format_, frozenset(one.name for one in tools),
            asked.parallel, thinks, thinks and self._thinking_already(ids), shown, asked.sampling.logprobs,
        )  # fmt: skip

    def _thinking_already(self, ids: Sequence[int]) -> bool:
        """Whether the prompt ends with the mark that opens thought."""
        tokenizer = self.tokenizer
        written = b"".join([tokenizer.marks.get(one, "").encode() or tokenizer.piece(one) for one in ids[-12:]])
        return written.rstrip().endswith(OPEN.encode())


@dataclass(frozen=True, slots=True)
class _Prepared:
    ids: Sequence[int]
    stops: Automaton | None
    grammar: Mapping[str, Any] | None


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
