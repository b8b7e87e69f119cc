"""Limits as people write them: ``200/s``, ``10k rows/min burst 50k``, ``64MB/s``, ``5M/day``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.limits import Measure, Period, Quota, Rate

_TEXT: Final = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<scale>[kKMG]?)(?P<bytes>i?B)?"
    r"(?:\s+(?P<measure>[a-z]+))?\s*/\s*(?P<window>[a-z]+)"
)
_BURST: Final = re.compile(r"(?P<number>[0-9]{1,15})(?P<scale>[kKMG]?)B?")
_SCALE: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_BINARY: Final = {"": 1, "k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30}
_SECONDS: Final = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
}  # fmt: skip
_PERIODS: Final = {"h": Period.HOUR, "d": Period.DAY, "w": Period.WEEK} | {one.value: one for one in Period}
_MEASURES: Final = {name: one for one in Measure for name in (one.value, one.value[:-1])}


def rate(text: str, burst: float = 0.0) -> Rate:
    """``AMOUNT [requests|rows|bytes|tokens]/(s|min|hour) [burst AMOUNT]``. Raises UsageError."""
    text, told, most = text.partition(" burst ")
    if told:
        found = _BURST.fullmatch(most.strip())
        burst = float(found["number"]) * _SCALE[found["scale"]] if found else 0.0
        if not 1 <= burst <= 1e15:
            raise UsageError(f"burst {most[:80]!r} is none; expected a whole number such as 50 or 10k, up to 1e15")
    amount, measure, window = _parts(text, _SECONDS, "200/s, 10k rows/min or 64MB/s")
    return Rate(amount, float(_SECONDS[window]), measure, burst)


def quota(text: str) -> Quota:
    """``AMOUNT [requests|rows|bytes|tokens]/(hour|day|week|month)``. Raises UsageError."""
    amount, measure, window = _parts(text, _PERIODS, "5M/day or 100k rows/month")
    if amount != int(amount):
        raise UsageError(f"quota {text[:80]!r} is not a whole number")
    return Quota(int(amount), _PERIODS[window], measure)


def _parts(text: str, windows: Mapping[str, object], examples: str) -> tuple[float, Measure, str]:
    found = _TEXT.fullmatch(text.strip())
    wrong = UsageError(f"limit {text[:80]!r} is none; expected {examples}")
    if found is None:
        raise wrong
    unit, told, window = found["bytes"], found["measure"], found["window"]
    if window not in windows or (told is not None and told not in _MEASURES):
        raise wrong
    measure = Measure.BYTES if unit else _MEASURES[told] if told else Measure.REQUESTS
    if unit and told not in (None, "bytes", "byte"):
        raise wrong
    amount = float(found["number"]) * (_BINARY if unit == "iB" else _SCALE)[found["scale"]]
    if not 0 < amount <= 1e15:
        raise UsageError(f"limit {text[:80]!r} is out of range; expected above 0 and up to 1e15")
    return amount, measure, window
