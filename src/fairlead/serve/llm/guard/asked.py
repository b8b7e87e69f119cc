"""The stage that looks at what is asked, before anything else of the line sees it.

The system's text is not judged: whoever writes it is trusted. Names of what was masked stay the same through a
conversation; on the way back they become what they stand for again, where that is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fairlead.contracts.engine import Running, Tell
from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Message, ToolCall
from fairlead.contracts.guardrail import Channel, GuardMeter
from fairlead.serve.llm.ask import OVER, Ask, Enter, Later
from fairlead.serve.llm.guard import told
from fairlead.serve.llm.guard.examine import Examiner, Said, Verdict
from fairlead.serve.llm.guard.masks import Placeholders, plain_json, strings
from fairlead.serve.llm.guard.restoring import Restoring

_IDS: Final = "prompt: the guardrails of this model cannot look at a list of token ids; send text"
_CHANNELS: Final = {
    "system": Channel.SYSTEM,
    "developer": Channel.SYSTEM,
    "user": Channel.USER,
    "tool": Channel.TOOL,
    "assistant": Channel.ANSWER,
}


@dataclass(frozen=True, slots=True)
class AskedGuard:
    """``restore``: an answer has what was masked in the question again, not its name."""

    examiner: Examiner
    meter: GuardMeter
    clock: Callable[[], float]
    restore: bool = False

    def stage(self, after: Enter) -> Enter:
        return lambda ask, tell: self._enter(after, ask, tell)

    def _enter(self, after: Enter, ask: Ask, tell: Tell) -> Running:
        if isinstance(ask.generation.prompt, tuple) and any(isinstance(one, int) for one in ask.generation.prompt):
            tell(InvalidParameter(_IDS))
            return OVER
        texts = said(ask.generation.prompt)
        began = self.clock()
        names = Placeholders([one.text for one in texts])
        if self.examiner.quick(sum(len(one.text) for one in texts)):
            return self._go(after, ask, tell, self.examiner.now(texts, names), names, began)
        waiting = _Waiting()

        async def judge() -> None:
            verdict = await self.examiner.later(texts, names, ask.generation.deadline)
            if not waiting.cancelled:
                waiting.then(self._go(after, ask, waiting.hearing(tell), verdict, names, began))

        waiting.task = asyncio.get_running_loop().create_task(judge())
        return waiting

    def _go(self, after: Enter, ask: Ask, tell: Tell, verdict: Verdict, names: Placeholders, began: float) -> Running:
        self.meter.looked(told.INPUT, self.clock() - began)
        if ask.first:
            told.note(ask.notes, self.meter, told.INPUT, verdict.found)
            told.silent(ask.notes, self.meter, told.INPUT, verdict.missed)
        if verdict.blocked is not None:
            tell(told.blocked(verdict.blocked, told.INPUT))
            return OVER
        if verdict.refused is not None:
            tell(verdict.refused)
            return OVER
        told.head(ask.notes, "input")
        if not len(names):
            return after(ask, tell)
        told.head(ask.notes, f"masked={len(names)}")
        passed = ask.of(replace(ask.generation, prompt=rebuilt(ask.generation.prompt, verdict.texts)))
        if not self.restore:
            return after(passed, tell)
        restoring = Restoring(names, tell)
        restoring.then(after(passed, restoring.tell))
        return restoring


class _Waiting(Later):
    """A question that is being looked at."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        super().__init__(self._drop)
        self.task: asyncio.Task[None] | None = None

    def _drop(self) -> None:
        if self.task is not None:
            self.task.cancel()


Prompt = tuple[Message, ...] | str | tuple[int, ...]


def said(prompt: Prompt) -> list[Said]:
    """Every text of a conversation with the channel that it came by, in order."""
    if isinstance(prompt, str):
        return [Said(Channel.USER, prompt)]
    texts: list[Said] = []
    for one in prompt:
        if isinstance(one, Message):
            channel = _CHANNELS[one.role]
            texts += (Said(channel, one.name), Said(channel, one.content))
            texts += [Said(channel, text) for call in one.calls for text in (call.name, *strings(call.arguments))]
    return texts


def rebuilt(prompt: Prompt, texts: Sequence[Said]) -> Prompt:
    """The same conversation with other texts, in the order of ``said``."""
    told_ = iter(texts)
    if isinstance(prompt, str):
        return next(told_).text
    made: list[Message] = []
    for one in prompt:
        assert isinstance(one, Message)  # noqa: S101 - ids of tokens never come here
        name, content = next(told_).text, next(told_).text
        calls = []
        for call in one.calls:
            called = next(told_).text
            calls.append(ToolCall(call.id, called, plain_json(call.arguments, lambda _: next(told_).text)))
        made.append(replace(one, name=name, content=content, calls=tuple(calls)))
    return tuple(made)
