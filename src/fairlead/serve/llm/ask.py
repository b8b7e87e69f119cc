"""A question on its way down the line, and the shape that every stage of the line has.

An edge makes an ``Ask`` and enters the line. A stage takes the ask and what it tells, and asks the next stage, with the
same ask or another one, now or later; what the next one tells it passes on, changes or holds back. So a stage that is
not used does not exist, and the order is told once, in ``wiring.llm.lines``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import Event, Generator, Running, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Ended, Generation
from fairlead.serve.call import Allowance

KEPT = "cache"
"""In ``Notes.facts`` where an answer is one that was kept: no engine made it, and it costs nothing."""
CACHED = "fairlead-cache"
"""The header that tells the caller so."""
COST, CURRENCY = "cost", "currency"
"""In ``Notes.facts``, where a price is known: what the request has cost so far (a decimal number as text), in what."""


@dataclass(slots=True)
class Notes:
    """What is told of an answer beside it: one for each request, shared by all of its asks.

    ``headers``: of HTTP, names in lower case; those set before the first piece reach every client, later ones only
    those that do not stream.  ``allowance``: how the caller's limits stand.  ``facts``: for traces, metrics, the log.
    """

    headers: dict[str, str] = field(default_factory=dict)
    allowance: Allowance | None = None
    facts: dict[str, object] = field(default_factory=dict)

    def made(self) -> None:
        """Somebody else is asked after all: what was kept is not the answer, and the next one costs what it costs."""
        self.facts.pop(KEPT, None)
        self.headers.pop(CACHED, None)


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer that a caller wants. ``arrived``: monotonic seconds.  ``size``: bytes of the body.

    ``first``: it is the first of the answers that one request asks for (``n``): what is counted by request is counted
    with it.  ``prompt``: tokens of the prompt; -1: nobody has counted them yet.
    ``streams``: the caller sees pieces as they come.
    ``through``: endpoints that it came through before this one, outermost first; empty where an edge asks. What is
    counted by request (the caller's limits, usage, the ledger) is counted where it is empty, or once for each.
    """

    generation: Generation
    arrived: float
    request_id: str
    caller: Caller | None = None
    size: int = 0
    first: bool = True
    prompt: int = -1
    streams: bool = False
    through: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def of(self, generation: Generation) -> Ask:
        """The same with another question."""
        return replace(self, generation=generation)


Enter = Callable[[Ask, Tell], Running]
"""Never raises, never waits; tells as ``contracts.engine`` says."""


class Stage(Protocol):
    """Stands in the line of one endpoint."""

    def stage(self, after: Enter) -> Enter:
        """What to enter instead of ``after``, the rest of the line."""


class Nothing:
    """An answer that is over."""

    def cancel(self) -> None:
        """There is nothing to cancel."""


OVER = Nothing()


class Later:
    """An answer whose making has not begun: a stage waits for something first. ``then`` begins it."""

    __slots__ = ("_running", "_stop", "cancelled")

    def __init__(self, stop: Callable[[], None] | None = None) -> None:
        self.cancelled = False
        self._running: Running | None = None
        self._stop = stop

    def then(self, running: Running) -> None:
        """From now on it is this one that is cancelled; at once where somebody cancelled before."""
        self._running = running
        if self.cancelled:
            running.cancel()

    def hearing(self, tell: Tell) -> Tell:
        """Tells until this is cancelled: what begins late may tell before there is anything to cancel."""

        def hear(event: Event) -> None:
            if not self.cancelled:
                tell(event)

        return hear

    def cancel(self) -> None:
        if self.cancelled:
            return
        self.cancelled = True
        if self._running is not None:
            self._running.cancel()
        elif self._stop is not None:
            self._stop()


def over(event: Event) -> bool:
    """Whether nothing comes after this."""
    return isinstance(event, Ended | FairleadError)


def last(engine: Generator) -> Enter:
    """The end of the line: an engine."""
    return lambda ask, tell: engine.generate(ask.generation, tell)


def line(stages: list[Stage], engine: Generator) -> Enter:
    """The whole line, the first stage outermost."""
    enter = last(engine)
    for one in reversed(stages):
        enter = one.stage(enter)
    return enter
