"""What a part of the server counts itself, for whoever asks: read when metrics are, so that it costs nothing before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

REQUEST_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
"""Bounds of the histograms of calls."""
ANSWER_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120,
)  # fmt: skip
"""Bounds of the histograms of a language model's answers, and of their first tokens."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One series. ``name``: with the prefix ``fairlead_`` and the unit, without ``_total``.

    ``labels``: few, with few values each; the same names in every figure of a name.
    ``within``: of a histogram: bounds, rising, each with how many values are at or under it, infinity last; ``value``
    is the sum of all values then.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[tuple[str, str], ...]
    value: float
    within: Sequence[tuple[float, int]] = ()


Look = Callable[[], Iterable[Figure]]
"""On the event loop, and quick."""


class Histogram:
    """Counts by bound. ``bounds``: rising."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self.sum = 0.0

    def put(self, value: float) -> None:
        for at, bound in enumerate(self._bounds):
            if value <= bound:
                self._counts[at] += 1
                break
        self.sum += value

    def within(self) -> list[tuple[float, int]]:
        total, found = 0, []
        for bound, count in zip(self._bounds, self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found
