"""A circuit breaker: whether calls are sent on at all. Pure: time is passed in.

Closed, all are. It opens when so many failed in a row, or when the share of those that failed, or were slow, among the
last ``window`` calls is too large. While it is open none is; after ``cooldown`` it is half open, and a few calls show
whether all is well again: they all succeed, and it closes; one fails, and it opens anew.

Source: Nygard, "Release It!" (2007); the words are those of resilience4j.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

REFUSED: Final = -1
"""A ticket of a call that is not sent on."""

PROBED: Final = 1.0
"""Seconds to come back after, while others show whether all is well."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When it opens. ``fail_max``: failures in a row; 0: not by this.  ``cooldown``: seconds that it stays open.

    ``failure_rate``: share of failures among the last ``window`` calls, once there are ``minimum_calls``; 0: not so.
    ``slow_call``: seconds from which a call counts as slow, and ``slow_call_rate`` the share of such; 0: not so.
    ``half_open_calls``: how many show whether all is well.
    """

    fail_max: int = 5
    cooldown: float = 30.0
    failure_rate: float = 0.0
    slow_call: float = 0.0
    slow_call_rate: float = 0.0
    window: int = 100
    minimum_calls: int = 20
    half_open_calls: int = 1


class Breaker:
    """``admit`` each call, and tell with its ticket how it ended; what began before a change no longer counts."""

    __slots__ = (
        "_admitted",
        "_failed",
        "_in_a_row",
        "_last",
        "_passed",
        "_policy",
        "_rated",
        "_slow",
        "_ticket",
        "_until",
        "state",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._rated = policy.failure_rate > 0 or policy.slow_call_rate > 0
        self.state = State.CLOSED
        self._ticket = 0
        """Of this state; another one after each change."""
        self._until = 0.0
        self._admitted = self._passed = 0
        """While half open."""
        self._forget()

    def admit(self, now: float) -> int:
        """A ticket, or ``REFUSED``."""
        if self.state is State.CLOSED:
            return self._ticket
        if self.state is State.OPEN:
            if now < self._until:
                return REFUSED
            self._become(State.HALF_OPEN)
            self._admitted = self._passed = 0
        if self._admitted >= self._policy.half_open_calls:
            return REFUSED
        self._admitted += 1
        return self._ticket

    def ended(self, ticket: int, failed: bool | None, seconds: float, now: float) -> None:
        """``failed``: None where the call says nothing about it (its caller hung up, or was wrong).

        ``seconds``: that it took.
        """
        if ticket != self._ticket:
            return
        slow = 0 < self._policy.slow_call <= seconds and self._policy.slow_call_rate > 0
        if self.state is State.HALF_OPEN:
            self._probed(None if failed is None else failed or slow, now)
        elif failed is not None:
            self._count(failed, slow)
            if self._too_many():
                self._open(now)

    def after(self, now: float) -> float:
        """Seconds after which a call may be admitted."""
        return self._until - now if self.state is State.OPEN and self._until > now else PROBED

    def due(self, now: float) -> bool:
        """Whether a call may be admitted to show whether all is well again."""
        if self.state is State.OPEN:
            return now >= self._until
        return self.state is State.HALF_OPEN and self._admitted < self._policy.half_open_calls

    def _probed(self, failed: bool | None, now: float) -> None:
        if failed is None:
            self._admitted -= 1  # another one may show it
        elif failed:
            self._open(now)
        else:
            self._passed += 1
            if self._passed >= self._policy.half_open_calls:
                self._become(State.CLOSED)
                self._forget()

    def _open(self, now: float) -> None:
        self._become(State.OPEN)
        self._until = now + self._policy.cooldown

    def _become(self, state: State) -> None:
        self.state = state
        self._ticket += 1

    def _forget(self) -> None:
        self._last: deque[tuple[bool, bool]] = deque()
        self._in_a_row = self._failed = self._slow = 0

    def _count(self, failed: bool, slow: bool) -> None:
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if not self._rated:
            return
        self._last.append((failed, slow))
        self._failed += failed
        self._slow += slow
        if len(self._last) > self._policy.window:
            old_failed, old_slow = self._last.popleft()
            self._failed -= old_failed
            self._slow -= old_slow

    def _too_many(self) -> bool:
        policy, calls = self._policy, len(self._last)
        if 0 < policy.fail_max <= self._in_a_row:
            return True
        if not self._rated or calls < policy.minimum_calls:
            return False
        return _reached(policy.failure_rate, self._failed, calls) or _reached(policy.slow_call_rate, self._slow, calls)


def _reached(share: float, some: int, calls: int) -> bool:
    return 0 < share * calls <= some + 1e-9
