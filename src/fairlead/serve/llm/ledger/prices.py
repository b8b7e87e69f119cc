"""What models cost, and since when. Pure, and exact: whole nano-units, rounded up once for each answer."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import EACH, Price

MILLION: Final = 10**6


def cost(price: Price, usage: Usage) -> int:
    """Nano-units: at most one more than the exact sum, never less."""
    told = (
        usage.input * price.input
        + usage.cached * price.cached
        + usage.output * price.output
        + usage.reasoning * price.reasoning
    )
    return -(-told // MILLION)


def worst(price: Price, prompt: int, answer: int) -> int:
    """The most that so many tokens can cost: every one in the dearest class that it can be in."""
    told = prompt * max(price.input, price.cached) + answer * max(price.output, price.reasoning)
    return -(-told // MILLION)


@dataclass(frozen=True, slots=True)
class _Dated:
    since: tuple[int, ...]
    prices: tuple[Price, ...]


class PriceBook:
    """By model; ``*`` for those that are not named. Of one model the price with the latest date holds."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        found: defaultdict[str, list[Price]] = defaultdict(list)
        for one in prices:
            found[one.model].append(one)
        self._of: dict[str, _Dated] = {}
        for model, all_ in found.items():
            all_.sort(key=lambda one: one.since_ms)
            self._of[model] = _Dated(tuple(one.since_ms for one in all_), tuple(all_))

    def __bool__(self) -> bool:
        return bool(self._of)

    def price(self, names: tuple[str, ...], at_ms: int) -> Price | None:
        """Of the first of these names that has one at this time; None: nobody said."""
        for name in (*names, EACH):
            dated = self._of.get(name)
            place = bisect_right(dated.since, at_ms) if dated else 0
            if dated is not None and place:
                return dated.prices[place - 1]
        return None
