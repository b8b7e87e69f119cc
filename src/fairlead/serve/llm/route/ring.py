"""Consistent hashing: the same prompt goes to the same replica, whoever asks and whichever replicas come and go. Pure.

Source: Karger et al., STOC 1997; that a replica with too much is passed over, as in Mirrokni, Thorup, Zadimoghaddam,
"Consistent hashing with bounded loads" (SODA 2018), is for whoever walks.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final

_POINTS: Final = 64
"""Of each replica on the ring."""


class Ring:
    """Of replicas by name: their order does not matter."""

    __slots__ = ("_count", "_places", "_who")

    def __init__(self, names: Sequence[str]) -> None:
        points = sorted((_hash(f"{name}#{point}"), at) for at, name in enumerate(names) for point in range(_POINTS))
        self._places = [place for place, _ in points]
        self._who = [at for _, at in points]
        self._count = len(names)

    def walk(self, place: int) -> Iterator[int]:
        """Every replica once, the nearest first."""
        start, seen = bisect(self._places, place), set[int]()
        for step in range(len(self._who)):
            who = self._who[(start + step) % len(self._who)]
            if who not in seen:
                seen.add(who)
                yield who
            if len(seen) == self._count:
                return


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
