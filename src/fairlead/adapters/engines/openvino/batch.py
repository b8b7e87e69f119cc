"""The answers of one process: who waits, who is under way, and what each step brought. Only the child imports this."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import openvino_genai as genai

from fairlead.adapters.engines.openvino.asked import config
from fairlead.adapters.engines.openvino.messages import Ask, Drop, Made, Over, Stepped, unpacked
from fairlead.adapters.engines.openvino.pipeline import Pipeline, said
from fairlead.adapters.engines.openvino.prefixes import Prefixes
from fairlead.contracts.errors import FairleadError, InvalidParameter, Unavailable

log = logging.getLogger("fairlead.engines")


@dataclass(slots=True)
class Going:
    """An answer under way. ``tokens``: prompt and answer so far.  ``began``: whether its first token is there."""

    handle: Any
    tokens: list[int]
    logprobs: bool
    began: bool = False


@dataclass(slots=True)
class _Report:
    begun: list[tuple[int, int]] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    over: list[Over] = field(default_factory=list)


class Batch:
    """First come, first taken up. With adapters, those who want another one wait until nobody is under way.

    ``vocabulary``: ids are below it; 0: not known.
    """

    def __init__(self, pipeline: Pipeline, prefixes: Prefixes | None, vocabulary: int) -> None:
        self._pipeline = pipeline
        self._prefixes = prefixes
        self._bound = vocabulary or 1 << 31
        self._waiting: deque[Ask] = deque()
        self._going: dict[int, Going] = {}
        self._adapter = ""

    @property
    def busy(self) -> bool:
        """Whether a step would bring something; one that was cancelled needs a step to go."""
        return bool(self._waiting or self._going) or self._pipeline.inner.has_non_finished_requests()

    def take(self, message: Ask | Drop) -> None:
        if isinstance(message, Ask):
            self._waiting.append(message)
        elif (gone := self._going.pop(message.number, None)) is not None:
            gone.handle.cancel()
        else:
            self._waiting = deque(one for one in self._waiting if one.number != message.number)

    def step(self) -> Stepped:
        """Raises RuntimeError where the engine fails; then nothing that it holds can be trusted."""
        report = _Report()
        self._admit(report)
        if self._pipeline.inner.has_non_finished_requests():
            self._pipeline.inner.step()
            for number in list(self._going):
                self._read(number, report)
        return Stepped(report.begun, report.made, report.over, self._pipeline.memory)

    def _admit(self, report: _Report) -> None:
        while self._waiting and len(self._going) < self._pipeline.settings.parallel:
            asked = self._waiting[0]
            if asked.adapter != self._adapter:
                if self._going or self._pipeline.inner.has_non_finished_requests():
                    return
                self._pipeline.switch(asked.adapter)
                self._adapter = asked.adapter
            self._waiting.popleft()
            try:
                self._begin(asked, report)
            except FairleadError as error:
                report.over.append(Over(asked.number, stopped=False, code=error.code, message=str(error)))
            except (RuntimeError, OverflowError, TypeError, ValueError) as error:
                sentence = f"the engine does not take this: {said(error)}"
                report.over.append(Over(asked.number, stopped=False, code=InvalidParameter.code, message=sentence))

    def _begin(self, asked: Ask, report: _Report) -> None:
        ids = unpacked(asked.ids)
        if min(ids) < 0 or max(ids) >= self._bound:  # the library would read beside its table
            wrong = next(one for one in ids if not 0 <= one < self._bound)
            raise InvalidParameter(f"the prompt has the token {wrong}; the model's tokens are 0 to {self._bound - 1}")
        handle = self._pipeline.add(ids, config(asked, self._pipeline, self._bound))
        cached = 0 if self._prefixes is None else self._prefixes.found(ids)
        self._going[asked.number] = Going(handle, ids, asked.choosing.logprobs)
        report.begun.append((asked.number, cached))

    def _read(self, number: int, report: _Report) -> None:
        one = self._going[number]
        ids: list[int] = []
        logprobs: list[float] = []
        reason = genai.GenerationFinishReason.NONE
        while one.handle.can_read():
            for output in one.handle.read().values():
                ids += output.generated_ids
                if one.logprobs:
                    logprobs += output.generated_log_probs
                reason = output.finish_reason
        over = one.handle.get_status() != genai.GenerationStatus.RUNNING
        self._follow(one, ids, over=over)
        stopped = reason == genai.GenerationFinishReason.STOP
        if over and stopped:  # the token that ends it is no part of the answer
            ids, logprobs = ids[:-1], logprobs[:-1]
        if ids:
            report.made.append(Made(number, ids, logprobs))
        if over:
            del self._going[number]
            report.over.append(_over(number, stopped, reason))

    def _follow(self, one: Going, ids: list[int], *, over: bool) -> None:
        """What is computed is kept: a prompt from the first token on, an answer, but for its last token, at its end."""
        if self._prefixes is None:
            return
        if ids and not one.began:
            self._prefixes.keep(one.tokens)
            one.began = True
        one.tokens += ids
        if over:
            self._prefixes.keep(one.tokens[:-1])


def _over(number: int, stopped: bool, reason: Any) -> Over:
    if reason == genai.GenerationFinishReason.NONE:  # it was given up: the cache has no room
        sentence = "the cache of the engine is full; ask for less, or give it more (option cache_gb)"
        return Over(number, stopped=False, code=Unavailable.code, message=sentence)
    return Over(number, stopped)
