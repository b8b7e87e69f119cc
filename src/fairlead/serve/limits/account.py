"""What one caller may have at one endpoint: every bucket that a call of theirs is charged to, and what is said of them.

Header fields: ``RateLimit-Policy`` and ``RateLimit`` as draft-ietf-httpapi-ratelimit-headers-10 has them, and the
``x-ratelimit-...-requests`` that clients of OpenAI read. They tell a caller their own limits. How much of an
endpoint's limit is left would tell them what others do: it is said only where there are no callers to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import RateLimited
from fairlead.contracts.limits import Charge, Measure, Quota, Rate
from fairlead.kit.gcra import SECOND
from fairlead.serve.limits.buckets import NEVER, AnyBucket, Costs, Counted, Flying, Lasting, Rated
from fairlead.serve.limits.calendar import period

Fields = tuple[tuple[bytes, bytes], ...]
Left = Sequence[tuple[int, float]]
"""Of each bucket: units that are left, and seconds until all are there again."""

_UNITS: Final = {Measure.REQUESTS: "", Measure.BYTES: ';qu="content-bytes"'}
_WINDOWS: Final = {1.0: "s", 60.0: "min", 3600.0: "hour"}


class Account:
    """``caller``: None where nobody says who they are.  ``endpoint``: empty for what belongs to none."""

    def __init__(self, caller: Caller | None, endpoint: str, buckets: Sequence[AnyBucket]) -> None:
        self.caller, self.endpoint = caller, endpoint
        self.buckets = tuple(buckets)
        self.flying = tuple(one for one in buckets if type(one) is Flying)
        self.lasting = tuple(one for one in buckets if not isinstance(one, Flying))
        """Rates and quotas: what can be shared with other servers."""
        self.dated = any(type(one) is Counted for one in buckets)
        """Whether the calendar is asked."""
        self._own = [
            (place, one, _name(one))
            for place, one in enumerate(self.lasting)
            if one.scope != "endpoint" or caller is None
        ]
        self._policy = ", ".join(_policy(one, name) for _, one, name in self._own).encode()
        self._requests = [(place, one) for place, one, _ in self._own if one.unit is Measure.REQUESTS]

    def charges(self, costs: Costs) -> list[Charge]:
        """What a call takes of each of the lasting ones."""
        return [Charge(one.key, one.limit, costs[one.measure]) for one in self.lasting]

    def left(self, now: int, wall: int) -> Left:
        """How the lasting ones stand in this process."""
        return [(units, rest / SECOND) for units, rest in (one.left(now, wall) for one in self.lasting)]

    def told(self, left: Left) -> Fields:
        """What an answer says of the limits; nothing where the caller has none of their own."""
        if not self._own:
            return ()
        said = [b'"%b";r=%d;t=%d' % (name.encode(), left[at][0], math.ceil(left[at][1])) for at, _, name in self._own]
        fields = ((b"ratelimit-policy", self._policy), (b"ratelimit", b", ".join(said)))
        if not self._requests:
            return fields
        at, one = min(self._requests, key=lambda pair: left[pair[0]][0])
        units, seconds = left[at]
        return (
            *fields,
            (b"x-ratelimit-limit-requests", b"%d" % _most(one)),
            (b"x-ratelimit-remaining-requests", b"%d" % units),
            (b"x-ratelimit-reset-requests", _go(seconds)),
        )

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
            now = b'"%b";r=0;t=%d' % (name.encode(), math.ceil(wait))
            error.told = (*error.told, (b"ratelimit-policy", _policy(one, name).encode()), (b"ratelimit", now))
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


def _go(seconds: float) -> bytes:
    """A duration as Go writes it, which is how OpenAI's clients expect it: ``6m0s``, ``1.5s``, ``20ms``."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return b"%dms" % ms
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms / 1000:g}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return text.encode()
