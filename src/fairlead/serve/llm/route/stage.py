"""The stage that spreads an endpoint over others: it does what ``Choosing`` and ``deciding`` say.

One request has one try at a time; what an old try still tells is not heard. So the caller sees ``Begun`` once, pieces
in order, and one end, however many endpoints took part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fairlead.contracts.engine import EngineTraits, Event, Running, Tell
from fairlead.contracts.errors import CircuitOpen, DeadlineExceeded, FairleadError, NotFound, Unavailable
from fairlead.contracts.figures import Figure
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Usage
from fairlead.kit.clock import Clock
from fairlead.serve.llm import others
from fairlead.serve.llm.ask import Ask, Enter
from fairlead.serve.llm.route import deciding
from fairlead.serve.llm.route.choosing import Choosing, Pick
from fairlead.serve.llm.route.deciding import Then
from fairlead.serve.llm.route.measured import Measured
from fairlead.serve.llm.route.prefixes import blocks
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.timers import Timer, Timers, looped
from fairlead.serve.llm.tries import Try, together
from fairlead.serve.resilience.budget import Budget

ROUTE: Final = "fairlead-route"
CONTINUED: Final = "fairlead-continued"


class Routes:
    """Stage. ``find``: the other endpoints.  ``traits``: of the endpoint's own engine, if it is a replica."""

    def __init__(
        self,
        endpoint: str,
        settings: Routing,
        find: others.Find,
        clock: Clock,
        timers: Timers = looped,
        traits: Callable[[], EngineTraits] = lambda: EngineTraits(""),
    ) -> None:
        self.settings, self.clock, self.timers = settings, clock, timers
        own = (endpoint,) if settings.own else ()
        names = (*own, *settings.replicas, *settings.fallback)
        replicas = len(names) - len(settings.fallback)
        self._looks = settings.block if replicas > 1 else 0
        self.choosing = Choosing(names, replicas, settings)
        self.budget = Budget(settings.budget)
        self.measured = Measured(endpoint, names)
        self._find, self._traits = find, traits
        self._enters = [others.enter(find, name, endpoint) for name in names]

    def stage(self, after: Enter) -> Enter:
        if self.settings.own:
            self._enters[0] = after
        return self.enter

    def enter(self, ask: Ask, tell: Tell) -> Running:
        self.budget.call(self.clock.now())
        found = blocks(ask.generation, self._looks) if self._looks else []
        request = _Request(self, ask, tell, found)
        request.go(None)
        return request

    def to(self, at: int) -> Enter:
        return self._enters[at]

    def name(self, at: int) -> str:
        return self.choosing.names[at]

    def resumes(self, at: int) -> bool:
        """Whether it goes on with a conversation whose answer was begun."""
        if at == 0 and self.settings.own:
            return self._traits().resumes
        try:
            return self._find(self.name(at)).engine.traits.resumes
        except (NotFound, Unavailable):
            return False

    def figures(self) -> Iterator[Figure]:
        """For metrics."""
        return self.measured.figures(self.choosing.loads, self.choosing.left_out())

    def troubles(self) -> list[str]:
        """A sentence for each endpoint that is left out."""
        return [f"{name} fails and is left out" for name in self.choosing.left_out()]


class _Request:
    """Running. One answer that is wanted."""

    def __init__(self, routes: Routes, ask: Ask, tell: Tell, found: list[int]) -> None:
        self._routes, self._ask, self._tell, self._found = routes, ask, tell, found
        self._asked: Generation = ask.generation
        """What is asked of the next one: the rest of an answer that was lost."""
        self._since = routes.clock.now()
        self._tried: list[int] = []
        self._names: list[str] = []
        self._retries = 0
        self._over = self._begun = False
        self._said: list[str] | None = None
        """What the caller saw; None while it is nothing."""
        self._made = 0
        """Tokens of that."""
        self._whole = True
        """Nothing but text was said."""
        self._spent = Usage()
        """By tries that were lost after the caller saw something of them."""
        self._try: _Try | None = None
        self._timer: Timer | None = None

    def go(self, error: FairleadError | None, *, force: bool = False) -> None:
        """Ask the next one. ``error``: of the last one; None for the first."""
        routes, now = self._routes, self._routes.clock.now()
        if self._asked.deadline <= now:
            routes.measured.retries["deadline"] += error is not None
            self._end(error or DeadlineExceeded("the time of this request is over; allow more"))
            return
        choosing = routes.choosing
        pick = choosing.pick(self._found, now, self._tried)
        if pick is None and force:
            pick = choosing.force(self._tried)
        if pick is None:
            self._nobody(error, now)
            return
        self._tried.append(pick.at)
        name = routes.name(pick.at)
        self._names.append(name)
        routes.measured.picked[name, pick.why] += 1
        notes = self._ask.notes
        notes.headers[ROUTE] = name
        notes.facts["route"] = tuple(self._names)
        tried = self._try = _Try(self, pick, now)
        tried.begin(routes.to(pick.at), self._ask.of(self._asked))

    def heard(self, tried: Try, event: Event) -> None:
        assert isinstance(tried, _Try)  # noqa: S101 - it makes no others
        if isinstance(event, Piece):
            self._piece(event)
        elif isinstance(event, Begun):
            if not self._begun:
                self._begun = True
                self._tell(event)
        elif isinstance(event, Ended):
            self._close(tried, failed=False, code="ok")
            usage = together(self._spent, event.usage)
            self._end(event._replace(usage=usage))
        else:
            self._close(tried, failed=deciding.failed(event), code=event.code)
            self._lost(tried, event)

    def cancel(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if (tried := self._try) is not None:
            self._close(tried, failed=None, code="cancelled")
            tried.cancel()

    def current(self, tried: Try) -> bool:
        return self._try is tried

    # How it is done.

    def _piece(self, event: Piece) -> None:
        if self._said is None:
            self._said = []
        if self._routes.settings.continues:
            self._said.append(event.text)
        self._made += event.tokens
        self._whole = self._whole and not (event.calls or event.reasoning or event.refusal)
        self._tell(event)

    def _lost(self, tried: _Try, error: FairleadError) -> None:
        routes = self._routes
        able = routes.settings.continues and self._whole and deciding.continuable(self._ask.generation)
        then = deciding.after(error, said=self._said is not None, continuable=able)
        if then is Then.CONTINUE and not isinstance(self._ask.generation.prompt, str):
            self._tried += [at for at in range(len(routes.choosing.names)) if not routes.resumes(at)]
        if then is Then.TELL:
            self._end(error)
            return
        if not self._affords(routes.clock.now()):
            self._wait(error)
            return
        if then is Then.CONTINUE:
            rest = deciding.continued(self._ask.generation, "".join(self._said or ()), self._made)
            self._spent = together(self._spent, tried.seen)
            if rest is None:
                self._end(Ended("length", self._spent))
                return
            self._asked = rest
            self._ask.notes.headers[CONTINUED] = "true"
            self._ask.notes.facts["continued"] = True
        self._retries += 1
        routes.measured.retries[then.value] += 1
        self.go(error)

    def _affords(self, now: float) -> bool:
        """Whether somebody else may be asked. A replica may while the budget lasts, for it has requests of its own that
        the others' would be too many for; a fallback has none of these yet, and a queue and limits.
        """
        routes, choosing = self._routes, self._routes.choosing
        if self._retries >= routes.settings.retries:
            return False
        if choosing.again(self._tried, now) and not routes.budget.take(now):
            routes.measured.retries["budget"] += 1
            self._tried += range(choosing.replicas)
        return choosing.able(self._tried, now)

    def _nobody(self, error: FairleadError | None, now: float) -> None:
        """Nobody is left to be asked."""
        if error is None:
            choosing = self._routes.choosing
            after = max(1.0, choosing.soonest(now))
            told = f"all of {', '.join(choosing.names)} failed lately and are left alone for a while; try again later"
            error = CircuitOpen(told, retry_after=after)
            if self._waits(after=deciding.SHORTEST_PAUSE):
                return
        self._wait(error)

    def _wait(self, error: FairleadError) -> None:
        """For one that is not there yet; where that does not help, the error is told."""
        after = deciding.pause(error)
        if after is None or self._said is not None or not self._waits(after):
            self._end(error)

    def _waits(self, after: float) -> bool:
        routes = self._routes
        now = routes.clock.now()
        if now + after >= min(self._asked.deadline, self._since + routes.settings.wake):
            return False
        routes.measured.retries["wait"] += 1
        self._timer = routes.timers(after, self._again)
        return True

    def _again(self) -> None:
        self._timer = None
        self._tried.clear()
        self._retries = 0
        self.go(Unavailable("it was waited for"), force=True)

    def _close(self, tried: _Try, *, failed: bool | None, code: str) -> None:
        """The try is over."""
        self._try = None
        now = self._routes.clock.now()
        self._routes.measured.outcomes[self._routes.name(tried.pick.at), code] += 1
        self._routes.choosing.done(tried.pick, failed, now - tried.began, now)

    def _end(self, event: Ended | FairleadError) -> None:
        self._over = True
        self._tell(event)


class _Try(Try):
    """At one endpoint."""

    __slots__ = ("began", "pick")

    def __init__(self, request: _Request, pick: Pick, began: float) -> None:
        super().__init__(request)
        self.pick, self.began = pick, began
