"""Stands around a version that may fail: breaker, another try, and the fallbacks in their order.

Each try is a call of its own, so that the caller's has one outcome whatever becomes of the tries: the first answer, or
the error of the model where no fallback has one. When the caller's call ends meanwhile, what runs for it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from fairlead.contracts.errors import CircuitOpen, DeadlineExceeded, FairleadError, ModelFailed, Unavailable
from fairlead.contracts.types import Reply
from fairlead.kit.clock import Clock
from fairlead.serve.call import NEVER, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.line import Stage, compiled
from fairlead.serve.resilience.breaker import REFUSED, Breaker, State
from fairlead.serve.resilience.budget import Budget
from fairlead.serve.resilience.policy import Safety, stands_in, tried_again
from fairlead.serve.rungs import Cancel, FromCache, Rung

log = logging.getLogger("fairlead.serve")

_USUAL: Final = 0.1
"""Weight of the newest answer in what answers usually take."""

_UNKNOWN: Final = 0.05
"""Seconds that they are taken to take while there is none."""


class Ladder:
    """``live.enter`` of a version that is made safe. ``draw``: evenly from 0 to 1, for pauses."""

    def __init__(
        self,
        live: Live,
        safety: Safety,
        rungs: Sequence[Rung],
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.live, self.safety, self.rungs = live, safety, rungs
        self.clock, self.loop = clock, loop
        self.kept = next((rung for rung in rungs if isinstance(rung, FromCache)), None)
        self.breaker = Breaker(safety.breaker) if safety.breaker else None
        self._budget = Budget(safety.retry_budget) if safety.retries else None
        self._draw = draw
        self.flights: set[Flight] = set()
        self._usual = _UNKNOWN
        """Seconds that the model usually takes."""
        self._answered = -NEVER
        """When it last gave an answer."""
        self._share = 1.0 - safety.reserve if rungs else 1.0

    def enter(self, call: Call) -> None:
        """Never raises; the call gets its outcome, maybe before this returns."""
        if self._budget is not None:
            self._budget.call(self.clock.now())
        flight = Flight(self, call)
        self.flights.add(flight)
        call.waiting = cast("asyncio.Future[None]", flight)  # who ends the call cancels it, and that is all
        flight.attempt()

    def deadline(self, call: Call) -> float:
        """By when the model must have answered: what is left then is for the fallbacks."""
        if call.deadline == NEVER or self._share == 1.0:
            return call.deadline
        return call.arrived + (call.deadline - call.arrived) * self._share

    def admit(self, now: float) -> int:
        """A ticket. Raises CircuitOpen."""
        breaker = self.breaker
        if breaker is None:
            return 0
        before = breaker.state
        ticket = breaker.admit(now)
        if before is State.CLOSED:
            return ticket
        if ticket == REFUSED:
            raise CircuitOpen(
                f"endpoint {self.live.endpoint!r} failed too often and is left alone; try again later",
                retry_after=breaker.after(now),
            )
        self._changed(before)
        return ticket

    def ended(self, ticket: int, asked: Call, now: float) -> None:
        """A try has its outcome: what it says of the model."""
        seconds = now - (asked.started or asked.arrived)
        failed = None if self.live.closed else self._failed(asked, seconds)
        if failed is False:
            self._usual = seconds if self._answered < 0 else self._usual + _USUAL * (seconds - self._usual)
            self._answered = now
        if self.breaker is not None:
            before = self.breaker.state
            self.breaker.ended(ticket, failed, seconds, now)
            self._changed(before)

    def pause(self, tries: int, error: FairleadError, call: Call) -> float | None:
        """Seconds until the next try; None where there is none."""
        safety = self.safety
        if tries >= safety.retries or self.live.closed or not tried_again(error, safety.retry_failed):
            return None
        now = self.clock.now()
        wait = safety.backoff.pause(tries, self._draw(), self.deadline(call) - now, error.retry_after)
        if wait is not None and self._budget is not None and not self._budget.take(now):
            self.live.meter.retry("budget")
            return None
        self.live.meter.retry("deadline" if wait is None else "sent")
        return wait

    def fell_back(self, rung: Rung, error: FairleadError) -> None:
        """A rung answers instead of this error; of a model that raised nobody else hears the cause."""
        live = self.live
        live.meter.fell_back(rung.name, error.code)
        if isinstance(error, ModelFailed):
            said = {"endpoint": live.endpoint, "version": live.version, "rung": rung.name, "error": str(error)}
            log.error("model failed, a fallback answers", exc_info=error.__cause__, extra={"fields": said})

    def told(self, call: Call, error: FairleadError) -> FairleadError:
        """What the caller hears where no fallback has an answer."""
        if not isinstance(error, DeadlineExceeded) or not self.rungs or call.deadline == NEVER:
            return error
        had = (self.deadline(call) - call.arrived) * 1000
        return DeadlineExceeded(
            f"the model had no answer within {had:.4g} ms (the rest of the deadline is kept for the fallbacks), and no "
            "fallback had one; allow more with x-request-timeout-ms or send fewer rows"
        )

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
        if self.breaker is None or self.breaker.state is State.CLOSED or self.live.closed:
            return []
        return [
            f"endpoint {self.live.endpoint!r}: version {self.live.version} fails; its breaker is {_told(self.breaker)}"
        ]

    def _failed(self, asked: Call, seconds: float) -> bool | None:
        """Whether the model was at fault; None where nothing is known.

        A deadline counts where the model had at least the time that it usually takes: a caller with no patience opens
        no breaker. What was never given to it counts only where it gave no answer all the while: it is stuck.
        """
        outcome = asked.outcome
        if isinstance(outcome, DeadlineExceeded):
            stuck = bool(asked.started) or self._answered < asked.arrived
            return True if stuck and seconds >= self._usual else None
        if not asked.started:
            return None
        if isinstance(outcome, Reply):
            return False
        return True if isinstance(outcome, ModelFailed | Unavailable) else None

    def _changed(self, before: State) -> None:
        breaker = self.breaker
        if breaker is None or breaker.state is before:
            return
        self.live.meter.breaker(breaker.state.value)
        said = {"endpoint": self.live.endpoint, "version": self.live.version, "state": breaker.state.value}
        log.log(logging.WARNING if breaker.state is State.OPEN else logging.INFO, "breaker", extra={"fields": said})


class Flight:
    """One call on its way up: a try, a pause or a rung at a time."""

    __slots__ = ("_at", "_call", "_error", "_ladder", "_over", "_stop", "_ticket", "_tries")

    def __init__(self, ladder: Ladder, call: Call) -> None:
        self._ladder, self._call = ladder, call
        self._tries = self._at = self._ticket = 0
        self._error: FairleadError | None = None
        self._over = False
        self._stop: Cancel | None = None
        """Ends what runs now."""

    def cancel(self) -> None:
        """The call ended without this: its caller hung up."""
        self._over = True
        self._ladder.flights.discard(self)
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def attempt(self) -> None:
        """Ask the model."""
        ladder, call, self._stop = self._ladder, self._call, None
        try:
            self._ticket = ladder.admit(ladder.clock.now())
        except CircuitOpen as error:
            self._fall(error)
            return
        asked = Call(
            call.inputs, call.rows, self._ended,
            arrived=call.arrived, deadline=ladder.deadline(call), parameters=call.parameters, group=call.group,
            lane=call.lane,
        )  # fmt: skip
        asked.caller, asked.size, asked.behalf = call.caller, call.size, call.behalf
        ladder.live.straight(asked)
        if not asked.finished and not self._over:
            self._stop = lambda: ladder.live.cancel(asked)

    def _ended(self, asked: Call) -> None:
        ladder, call, self._stop = self._ladder, self._call, None
        now = ladder.clock.now()
        ladder.ended(self._ticket, asked, now)
        if self._over:
            return
        outcome = asked.outcome
        if isinstance(outcome, Reply):
            call.ride, call.place = asked.ride, asked.place
            if ladder.kept is not None and not outcome.degraded and outcome.outputs:
                ladder.kept.keep(call, outcome, now)
            self._finish(outcome)
            return
        assert outcome is not None  # noqa: S101 - it is done
        pause = ladder.pause(self._tries, outcome, call)
        if pause is None:
            self._fall(outcome)
            return
        self._tries += 1
        self._stop = ladder.loop.call_later(pause, self.attempt).cancel

    def _fall(self, error: FairleadError) -> None:
        """The model has no answer."""
        self._error = error
        if stands_in(error):
            self._climb()
        else:
            self._finish(error)

    def _climb(self) -> None:
        """Ask the next rung; where there is none, or no time, the model's error is the answer."""
        ladder, call, error = self._ladder, self._call, self._error
        assert error is not None  # noqa: S101 - it fell
        now, self._stop = ladder.clock.now(), None
        if self._at >= len(ladder.rungs) or now >= call.deadline:
            self._finish(ladder.told(call, error))
            return
        rung = ladder.rungs[self._at]
        self._at += 1
        told = False

        def answered(outcome: Reply | FairleadError) -> None:
            nonlocal told
            told = True
            if self._over:
                return
            if isinstance(outcome, Reply):
                ladder.fell_back(rung, error)
                self._finish(outcome._replace(degraded=rung.name))
            else:
                self._climb()

        try:
            stop = rung.ask(call, now, answered)
        except Exception as refused:
            if not isinstance(refused, FairleadError):
                log.exception("a fallback failed", extra={"fields": {"rung": rung.name}})
            if not told:
                answered(cast("FairleadError", refused))
        else:
            if not told and not self._over:
                self._stop = stop

    def _finish(self, outcome: Reply | FairleadError) -> None:
        self._over = True
        self._ladder.flights.discard(self)
        self._call.waiting = None
        self._call.finish(outcome)


def around(
    live: Live,
    safety: Safety,
    rungs: Sequence[Rung],
    *,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    first: Sequence[Stage] = (),
    **more: Any,
) -> Ladder:
    """Make a version safe: its calls go this way from now on. ``first``: stages that a call passes once, before it."""
    ladder = Ladder(live, safety, rungs, clock=clock, loop=loop, **more)
    live.enter, held = compiled(first, ladder.enter, loop, clock)
    live.held += [held, ladder.flights]
    live.batcher.shedding.early = not rungs and not safety.retries  # else somebody may still answer what is shed
    return ladder


def _told(breaker: Breaker) -> str:
    return breaker.state.value.replace("_", " ")
