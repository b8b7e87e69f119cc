"""Windows of the calendar in any time zone: when the one around a moment begins and ends. Pure."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import Window

FOREVER: Final = 253_370_764_800_000
"""The end of what has none, milliseconds since 1970: the year 9999."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDED: Final = (0, 0)


def zone(name: str) -> tzinfo:
    """Raises UsageError for a name that the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(
            f"time zone {name[:60]!r} is not known; expected a name such as UTC or Europe/Berlin"
        ) from None


def around(kind: Window, zone: tzinfo, at_ms: int) -> tuple[int, int]:
    """Beginning and end of the window around ``at_ms``, milliseconds since 1970; its end is no more in it.

    A day of summer time's change has 23 or 25 hours. An hour that the clock shows twice is two windows.
    """
    if kind is Window.TOTAL:
        return 0, FOREVER
    now = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    if kind is Window.HOUR:
        begins = at_ms - (now.minute * 60 + now.second) * 1000 - now.microsecond // 1000
        return begins, begins + 3_600_000
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if kind is Window.DAY:
        return _ms(midnight), _ms(_later(midnight, 1))
    if kind is Window.WEEK:
        monday = _later(midnight, -midnight.weekday())
        return _ms(monday), _ms(_later(monday, 7))
    first = midnight.replace(day=1)
    return _ms(first), _ms(_later(first, 32).replace(day=1))


class Calendar:
    """The windows of one budget: the present one is worked out once, not with every answer."""

    __slots__ = ("_kind", "_now", "_zone")

    def __init__(self, kind: Window, zone: tzinfo) -> None:
        self._kind, self._zone = kind, zone
        self._now = _ENDED

    def around(self, at_ms: int) -> tuple[int, int]:
        begins, ends = self._now
        if not begins <= at_ms < ends:
            self._now = begins, ends = around(self._kind, self._zone, at_ms)
        return begins, ends


@functools.lru_cache(64)
def day(text: str) -> int:
    """``2026-01-31``, or with a time as ISO 8601 has it, in UTC where it says no other. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"date {text[:40]!r} is none; expected one such as 2026-01-31") from None
    return _ms(found if found.tzinfo else found.replace(tzinfo=UTC))


def _later(midnight: datetime, days: int) -> datetime:
    """Midnight some days on, by the wall clock."""
    return (midnight + timedelta(days=days)).replace(hour=0, fold=0)


def _ms(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
