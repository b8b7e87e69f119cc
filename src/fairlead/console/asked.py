"""What a page is asked for: the parts of its path, what its query names, and the span of time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import InvalidParameter
from fairlead.kit.config import nearest

RANGES: Final[Mapping[str, int]] = {
    "15m": 900_000,
    "1h": 3_600_000,
    "6h": 21_600_000,
    "24h": 86_400_000,
    "7d": 604_800_000,
    "30d": 2_592_000_000,
}
"""Spans that a page offers, in milliseconds, each up to now."""
SPAN: Final = ("range", "since", "until")
LONGEST_DAYS: Final = 400
"""Of a span: what is read grows with it."""
_LONGEST: Final = 600
_MOMENT: Final = re.compile(r"[0-9]{1,14}")


@dataclass(frozen=True, slots=True)
class Asked:
    """``range``: one of ``RANGES``, empty where ``since`` and ``until`` (Unix ms) were given.  ``now_ms``: the time."""

    path: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    range: str
    since_ms: int
    until_ms: int
    now_ms: int

    def __getitem__(self, name: str) -> str:
        """A part of the path."""
        return dict(self.path)[name]

    def get(self, name: str) -> str:
        """What the query says; empty: nothing."""
        return dict(self.query).get(name, "")

    @property
    def key(self) -> tuple[object, ...]:
        """The same for all who ask for the same."""
        return self.path, self.query


def asked(
    path: Mapping[str, object], query: Sequence[tuple[str, str]], names: Sequence[str], default: str, now_ms: int
) -> Asked:
    """``names``: what the query may name beside the span.  ``default``: the range without one; empty: has no span.

    Raises InvalidParameter for a name that is not known, or given twice, and a span that is none.
    """
    may = (*names, *(SPAN if default else ()))
    told: dict[str, str] = {}
    for name, value in query:
        if name not in may:
            expected = f"it takes {', '.join(may)}" if may else "it takes none"
            raise InvalidParameter(f"unknown parameter {name[:80]!r}{nearest(name[:80], may)}; {expected}")
        if name in told:
            raise InvalidParameter(f"parameter {name!r} is given twice; leave one out")
        if len(value) > _LONGEST:
            raise InvalidParameter(f"parameter {name!r} has {len(value)} characters; {_LONGEST} at most")
        told[name] = value
    told = {name: value for name, value in told.items() if value}
    chosen, since, until = _span(told, default, now_ms)
    parts = tuple((name, str(value)) for name, value in path.items())
    return Asked(parts, tuple(sorted(told.items())), chosen, since, until, now_ms)


def _span(told: Mapping[str, str], default: str, now_ms: int) -> tuple[str, int, int]:
    if not default:
        return "", 0, now_ms
    if "since" not in told and "until" not in told:
        chosen = told.get("range", default)
        if chosen not in RANGES:
            raise InvalidParameter(f"range {chosen[:40]!r} is not known; expected {', '.join(RANGES)}")
        return chosen, now_ms - RANGES[chosen], now_ms
    if "range" in told:
        raise InvalidParameter("range and since or until say the same; leave one out")
    until = _moment("until", told["until"]) if "until" in told else now_ms
    since = _moment("since", told["since"]) if "since" in told else until - RANGES[default]
    until = min(until, now_ms)
    if since >= until:
        raise InvalidParameter(
            f"since ({since}) is not before until ({until}, now at the latest); both are Unix milliseconds"
        )
    if until - since > LONGEST_DAYS * 86_400_000:
        raise InvalidParameter(f"since ({since}) is more than {LONGEST_DAYS} days before until ({until}); ask for less")
    return "", since, until


def _moment(name: str, text: str) -> int:
    if not _MOMENT.fullmatch(text):
        raise InvalidParameter(f"{name} is {text[:40]!r}; expected a time in Unix milliseconds")
    return int(text)
