"""The stage that shares an engine: it does what queue, counters and slots decide.

What is promised to callers holds here for each request alone (``_Request``): one end, and nothing after ``cancel``. A
request is in the queue, or has one try at the engine, or is over; what an old try still tells is not heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import DeadlineExceeded, FairleadError, Overloaded, QueueFull
from fairlead.contracts.figures import Figure
from fairlead.contracts.generation import Begun, Ended, Piece
from fairlead.kit.clock import Clock
from fairlead.serve.llm.ask import OVER, Ask, Enter
from fairlead.serve.llm.fair.counters import Counters
from fairlead.serve.llm.fair.measured import Measured
from fairlead.serve.llm.fair.pace import Pace
from fairlead.serve.llm.fair.queue import QUEUE_FULL, TENANT_FULL, Place, Queue
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.slots import Slots
from fairlead.serve.llm.sizes import prompt_tokens, tenant_of
from fairlead.serve.llm.timers import Timer, Timers, looped
from fairlead.serve.llm.tries import Try

_PAUSES: Final = (0.05, 1.0)
"""Seconds after which an engine that had no room, with nothing of ours in it, is asked again: at first and at most."""
_SOON: Final = 1.0
"""Seconds to come back after, while nobody can know better."""


class Fair:
    """Stage. ``parallel``: answers at once that the engine is best at, asked when it has started."""

    def __init__(
        self, endpoint: str, settings: Sharing, parallel: Callable[[], int], clock: Clock, timers: Timers = looped
    ) -> None:
        self.settings, self.clock, self.timers = settings, clock, timers
        self._parallel = parallel
        self.counters = Counters()
        self.queue = Queue(settings, self.counters)
        self.measured = Measured(endpoint, settings)
        self._slots: Slots | None = None
        self._pace = Pace()
        self._after: Enter | None = None
        self._requests: dict[Place, _Request] = {}
        self._pumping = False
        self._held = False
        """Nobody is sent on until a timer fires."""
        self._pause = _PAUSES[0]

    def stage(self, after: Enter) -> Enter:
        self._after = after
        return self.enter

    def enter(self, ask: Ask, tell: Tell) -> Running:
        now, lane = self.clock.now(), ask.generation.lane
        tenant = tenant_of(ask)
        request = _Request(self, ask, tell, self.queue.place(tenant, lane, prompt_tokens(ask), now))
        if ask.generation.deadline <= now:
            return self._refuse(request, DeadlineExceeded("the time of this request is over; allow more"), "deadline")
        self.slots.saw(tenant, lane, now)
        if self._idle(request.place):
            self.counters.came(tenant, ())
            self.counters.left(tenant)
            self._start(request)
            return request
        reason, victim = self.queue.room(request.place)
        if reason:
            return self._refuse(request, self._full(reason, request.place), reason)
        other = self._requests[victim] if victim is not None else None
        if other is not None:
            self._leave(other)
            self.measured.refused("displaced", other.place.lane)
        self._requests[request.place] = request
        self.queue.put(request.place)
        if other is not None:
            other.end(Overloaded("the queue is full, and this request made way; try again later", retry_after=_SOON))
        self.pump()
        self._early(request)
        return request

    @property
    def slots(self) -> Slots:
        if self._slots is None:
            self._slots = Slots(self.settings, self.settings.parallel or self._parallel())
        return self._slots

    def figures(self) -> Iterator[Figure]:
        """For metrics."""
        return self.measured.figures(self.queue, self._slots)

    def pump(self) -> None:
        """Send on whoever may go. A request that ends while it is sent on comes back here: no deeper, but again."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._held and self.queue.requests and self.slots.running < self.slots.limit:
                place = self.queue.next(self.clock.now(), self._may)
                if place is None:
                    break
                request = self._requests[place]
                self._leave(request)
                self._start(request)
        finally:
            self._pumping = False

    def released(self, tenant: str, *, well: bool) -> None:
        """A place is free. ``well``: the engine had taken the answer up."""
        self.slots.release(tenant)
        if well:
            self.slots.well()
            self._pause = _PAUSES[0]
        self._pace.ended(self.queue.requests > 0, self.clock.now())
        if self.counters.many:
            self.counters.forget({*self.queue.tenants(), *self.slots.tenants()})

    def hold(self, request: _Request, error: FairleadError) -> None:
        """The engine has no room: the request waits on, at the head of its lane."""
        self.slots.release(request.place.tenant)
        self.slots.refused()
        self.measured.held()
        self._requests[request.place] = request
        self.queue.back(request.place)
        request.arm()
        if not self.slots.running and not self._held:
            self._held = True
            pause = max(self._pause, min(error.retry_after or 0.0, _PAUSES[1]))
            self._pause = min(_PAUSES[1], 2 * self._pause)
            self.timers(pause, self._again)
        self.pump()

    def expire(self, request: _Request) -> None:
        """Its deadline came while it waited."""
        self._leave(request)
        self.measured.refused("expired", request.place.lane)
        request.end(DeadlineExceeded("the request waited for the engine until its time was over; try again later"))
        self.pump()

    def leave(self, request: _Request) -> None:
        """Nobody wants it any more."""
        self._leave(request)

    # How it is done.

    def _again(self) -> None:
        self._held = False
        self.pump()

    def _may(self, place: Place) -> bool:
        return self.slots.may(place.tenant, place.lane)

    def _idle(self, place: Place) -> bool:
        """Whether nobody waits and it goes on at once: bounds are of those who wait."""
        return not self._held and not self.queue.requests and self._may(place)

    def _start(self, request: _Request) -> None:
        self.measured.waited(request.place.lane, self.clock.now() - request.place.came)
        assert self._after is not None  # noqa: S101 - it stands in a line
        request.start(self._after)

    def _leave(self, request: _Request) -> None:
        del self._requests[request.place]
        self.queue.remove(request.place)
        request.disarm()

    def _early(self, request: _Request) -> None:
        """Refuse at once what would come too late; what is not waits until its time is over."""
        if request.place not in self._requests:
            return
        deadline = request.ask.generation.deadline
        wait = self._pace.wait(self.queue.ahead(request.place) + 1)
        left = deadline - self.clock.now()
        if wait <= left:
            request.arm()
            return
        self._leave(request)
        self.measured.refused("deadline", request.place.lane)
        request.end(
            Overloaded(
                f"it would wait {wait:.1f} seconds for the engine, and has {left:.1f}; try again later, or allow more "
                "with x-request-timeout-ms",
                retry_after=max(_SOON, wait - left),
            )
        )

    def _full(self, reason: str, place: Place) -> FairleadError:
        after = max(_SOON, self._pace.wait(1))
        if reason == TENANT_FULL:
            most = int(max(1.0, self.settings.tenant * self.settings.queue))
            return QueueFull(
                f"{most} requests or {self.settings.tenant * self.settings.tokens:.0f} tokens of prompts of one tenant "
                "may wait; send fewer at once",
                retry_after=after,
            )
        return QueueFull(
            f"{self.queue.requests} requests with {self.queue.tokens} tokens of prompts wait, and this one has "
            f"{place.tokens}; the limits are {self.settings.queue} and {self.settings.tokens}; try again later",
            retry_after=after,
        )

    def _refuse(self, request: _Request, error: FairleadError, reason: str) -> Running:
        self.measured.refused(reason if reason in (QUEUE_FULL, TENANT_FULL) else "deadline", request.place.lane)
        request.end(error)
        return OVER


class _Request:
    """Running. One answer that is wanted."""

    __slots__ = ("_charged", "_fair", "_tell", "_timer", "_try", "ask", "over", "place")

    def __init__(self, fair: Fair, ask: Ask, tell: Tell, place: Place) -> None:
        self._fair, self.ask, self._tell, self.place = fair, ask, tell, place
        self.over = False
        self._try: Try | None = None
        self._timer: Timer | None = None
        self._charged = 0.0

    def arm(self) -> None:
        deadline = self.ask.generation.deadline
        if self._timer is None and deadline < float("inf"):
            left = deadline - self._fair.clock.now()
            self._timer = self._fair.timers(max(0.0, left), self._expire)

    def disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def start(self, after: Enter) -> None:
        """It has a place at the engine."""
        self._fair.slots.take(self.place.tenant)
        self.charge(self._fair.settings.input * self.place.tokens)
        tried = self._try = Try(self)
        tried.begin(after, self.ask)

    def charge(self, amount: float) -> None:
        fair, tenant = self._fair, self.place.tenant
        self._charged += amount
        share = amount / fair.settings.weight(tenant)
        fair.counters.charge(tenant, share)
        if tenant in fair.queue:
            fair.measured.backlogged(tenant, share, fair.clock.now())

    def heard(self, tried: Try, event: Event) -> None:
        fair, settings = self._fair, self._fair.settings
        if isinstance(event, Piece):
            self.charge(settings.output * (event.tokens or 1))
            self._tell(event)
            return
        if isinstance(event, Begun):
            if event.usage.prompt:
                self.charge(settings.cost(event.usage) - self._charged)
            self._tell(event)
            return
        self._try = None
        if not tried.begun and isinstance(event, QueueFull | Overloaded):
            self.charge(-self._charged)
            fair.hold(self, event)
            return
        used = tried.seen
        if isinstance(event, Ended) and any(event.usage):
            used = event.usage
            self.charge(settings.cost(used) - self._charged)
        fair.measured.used(self.place.tenant, used)
        fair.released(self.place.tenant, well=tried.begun or isinstance(event, Ended))
        try:
            self.end(event)
        finally:
            fair.pump()

    def end(self, event: Ended | FairleadError) -> None:
        if not self.over:
            self.over = True
            self._tell(event)

    def cancel(self) -> None:
        if self.over:
            return
        self.over = True
        tried, self._try = self._try, None
        if tried is None:
            self._fair.leave(self)
        else:
            tried.cancel()
            self._fair.measured.used(self.place.tenant, tried.seen)
            self._fair.released(self.place.tenant, well=tried.begun)
        self._fair.pump()

    def current(self, tried: Try) -> bool:
        return self._try is tried

    def _expire(self) -> None:
        self._timer = None
        self._fair.expire(self)
