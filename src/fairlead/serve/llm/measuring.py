"""The outermost stage: when the first piece came, how fast the others followed, what it came to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from fairlead.contracts.answered import Answered, ChatMeter
from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import Cancelled, FairleadError
from fairlead.contracts.generation import Begun, Ended, Piece, Usage
from fairlead.kit.clock import Clock
from fairlead.serve.llm.ask import Ask, Enter
from fairlead.serve.llm.seen import Seen

log = logging.getLogger("fairlead.serve")

Hear = Callable[[Answered], None]

TEXT: Final = 65_536
"""Characters of an answer that are traced, at most."""


class Measuring:
    """``hear``: gets every answer.  ``content``: what is said is told, too, as ``redact`` leaves it."""

    def __init__(
        self, meter: ChatMeter, clock: Clock, hear: Sequence[Hear] = (), redact: Callable[[str], str] | None = None
    ) -> None:
        self._meter, self._clock = meter, clock
        self._hear = (meter.answered, *hear)
        self.redact = redact

    def stage(self, after: Enter) -> Enter:
        def enter(ask: Ask, tell: Tell) -> Running:
            self._meter.began()
            watch = _Watch(self, ask, tell)
            running = after(ask, watch.tell)
            watch.running = running
            if watch.over:
                running.cancel()  # it ended, or was cancelled by what it told
            return watch

        return enter

    def now(self) -> float:
        return self._clock.now()

    def over(self, watch: _Watch, outcome: str, error: FairleadError | None) -> None:
        ask, notes = watch.ask, watch.ask.notes
        one = Answered(
            ask.generation.model,
            ask.generation,
            ask.request_id,
            outcome,
            error is not None,
            ask.arrived,
            watch.first,
            self._clock.now(),
            self._clock.wall_ms(),
            watch.seen.output,
            watch.longest,
            watch.usage or (watch.seen.usage() if watch.seen.begun else None),
            ask.streams,
            "" if ask.caller is None else ask.caller.name,
            "" if self.redact is None else self.redact("".join(watch.said)[:TEXT]),
            "" if error is None else str(error),
            str(notes.facts.get("traceparent", "")),
            notes.facts,
        )
        for hear in self._hear:
            try:
                hear(one)
            except Exception:  # a stranger's tracer: the answer ends all the same
                log.exception("answer not traced", extra={"fields": {"request_id": ask.request_id}})


class _Watch:
    """One answer: what it tells is passed on as it is."""

    __slots__ = ("_last", "_measuring", "_tell", "ask", "first", "longest", "running", "said", "seen", "usage")

    def __init__(self, measuring: Measuring, ask: Ask, tell: Tell) -> None:
        self._measuring, self.ask = measuring, ask
        self._tell: Tell | None = tell
        self.running: Running | None = None
        self.first = self._last = self.longest = 0.0
        self.seen = Seen(ask)
        self.usage: Usage | None = None
        self.said: list[str] = []

    @property
    def over(self) -> bool:
        return self._tell is None

    def tell(self, event: Event) -> None:
        tell = self._tell
        if tell is None:
            return
        kind = type(event)
        if kind is Piece:
            self._piece(event)  # type: ignore[arg-type]  # it is one
        elif kind is Begun:
            self.seen.hear(event)
        else:
            self._end(event)
        tell(event)

    def cancel(self) -> None:
        tell, self._tell = self._tell, None
        if self.running is not None:
            self.running.cancel()  # first: what it cost is told of it
        if tell is not None:
            self._measuring.over(self, Cancelled.code, Cancelled("the caller closed the connection"))

    def _piece(self, piece: Piece) -> None:
        now = self._measuring.now()
        if not self.first:
            self.first = now
        elif now - self._last > self.longest:
            self.longest = now - self._last
        self._last = now
        self.seen.hear(piece)
        if self._measuring.redact is not None:
            self.said.append(piece.text)

    def _end(self, event: Event) -> None:
        self._tell = None
        if isinstance(event, FairleadError):
            self._measuring.over(self, event.code, event)
        elif isinstance(event, Ended):
            self.usage = event.usage if sum(event.usage) else None
            self._measuring.over(self, event.reason, None)
