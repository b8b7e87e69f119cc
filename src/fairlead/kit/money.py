"""Amounts of money and of tokens as people write them: ``50 USD/month``, ``5M tokens/day``, ``0.15``. Exact."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import NANO, Window

_AMOUNT: Final = re.compile(
    r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,12})?)(?P<scale>[kKMG]?)(?:\s+(?P<unit>tokens?|[A-Z]{3}))?", re.ASCII
)
_SCALE: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_WINDOWS: Final = {"h": Window.HOUR, "d": Window.DAY, "w": Window.WEEK} | {one.value: one for one in Window}
_MOST: Final = 10**18
"""Tokens, or nano-units: they fit into 64 bits, with room for several of them."""


class Amount(NamedTuple):
    """``currency`` empty: tokens. ``number``: tokens or nano-units."""

    number: int
    currency: str


def amount(text: str) -> Amount:
    """``50 USD``, ``5M tokens`` or ``5M``, which are tokens. Raises UsageError."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"amount {text[:40]!r} is none; expected money such as 50 USD, or tokens such as 5M tokens")
    unit = found["unit"] or "tokens"
    currency = "" if unit.startswith("token") else unit
    exact = Decimal(found["number"]) * _SCALE[found["scale"]] * (NANO if currency else 1)
    return Amount(_whole(exact, text, "a billionth of a unit" if currency else "one token"), currency)


def budget(text: str) -> tuple[Amount, Window]:
    """``50 USD/month``, ``5M tokens/day``. Raises UsageError."""
    what, slash, window = text.rpartition("/")
    if not slash or window.strip() not in _WINDOWS:
        raise UsageError(
            f"budget {text[:40]!r} is none; expected an amount in a window, such as 20 USD/month or 5M tokens/day"
        )
    return amount(what), _WINDOWS[window.strip()]


def nano(number: str | float) -> int:
    """A price, in nano-units, as it was written: ``0.15`` is 150,000,000. Raises UsageError."""
    text = number if isinstance(number, str) else f"{Decimal(repr(number)):f}"
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text, re.ASCII) or Decimal(text) > 10**6:
        raise UsageError(f"price {text[:40]!r} is none; expected a number from 0 to 1,000,000, such as 0.15")
    return _whole(Decimal(text) * NANO, text, "a billionth of a unit", least=0)


def written(number: int, currency: str) -> str:
    """``0.00012 USD``, or ``1,200 tokens``."""
    if not currency:
        return f"{number:,} tokens"
    return f"{decimal(number)} {currency}"


def decimal(number: int) -> str:
    """Nano-units as a decimal number, two places at least: ``0.00012``, ``3.50``."""
    sign, number = ("-", -number) if number < 0 else ("", number)
    whole, part = divmod(number, NANO)
    text = f"{part:09d}".rstrip("0")
    return f"{sign}{whole}.{text.ljust(2, '0')}"


def _whole(exact: Decimal, text: str, unit: str, least: int = 1) -> int:
    found = int(exact)
    if found != exact:
        raise UsageError(f"{text[:40]!r} is finer than {unit}; round it")
    if not least <= found <= _MOST:
        raise UsageError(f"{text[:40]!r} is out of range; expected more than 0, and up to a billion of money")
    return found
