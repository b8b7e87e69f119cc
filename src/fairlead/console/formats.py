"""Numbers and times as the console writes them: with their unit, and a dash where there is none, never a zero.

Every function takes a raw value (seconds, shares, counts, Unix milliseconds) and gives a text that is safe as HTML.
``why``: what the dash says when one points at it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from fairlead.kit.money import decimal

Number = float | int | None

MISSING: Final = "not recorded"
_CODE: Final = re.compile(r"`([^`]+)`")
_DAY_MS: Final = 86_400_000
_UNIT: Final = Markup('{}<span class="unit">{}</span>')
_THIN: Final = "\N{NARROW NO-BREAK SPACE}"


def none(why: str = MISSING) -> Markup:
    """What stands where there is no number."""
    return Markup(
        '<span class="none" title="{}"><span aria-hidden="true">&ndash;</span><span class="sr">{}</span></span>'
    ).format(why, why)


def known(value: Number) -> bool:
    return value is not None and math.isfinite(value)


def count(value: Number, why: str = MISSING) -> str:
    """``1,234``: whole."""
    return f"{round(value):,}" if value is not None and known(value) else none(why)


def short(value: Number, why: str = MISSING) -> str:
    """``12.3 k``, ``4.56 M``; the whole number when one points at it."""
    if value is None or not known(value):
        return none(why)
    text, unit = _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k")), 1e4)
    return Markup('<span title="{:,}">{}</span>').format(round(value), with_unit(text, unit))


def rate(value: Number, why: str = MISSING) -> str:
    """Events a second: ``12.3 /s``."""
    if value is None or not known(value):
        return none(why)
    text, unit = _scaled(value, ((1e6, "M"), (1e3, "k")), 1e4)
    return with_unit(text, f"{unit}/s")


def seconds(value: Number, why: str = MISSING) -> str:
    """``340 µs``, ``4.12 ms``, ``1.20 s``, ``3.5 min``."""
    if value is None or not known(value):
        return none(why)
    size = abs(value)
    if size < 1e-3:
        return with_unit(significant(value * 1e6), "µs") if value else with_unit("0", "ms")
    if size < 1:
        return with_unit(significant(value * 1e3), "ms")
    if size < 120:
        return with_unit(significant(value), "s")
    return duration(value * 1000)


def duration(ms: Number, why: str = MISSING) -> str:
    """``40 s``, ``12 min``, ``3.5 h``, ``2.1 days`` of milliseconds."""
    if ms is None or not known(ms):
        return none(why)
    for size, word in ((_DAY_MS, "days"), (3_600_000, "h"), (60_000, "min")):
        if abs(ms) >= size:
            return with_unit(f"{ms / size:.3g}", word)
    return with_unit(f"{ms / 1000:.3g}", "s")


def percent(value: Number, why: str = MISSING) -> str:
    """A share from 0 to 1: ``0.12 %``, ``12.3 %``, ``100 %``."""
    if value is None or not known(value):
        return none(why)
    return with_unit(_percent(100 * value), "%")


def size(value: Number, why: str = MISSING) -> str:
    """Bytes: ``1.20 MB``."""
    if value is None or not known(value):
        return none(why)
    text, unit = _scaled(value, ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")), 1e3)
    return with_unit(text, f"{unit}B")


def money(nano: int | None, currency: str = "USD", why: str = MISSING) -> str:
    """Billionths of a unit, exact: ``0.00012 USD``; without a currency, tokens."""
    if nano is None:
        return none(why)
    return with_unit(decimal(nano), currency) if currency else with_unit(f"{nano:,}", "tokens")


def number(value: Number, digits: int = 3, why: str = MISSING) -> str:
    """A plain figure with so many decimals: a statistic, a metric of a model."""
    return f"{value:,.{digits}f}" if value is not None and known(value) else none(why)


def probability(value: Number, why: str = MISSING) -> str:
    """``0.041``, ``< 0.001``."""
    if value is None or not known(value):
        return none(why)
    return f"{value:.3f}" if value >= 0.001 else escape("< 0.001")


def at(ms: Number, why: str = MISSING, form: str = "%Y-%m-%d %H:%M:%S", zone: bool = True) -> str:
    """A moment in UTC; the page adds the local time to what one sees when pointing at it.

    ``zone`` False: where the head of the column says UTC.
    """
    if ms is None or not known(ms):
        return none(why)
    moment = _moment(ms)
    told = with_unit(f"{moment:{form}}", "UTC" if zone else "")
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), f"{moment:%Y-%m-%d %H:%M:%S}", told
    )


def moment(iso: str | None, why: str = MISSING) -> str:
    """A moment in ISO 8601, to the second and in UTC: ``2026-11-30 09:49:19``; another text as it is."""
    if not isinstance(iso, str) or not iso:
        return none(why)
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return escape(iso)


def ago(ms: Number, now_ms: int, why: str = MISSING) -> str:
    """How long ago: ``3 min ago``, with the moment itself when one points at it."""
    if ms is None or not known(ms):
        return none(why)
    moment = _moment(ms)
    return Markup('<time datetime="{}" title="{} UTC" data-ago>{}</time>').format(
        moment.isoformat(timespec="milliseconds"), f"{moment:%Y-%m-%d %H:%M:%S}", since(now_ms - ms)
    )


def since(ms: float) -> str:
    """A length of time in round words: ``just now``, ``40 s ago``, ``in 3 min``."""
    if abs(ms) < 1500:
        return "just now"
    for length, word in ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if abs(ms) >= length:
            told = f"{int(abs(ms) // length)} {word}"
            return f"{told} ago" if ms > 0 else f"in {told}"
    return "just now"


def middle(text: str, most: int = 60) -> str:
    """A long name with its middle left out; the whole of it when one points at it."""
    if len(text) <= most:
        return escape(text)
    kept = (most - 1) // 2
    return Markup('<span title="{}">{}…{}</span>').format(text[:2000], text[:kept], text[-kept:])


def prose(text: object, most: int = 2000) -> str:
    """A sentence in which what stands between backticks is code; its end is left out where it is longer."""
    if isinstance(text, Markup):
        return text
    said = str(text)
    said = said if len(said) <= most else f"{said[: most - 1]}…"
    parts = _CODE.split(said)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def significant(value: float) -> str:
    """Three digits that count, and no exponent: ``340``, ``4.12``, ``0.0123``, ``12,300``."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 12)}f}"


def with_unit(text: str, unit: str) -> Markup:
    return _UNIT.format(text, f"{_THIN}{unit}") if unit else Markup(escape(text))  # noqa: S704 - escaped


def _percent(value: float) -> str:
    if 0 < abs(value) < 0.01:
        return "<0.01" if value > 0 else f"{value:.2g}"
    if abs(value) < 1:
        return f"{value:.2f}" if value else "0"
    return f"{value:.1f}" if abs(value) < 100 and value != round(value) else f"{value:,.0f}"


def _scaled(value: float, units: tuple[tuple[float, str], ...], least: float) -> tuple[str, str]:
    """The number in the first unit that it reaches; below ``least`` in none."""
    for factor, unit in units:
        if abs(value) >= max(factor, least):
            return significant(value / factor), unit
    return (f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else significant(value)), ""


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(min(max(ms, 0), 253_402_300_799_000) / 1000, UTC)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "count": count,
    "short": short,
    "rate": rate,
    "seconds": seconds,
    "duration": duration,
    "percent": percent,
    "size": size,
    "money": money,
    "number": number,
    "probability": probability,
    "at": at,
    "ago": ago,
    "middle": middle,
    "moment": moment,
    "prose": prose,
}
"""By the name that templates call them; none hides a filter of Jinja that we use."""
