"""What one caller may have at one endpoint: every bucket that a call of theirs is charged to, and what is said of them.

Header fields: ``RateLimit-Policy`` and ``RateLimit`` as draft-ietf-httpapi-ratelimit-headers-10 has them, and the
``x-ratelimit-...-requests`` and ``-tokens`` that clients of OpenAI read. They tell a caller their own limits. How much
of an endpoint's limit is left would tell them what others do: it is said only where there are no callers to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import RateLimited
from fairlead.contracts.limits import Charge, Measure, Quota, Rate
from fairlead.kit.clock import Clock
from fairlead.kit.gcra import SECOND
from fairlead.serve.limits.buckets import NEVER, AnyBucket, Costs, Counted, Flying, Lasting, Rated
from fairlead.serve.limits.calendar import period

Left = Sequence[tuple[int, float]]
"""Of each bucket: units that are left, and seconds until all are there again."""

_UNITS: Final = {Measure.REQUESTS: "", Measure.BYTES: ';qu="content-bytes"'}
_WINDOWS: Final = {1.0: "s", 60.0: "min", 3600.0: "hour"}


class Account:
    """``caller``: None where nobody says who they are.  ``endpoint``: empty for what belongs to none."""

    def __init__(self, caller: Caller | None, endpoint: str, buckets: Sequence[AnyBucket], clock: Clock) -> None:
        self.caller, self.endpoint = caller, endpoint
        self._clock = clock
        self.buckets = tuple(buckets)
        self.flying = tuple(one for one in buckets if isinstance(one, Flying))
        self.lasting = tuple(one for one in buckets if not isinstance(one, Flying))
        """Rates and quotas: what can be shared with other servers."""
        self.tokens = tuple(one for one in self.lasting if one.unit is Measure.TOKENS)
        self.burst = min((_most(one) for one in self.tokens), default=0)
        """Tokens that may come at once; 0 where none are counted."""
        self.dated = any(isinstance(one, Counted) for one in buckets)
        """Whether the calendar is asked."""
        own = [at for at, one in enumerate(self.lasting) if one.scope != "endpoint" or caller is None]
        self._own = [self.lasting[at] for at in own]
        self._places = own
        self._named = _named(self._own)
        self._form = _form(self._own, self._named)

    def serves(self, caller: Caller) -> bool:
        """Whether this is the same caller, with the same limits, known anew."""
        known = self.caller
        return known is not None and known.limits == caller.limits and known.tenant == caller.tenant

    def charges(self, costs: Costs) -> list[Charge]:
        """What a call takes of each of the lasting ones."""
        return [Charge(one.key, one.limit, costs[one.measure]) for one in self.lasting]

    def lines(self) -> bytes:
        """How they stand now, as this process knows it: header lines."""
        if not self._own:
            return b""
        now = int(self._clock.now() * SECOND)
        wall = self._clock.wall_ms() if self.dated else 0
        return self._filled([one.left(now, wall) for one in self._own])

    def told(self, left: Left) -> bytes:
        """The same as others know it."""
        return self._filled([(left[at][0], math.ceil(left[at][1] * SECOND)) for at in self._places])

    def left(self, now: int, wall: int) -> Left:
        """How the lasting ones stand in this process."""
        return [(units, rest / SECOND) for units, rest in (one.left(now, wall) for one in self.lasting)]

    def _filled(self, left: Sequence[tuple[int, int]]) -> bytes:
        said: list[int | bytes] = []
        for units, rest in left:
            said += units, -(-rest // SECOND)
        for at in self._named:
            units, rest = left[at]
            said += units, _go(rest)
        return self._form % tuple(said)

    def refusal(self, one: AnyBucket, wait: float, cost: int, left: Left) -> RateLimited:
        """Why a call is not let in. ``wait``: seconds; below 0 where it never fits."""
        what = f"{cost} {one.unit}" if cost != 1 else f"one of {one.unit}"
        if wait < 0:
            error = RateLimited(
                f"this call has {what}, and {self._whose(one)} may have {_said(one)} at once: it can never be let in; "
                "send less in one call"
            )
        else:
            error = RateLimited(
                f"over the limit of {self._whose(one)}: {_said(one)}; try again in {max(wait, 0.001):.3f} s",
                retry_after=wait,
            )
        error.scope, error.kind = one.scope, one.kind
        error.told = self.told(left)
        if one.scope == "endpoint" and self.caller is not None and wait >= 0 and not isinstance(one, Flying):
            name = _name(one)
            now = f'"{name}";r=0;t={math.ceil(wait)}'
            error.told += f"ratelimit-policy: {_policy(one, name)}\r\nratelimit: {now}\r\n".encode()
        return error

    def refused(self, found: Sequence[AnyBucket], costs: Costs, now: int, wall: int) -> RateLimited:
        """Which of these buckets refused the call, and when all have room: told once ``take`` said no."""
        waits = [(one.wait(costs[one.measure], now, wall), one) for one in found]
        never = [pair for pair in waits if pair[0] == NEVER]
        wait, one = never[0] if never else max(waits, key=lambda pair: pair[0])
        return self.refusal(one, wait if wait < 0 else wait / SECOND, costs[one.measure], self.left(now, wall))

    def _whose(self, one: AnyBucket) -> str:
        return {
            "key": "this key",
            "tenant": "your tenant",
            "endpoint": f"endpoint {self.endpoint!r}",
            "caller": f"this key at endpoint {self.endpoint!r}",
        }[one.scope]


def _said(one: AnyBucket) -> str:
    """``200 requests/s (burst 50)``."""
    if type(one) is Rated:
        rate = one.limit
        window = _WINDOWS.get(rate.seconds, f"{rate.seconds:g} s")
        return f"{rate.amount:g} {rate.measure}/{window}, {one.terms.burst} in a burst"
    if type(one) is Counted:
        return f"{one.limit.amount} {one.limit.measure}/{one.limit.period}"
    return f"{one.most} calls in flight"


def _name(one: Lasting) -> str:
    """Unique among the buckets of an account."""
    limit: Rate | Quota = one.limit
    window = limit.period.value if isinstance(limit, Quota) else _WINDOWS.get(limit.seconds, f"{limit.seconds:g}s")
    return f"{one.scope}-{limit.measure}-{window}"


def _policy(one: Lasting, name: str) -> str:
    limit: Rate | Quota = one.limit
    if isinstance(limit, Quota):
        begins, ends = period(limit.period, 0)
        amount, seconds = limit.amount, (ends - begins) // 1000
    else:
        each = Fraction(repr(limit.amount)) / Fraction(repr(limit.seconds))
        window = max(1, math.ceil(limit.seconds)) if limit.amount >= 1 else each.denominator
        amount, seconds = math.floor(each * window), window
    unit = _UNITS.get(limit.measure, f';qu="{limit.measure}"')
    return f'"{name}";q={amount};w={seconds}{unit}'


def _most(one: Lasting) -> int:
    return one.limit.amount if isinstance(one, Counted) else one.terms.burst


def _named(own: Sequence[Lasting]) -> tuple[int, ...]:
    """The first of requests, and the first of tokens, which have header lines of their own."""
    units = [one.unit for one in own]
    return tuple(units.index(one) for one in (Measure.REQUESTS, Measure.TOKENS) if one in units)


def _form(own: Sequence[Lasting], named: Sequence[int]) -> bytes:
    """Header lines to be filled: units and seconds of each, then the units and the time of those that are named."""
    if not own:
        return b""
    policy = ", ".join(_policy(one, _name(one)) for one in own)
    stand = ", ".join(f'"{_name(one)}";r=%d;t=%d' for one in own)
    text = f"ratelimit-policy: {policy}\r\nratelimit: {stand}\r\n"
    for at in named:
        unit = own[at].unit
        text += f"x-ratelimit-limit-{unit}: {_most(own[at])}\r\n"
        text += f"x-ratelimit-remaining-{unit}: %d\r\nx-ratelimit-reset-{unit}: %b\r\n"
    return text.encode()


def _go(rest: int) -> bytes:
    """Nanoseconds as a duration of Go, which is how clients of OpenAI expect it."""
    return b"%dms" % -(-rest // 1_000_000) if rest < SECOND else b"%ds" % -(-rest // SECOND)


class Told:
    """How an account stood when others were asked."""

    __slots__ = ("_account", "_left")

    def __init__(self, account: Account, left: Left) -> None:
        self._account, self._left = account, left

    def lines(self) -> bytes:
        return self._account.told(self._left)
