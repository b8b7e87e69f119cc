"""The stage that asks the cheap model first. An answer is held until it is known whether it is kept, then told at once.

One request has one try at a time; what an old try still tells is not heard. The dear model is asked for kept answers
as well now and then, behind the caller's back and on nobody's account, one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import (
    ContextTooLong,
    DeadlineExceeded,
    FairleadError,
    ModelFailed,
    Overloaded,
    QueueFull,
    Unavailable,
)
from fairlead.contracts.figures import Figure
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Usage
from fairlead.kit.clock import Clock
from fairlead.serve.call import BATCH
from fairlead.serve.llm import others
from fairlead.serve.llm.ask import KEPT, Ask, Enter
from fairlead.serve.llm.cache.stage import HEADER as KEPT_HEADER
from fairlead.serve.llm.cascade.auditing import Alarm, Audit
from fairlead.serve.llm.cascade.confidence import ROUTER, confidence
from fairlead.serve.llm.cascade.measured import Measured
from fairlead.serve.llm.cascade.reasking import Reasking
from fairlead.serve.llm.cascade.router import question
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.route.stage import ROUTE
from fairlead.serve.llm.timers import Timer, Timers, looped
from fairlead.serve.llm.tries import Try, together

_CLIMBS: Final = (Unavailable, QueueFull, Overloaded, DeadlineExceeded, ModelFailed, ContextTooLong)
"""Errors of a cheap model that the dear one is asked for instead of telling them."""
_HELD: Final = 1_000_000
"""Characters of an answer that are held, at most."""


class Cascade:
    """Stage. ``find``: the other endpoints.  ``own``: the last one is this endpoint's own engine.

    ``draw``: a number from 0 to 1 each time.  ``alarm``: is told when kept answers disagree too often.
    """

    def __init__(
        self,
        endpoint: str,
        settings: Climbing,
        find: others.Find,
        clock: Clock,
        draw: Callable[[], float],
        alarm: Callable[[Alarm], None],
        timers: Timers = looped,
    ) -> None:
        self.settings, self.clock, self.timers = settings, clock, timers
        self._endpoint, self._draw, self._alarm = endpoint, draw, alarm
        self.audits = [Audit(step.threshold, settings.allowed) for step in settings.steps]
        self.measured = Measured(endpoint)
        self._enters = [others.enter(find, step.name, endpoint) for step in settings.steps]
        self._last = others.enter(find, settings.last, endpoint)
        self._again = Reasking()

    def stage(self, after: Enter) -> Enter:
        if self.settings.last == self._endpoint:
            self._last = after
        return self.enter

    def enter(self, ask: Ask, tell: Tell) -> Running:
        request = _Request(self, ask, tell)
        request.climb(0)
        return request

    def to(self, at: int) -> tuple[str, Enter]:
        steps = self.settings.steps
        return (steps[at].name, self._enters[at]) if at < len(steps) else (self.settings.last, self._last)

    def first(self, at: int, asked: Generation) -> int:
        """The first step from ``at`` on that is worth asking."""
        while at < len(self.settings.steps):
            step, audit = self.settings.steps[at], self.audits[at]
            if audit.threshold < math.inf and self._may(step, audit, asked):
                break
            at += 1
        return at

    def kept(self, at: int, score: float, ask: Ask, text: str) -> None:
        """An answer of the cheap model was told. Sometimes the dear one is asked as well."""
        if self._draw() >= self.settings.audit or self._again.busy:
            return
        limit = self.clock.now() + max(1.0, ask.generation.deadline - ask.arrived)
        generation = replace(ask.generation, lane=BATCH, tenant="", deadline=limit, id=f"{ask.generation.id}-audit")
        quiet = Ask(generation, self.clock.now(), ask.request_id, through=ask.through)
        self._again.ask(self._last, quiet, text, lambda agrees: self._audited(at, score, agrees))

    def figures(self) -> Iterator[Figure]:
        """For metrics."""
        return self.measured.figures([step.name for step in self.settings.steps], self.audits)

    def troubles(self) -> list[str]:
        """A sentence for each cheap model that is not asked."""
        return [
            f"no answer of {step.name} is kept"
            + (
                ", because too many disagreed with the last model's"
                if audit.asked
                else ": fit it: fairlead cascade fit"
            )
            for step, audit in zip(self.settings.steps, self.audits, strict=True)
            if audit.threshold == math.inf
        ]

    def _may(self, step: Step, audit: Audit, asked: Generation) -> bool:
        return step.router is None or step.router.score(question(asked)) >= audit.threshold

    def _audited(self, at: int, score: float, agrees: bool) -> None:
        audit, step = self.audits[at], self.settings.steps[at]
        found = audit.saw(score, agrees)
        if found is not None:
            asked, share, low = found
            allowed, wall = self.settings.allowed, self.clock.wall_ms()
            self._alarm(Alarm(self._endpoint, step.name, asked, share, low, allowed, audit.threshold, wall))


class _Request:
    """Running. One answer that is wanted."""

    def __init__(self, cascade: Cascade, ask: Ask, tell: Tell) -> None:
        self._cascade, self._ask, self._tell = cascade, ask, tell
        self._at = 0
        self._spent = Usage()
        self._over = False
        self._try: Try | None = None
        self._timer: Timer | None = None
        self._held: list[Piece] = []
        self._characters = 0
        self._logprobs: list[float] = []
        self._path: list[str] = []

    def climb(self, at: int) -> None:
        """Ask step ``at``, or the next one after it that is worth it."""
        cascade = self._cascade
        self._at = at = cascade.first(at, self._ask.generation)
        name, enter = cascade.to(at)
        self._path.append(name)
        self._held, self._characters, self._logprobs = [], 0, []
        notes, generation = self._ask.notes, self._ask.generation
        notes.headers[ROUTE] = name
        notes.facts.pop(KEPT, None)  # of a step before, whose cache answered: this one is paid for
        notes.headers.pop(KEPT_HEADER, None)
        notes.facts["cascade"] = tuple(self._path)
        if self._judged and generation.sampling.logprobs is None:
            generation = replace(generation, sampling=replace(generation.sampling, logprobs=0))
        if not self._last and generation.deadline < math.inf:
            now = cascade.clock.now()
            left = cascade.settings.share * (generation.deadline - now)
            generation = replace(generation, deadline=now + left)
            self._timer = cascade.timers(max(0.0, left), self._late)
        tried = self._try = Try(self)
        tried.begin(enter, self._ask.of(generation))

    def heard(self, tried: Try, event: Event) -> None:
        if isinstance(event, Piece):
            self._piece(tried, event)
        elif isinstance(event, Begun):
            if self._last:
                self._tell(event)
        elif self._last:
            self._close()
            if isinstance(event, Ended):
                event = event._replace(usage=self._sum(event.usage))
            self._end(event)
        elif isinstance(event, Ended):
            self._judge(event)
        else:
            self._close()
            self._climb_or_tell(event, tried.seen)

    def cancel(self) -> None:
        if self._over:
            return
        self._over = True
        self._stop()

    def current(self, tried: Try) -> bool:
        return self._try is tried

    # How it is done.

    @property
    def _last(self) -> bool:
        return self._at == len(self._cascade.settings.steps)

    @property
    def _judged(self) -> bool:
        """Whether the answer of this step is judged by its tokens."""
        return not self._last and self._cascade.settings.steps[self._at].signal != ROUTER

    def _piece(self, tried: Try, event: Piece) -> None:
        if self._last:
            self._tell(event)
            return
        self._characters += len(event.text) + len(event.reasoning) + sum(len(one.arguments) for one in event.calls)
        self._logprobs += [one.logprob for one in event.logprobs]
        if self._ask.generation.sampling.logprobs is None and event.logprobs:
            event = event._replace(logprobs=())
        self._held.append(event)
        if self._characters > _HELD:
            self._stop()
            if not self._over:  # what made room may have led to somebody who gave this one up
                self._spent = self._sum(tried.seen)
                self.climb(self._at + 1)

    def _judge(self, end: Ended) -> None:
        """Keep the answer of a cheap model, or ask the next one."""
        step, audit = self._cascade.settings.steps[self._at], self._cascade.audits[self._at]
        if step.router is not None:
            sure: float | None = step.router.score(question(self._ask.generation))
        else:
            sure = confidence(self._logprobs, step.signal)
        self._close()
        self._ask.notes.facts["confidence"] = sure
        if sure is None or (step.router is None and sure < audit.threshold):
            self._cascade.measured.climbed[step.name, "unknown" if sure is None else "unsure"] += 1
            self._spent = self._sum(end.usage)
            self.climb(self._at + 1)
            return
        self._keep(end, sure)

    def _keep(self, end: Ended, sure: float) -> None:
        self._cascade.measured.kept[self._path[-1]] += 1
        self._ask.notes.headers[ROUTE] = self._path[-1]  # whoever answered for it may have named itself
        usage = self._sum(end.usage)
        pieces = self._held
        self._tell(Begun(usage._replace(output=0, reasoning=0)))
        for one in pieces:
            if self._over:
                return
            self._tell(one)
        if self._over:
            return
        self._end(end._replace(usage=usage))
        self._cascade.kept(self._at, sure, self._ask, "".join(one.text for one in pieces))

    def _climb_or_tell(self, error: FairleadError, seen: Usage) -> None:
        late = self._ask.generation.deadline <= self._cascade.clock.now()
        if isinstance(error, _CLIMBS) and not late:
            self._cascade.measured.climbed[self._path[-1], error.code] += 1
            self._spent = self._sum(seen)
            self.climb(self._at + 1)
        else:
            self._end(error)

    def _late(self) -> None:
        """The cheap model had its share of the time."""
        self._timer = None
        tried = self._try
        seen = tried.seen if tried is not None else Usage()
        self._stop()
        if not self._over:  # as above
            self._climb_or_tell(DeadlineExceeded("the first model took too long"), seen)

    def _stop(self) -> None:
        tried = self._try
        self._close()
        if tried is not None:
            tried.cancel()

    def _close(self) -> None:
        """The try is over."""
        self._try = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _sum(self, usage: Usage) -> Usage:
        return together(self._spent, usage)

    def _end(self, event: Ended | FairleadError) -> None:
        self._over = True
        self._tell(event)
