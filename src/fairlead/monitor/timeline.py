"""The timeline of an endpoint: what happened, in words, with the numbers it stood on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from fairlead.contracts.plans import Happening
from fairlead.contracts.state import StateStore
from fairlead.kit.codec.records import from_body, to_body

KIND = "timeline"


def write(state: StateStore, happening: Happening) -> None:
    """Add a line to the endpoint's journal. Raises what the store raises."""
    state.append(KIND, happening.endpoint, to_body(happening))


def read(
    state: StateStore, endpoint: str = "", *, since_ms: int = 0, until_ms: int | None = None, limit: int = 0
) -> list[Happening]:
    """Lines of an endpoint, or of all, oldest first, that were noted in ``[since_ms, until_ms)``; ``limit``: the newest
    so many of them. Raises StateError for one that cannot be read."""
    found = state.entries(KIND, endpoint, since_ms=since_ms, until_ms=until_ms, limit=limit)
    return [from_body(Happening, one.body) for one in found]


def chosen(
    entries: Iterable[Happening],
    *,
    endpoint: str = "",
    what: Sequence[str] = (),
    since_ms: int = 0,
    until_ms: int | None = None,
    contains: str = "",
) -> list[Happening]:
    """Lines that fit all of these, by time. ``contains``: a word of the text, in any case."""
    found = [
        one
        for one in entries
        if (not endpoint or one.endpoint == endpoint)
        and (not what or one.what in what)
        and one.at_ms >= since_ms
        and (until_ms is None or one.at_ms < until_ms)
        and contains.casefold() in one.text.casefold()
    ]
    return sorted(found, key=lambda one: one.at_ms)


def as_text(entries: Iterable[Happening], *, evidence: bool = True, zone: tzinfo = UTC, width: int = 100) -> str:
    """One line each, by time, under a heading for each day; evidence indented below. Empty without entries."""
    ordered = sorted(entries, key=lambda one: one.at_ms)
    if not ordered:
        return ""
    several = len({one.endpoint for one in ordered}) > 1
    columns = max(len(one.what) for one in ordered)
    names = max(len(one.endpoint) for one in ordered) if several else 0
    lines: list[str] = []
    day = ""
    for one in ordered:
        at = datetime.fromtimestamp(one.at_ms / 1000, zone)
        if (today := f"{at:%Y-%m-%d}") != day:
            lines += ([""] if day else []) + [f"{today} ({at:%Z})"]
            day = today
        name = f"{one.endpoint:<{names}}  " if several else ""
        head = f"  {at:%H:%M:%S}  {name}{one.what:<{columns}}  "
        lines.append(head + one.text)
        if evidence and one.evidence:
            lines += _wrapped(pairs(one.evidence), " " * len(head), max(width, len(head) + 30))
    return "\n".join(line.rstrip() for line in lines)


def pairs(evidence: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``name value``, nested names with dots."""
    found = []
    for name, value in evidence.items():
        if isinstance(value, Mapping):
            found += pairs(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            for number, one in enumerate(value):
                inside = one if isinstance(one, Mapping) else {"": one}
                found += pairs(inside, f"{prefix}{name}[{number}].")
        elif name.endswith("_ms") and isinstance(value, int) and 10**11 < value < 10**14:
            at = datetime.fromtimestamp(value / 1000, UTC)
            found.append(f"{prefix}{name.removesuffix('_ms')} {at:%Y-%m-%d %H:%M:%S}")
        else:
            found.append(f"{prefix}{name} {_short(value)}")
    return found


def _short(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(_short(one) for one in value[:8])
        return f"[{shown}{', ...' if len(value) > 8 else ''}]"
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _wrapped(parts: Sequence[str], indent: str, width: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for part in parts:
        joined = f"{line}; {part}" if line else part
        if line and len(indent) + len(joined) > width:
            lines.append(indent + line + ";")
            joined = part
        line = joined
    return [*lines, indent + line]
