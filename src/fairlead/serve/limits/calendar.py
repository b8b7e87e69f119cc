"""Periods of the calendar, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from fairlead.contracts.limits import Period

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
_MONDAY: Final = 4 * DAY
"""The first Monday of Unix time, in its milliseconds: 5 January 1970."""


def period(kind: Period, at: int) -> tuple[int, int]:
    """When the period around ``at`` begins and ends, milliseconds since 1970; its end is no more in it."""
    if kind is Period.MONTH:
        return _month(at)
    length, offset = {Period.HOUR: (HOUR, 0), Period.DAY: (DAY, 0), Period.WEEK: (WEEK, _MONDAY)}[kind]
    begins = at - (at - offset) % length
    return begins, begins + length


def _month(at: int) -> tuple[int, int]:
    first = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return _ms(first), _ms((first + timedelta(days=31)).replace(day=1))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
