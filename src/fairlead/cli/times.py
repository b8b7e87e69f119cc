"""Times on the command line: how long ago, or when."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from fairlead.contracts.errors import UsageError

SinceOption = Annotated[
    str, typer.Option("--since", metavar="TIME", help="From when: 30s, 15m, 12h, 7d ago, or an ISO time (UTC).")
]
UntilOption = Annotated[
    str, typer.Option("--until", metavar="TIME", help="Up to when, in the same forms.", show_default="now")
]

_AGO = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd])", re.ASCII)
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def utc(at_ms: int) -> str:
    """Unix ms to the second, as ``2026-11-30 09:49:19Z``; empty for 0, which is never."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z" if at_ms else ""


def since_ms(text: str, now_ms: int, option: str = "--since") -> int:
    """``30s``, ``15m``, ``12h`` or ``7d`` before ``now_ms``, or an ISO time (UTC where it names no zone), as Unix ms.

    What lies before 1970 is 0. Raises UsageError for anything else and for a time to come.
    """
    word = text.strip()
    if found := _AGO.fullmatch(word):
        return max(0, now_ms - round(float(found[1]) * _UNITS[found[2]]))
    try:
        at = datetime.fromisoformat(word)
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} is {text!r}; give a time ago such as 30s, 15m, 12h or 7d, or an ISO time such as "
            "2026-01-31T12:00"
        ) from None
    if at_ms > now_ms:
        raise UsageError(f"{option} {text} lies in the future; give a time that has passed (UTC, if it names no zone)")
    return max(0, at_ms)
