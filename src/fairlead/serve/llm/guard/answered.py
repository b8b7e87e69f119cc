"""The stage that looks at what is answered, while it is written.

Cheap detectors of bounded reach look through a window at every text of the answer. What is dear, or judges whole texts,
looks at whole sentences: none is told before it was looked at. Where the caller does not stream, it looks once, at the
whole. Calls of tools are told when the answer ends: nobody acts on half of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.generation import Begun, Ended, Piece, Usage
from fairlead.contracts.guardrail import Action, GuardMeter
from fairlead.serve.llm.ask import Ask, Enter, Later
from fairlead.serve.llm.guard import told
from fairlead.serve.llm.guard.arguments import Allowed
from fairlead.serve.llm.guard.calls import Calls
from fairlead.serve.llm.guard.examine import Examiner, Said, Verdict
from fairlead.serve.llm.guard.masks import label
from fairlead.serve.llm.guard.pieces import Pieces
from fairlead.serve.llm.guard.rules import Found, Rule
from fairlead.serve.llm.guard.sentences import Sentences, changed

log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class AnsweredGuard:
    """``quick``: rules that look through the window.  ``finders``: dear ones that find places in a sentence.

    ``judges``: of whole texts.  ``calls``: rules for the arguments of tool calls, all kinds of them.
    ``allowed``: which tools may be called; None: every one.  ``refusing``: what is done about others.
    """

    quick: Sequence[Rule]
    finders: Examiner
    judges: Examiner
    calls: Examiner
    meter: GuardMeter
    clock: Callable[[], float]
    allowed: Allowed | None = None
    refusing: Action = Action.BLOCK

    @property
    def hold(self) -> int:
        """Characters that the window holds back, at most."""
        return max((rule.detector.reach for rule in self.quick), default=0)

    @property
    def slow(self) -> bool:
        return bool(self.finders) or bool(self.judges)

    def stage(self, after: Enter) -> Enter:
        by = "; by=sentence" if self.slow else ""
        streamed = f"stream; holdback={self.hold}{by}"

        def enter(ask: Ask, tell: Tell) -> Running:
            told.head(ask.notes, streamed if ask.streams else "output")
            answer = _Answer(self, ask, tell)
            answer.then(after(ask, answer.tell))
            return answer

        return enter


class _Question(NamedTuple):
    """Something that examiners are asked on the way of an answer."""

    examiner: Examiner
    texts: Sequence[Said]


_Steps = Generator[_Question, Verdict, None]
"""What is done about an event; it waits where it asks."""


class _Answer(Later):
    """One answer on its way. It ends once, whoever ends it."""

    __slots__ = (
        "_ask", "_calls", "_guard", "_out", "_pieces", "_seconds", "_sentences", "_task", "_tokens", "_usage",
        "_waiting",
    )  # fmt: skip

    def __init__(self, guard: AnsweredGuard, ask: Ask, tell: Tell) -> None:
        super().__init__()
        self._guard, self._ask = guard, ask
        self._out: Tell | None = tell
        self._pieces = Pieces(guard.quick)
        self._sentences = Sentences(ask.streams)
        self._calls = Calls(guard.allowed, guard.refusing)
        self._waiting: deque[Event] | None = None
        self._task: asyncio.Task[None] | None = None
        self._usage = Usage()
        self._tokens = 0
        self._seconds = 0.0

    def cancel(self) -> None:
        self._out = None
        if self._task is not None:
            self._task.cancel()
        super().cancel()

    def tell(self, event: Event) -> None:
        """What the rest of the line says."""
        if self._out is None:
            return
        if not self._queue((event,)):
            self._drive(self._take(event), None)

    def _drive(self, steps: _Steps, verdict: Verdict | None) -> None:
        """Carry on until something must be waited for; then what else was told meanwhile."""
        while self._out is not None:
            try:
                asked = next(steps) if verdict is None else steps.send(verdict)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - a stranger's detector; its message may have what it found
                told_ = {"endpoint": self._ask.generation.model, "error": type(error).__name__}
                log.error("a guardrail failed", extra={"fields": told_})  # noqa: TRY400 - as above
                self._end(Unavailable("a guardrail failed, and nothing passes without it", retry_after=1), stop=True)
                return
            if not asked.examiner.quick(sum(len(one.text) for one in asked.texts)):
                if self._waiting is None:
                    self._waiting = deque()
                self._task = asyncio.get_running_loop().create_task(self._wait(steps, asked))
                return
            verdict = asked.examiner.now(asked.texts, label)
        waiting, self._waiting = self._waiting, None
        while waiting and self._out is not None:
            if self._queue(waiting):
                return
            self._drive(self._take(waiting.popleft()), None)

    def _queue(self, events: Iterable[Event]) -> bool:
        """Keep events for later while something is waited for; False: nothing is."""
        if self._waiting is None:
            return False
        self._waiting.extend(events)
        return True

    async def _wait(self, steps: _Steps, asked: _Question) -> None:
        verdict = await asked.examiner.later(asked.texts, label)
        self._task = None
        self._drive(steps, verdict)

    def _take(self, event: Event) -> _Steps:
        if isinstance(event, Piece):
            self._tokens += event.tokens
            if event.calls:
                self._calls.add(event.calls)
            began = self._guard.clock()
            passed, blocked = self._pieces.feed(event)
            self._seconds += self._guard.clock() - began
            yield from self._pass(passed, blocked)
        elif isinstance(event, Begun):
            self._usage = event.usage
            self._say(event)
        elif isinstance(event, Ended):
            passed, blocked = self._pieces.end()
            yield from self._pass(passed, blocked, last=True)
            if self._calls:
                yield from self._whole_calls()
            self._end(event)
        else:
            passed, blocked = self._pieces.end()
            if passed is not None and blocked is None and not self._guard.slow:
                self._say(passed)
            self._end(event)

    def _pass(self, passed: Piece | None, blocked: Found | None, *, last: bool = False) -> _Steps:
        """Tell what the window let go of, now or when its sentence was looked at."""
        told.note(self._ask.notes, self._guard.meter, told.OUTPUT, self._pieces.taken())
        if not self._guard.slow:
            self._say(passed)
        else:
            if passed is not None:
                self._sentences.add(passed)
            if last or blocked is not None or self._sentences.due:
                yield from self._look()
        if blocked is not None:
            self._block()

    def _look(self) -> _Steps:
        """Have the slow ones look at what waits for them."""
        ready = self._sentences.take()
        if ready is None:
            return
        if self._guard.finders:
            verdict = yield _Question(self._guard.finders, ready.said)
            if self._stopped(verdict):
                return
            ready = changed(ready, verdict.texts)
        if self._guard.judges:
            verdict = yield _Question(self._guard.judges, self._sentences.with_past(ready))
            if self._stopped(verdict):
                return
        self._say(ready.piece)

    def _whole_calls(self) -> _Steps:
        wrong = self._calls.wrong()
        told.note(self._ask.notes, self._guard.meter, told.OUTPUT, wrong)
        if any(one.action is Action.BLOCK for one in wrong):
            self._block()
            return
        calls = self._calls.unseen()
        if self._guard.calls:
            verdict = yield _Question(self._guard.calls, self._calls.said())
            if self._stopped(verdict):
                return
            calls = self._calls.whole(verdict.texts)
        self._say(Piece(tokens=self._pieces.owed(), calls=calls))

    def _stopped(self, verdict: Verdict) -> bool:
        told.note(self._ask.notes, self._guard.meter, told.OUTPUT, verdict.found)
        told.silent(self._ask.notes, self._guard.meter, told.OUTPUT, verdict.missed)
        if verdict.blocked is not None:
            self._block()
        elif verdict.refused is not None:
            self._end(verdict.refused, stop=True)
        return verdict.over

    def _say(self, event: Event | None) -> None:
        if self._out is not None and event is not None:
            self._out(event)

    def _block(self) -> None:
        """What was told stays; nothing more comes, and the engine need not go on."""
        output = max(0, self._tokens - self._usage.reasoning)
        self._end(Ended("content_filter", self._usage._replace(output=output)), stop=True)

    def _end(self, last: Ended | FairleadError, *, stop: bool = False) -> None:
        out, self._out = self._out, None
        if out is None:
            return
        self._guard.meter.looked(told.OUTPUT, self._seconds)
        if stop:
            super().cancel()
        out(last)
