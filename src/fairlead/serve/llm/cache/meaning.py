"""Questions by what they mean: an index for each partition, and what an embedding does not see looked at after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from fairlead.contracts.vectors import Vector, VectorIndex
from fairlead.serve.llm.cache.sameness import differ, overlap, replaced
from fairlead.serve.llm.cache.shelf import Kept, Shelf
from fairlead.serve.llm.cache.trial import Trial

NEIGHBOURS: Final = 5
"""That are looked at: the nearest may be ruled out where the next one is not."""
PARTITIONS: Final = 1024
"""That have an index; the one that was not asked for longest goes."""


@dataclass(frozen=True, slots=True)
class Match:
    """``guarded``: why the nearest was no match, though it was near enough; empty where there is one or none."""

    key: bytes = b""
    kept: Kept | None = None
    similarity: float = 0.0
    guarded: str = ""


class Meaning:
    """``make``: an index for vectors of so many dimensions.  ``words``: share of words that two questions have in
    common, at least.  ``swaps``: words in whose place the other has other words, at most.
    """

    def __init__(
        self, shelf: Shelf, make: Callable[[int], VectorIndex], trial: Trial, words: float = 0.0, swaps: int = 0
    ) -> None:
        self._common, self._swaps = words, swaps
        self.trial = trial
        self._shelf, self._make = shelf, make
        self._serial = count()
        self._indexes: OrderedDict[bytes, VectorIndex] = OrderedDict()
        self._keys: dict[int, bytes] = {}
        self._places: dict[bytes, tuple[bytes, int]] = {}
        shelf.gone = self.drop

    def find(self, partition: bytes, vector: Vector, asked: str, now: float) -> Match:
        """The nearest question that asks for the same, and its answer."""
        index = self._indexes.get(partition)
        if index is None or self.trial.off:
            return Match()
        self._indexes.move_to_end(partition)
        guarded = ""
        for near in index.nearest(vector, NEIGHBOURS):
            if near.similarity < self.trial.threshold:
                break
            key = self._keys.get(near.key)
            kept = None if key is None else self._shelf.get(key, now)
            if key is None or kept is None:
                continue
            why = self._ruled_out(asked, kept.asked)
            if not why:
                return Match(key, kept, near.similarity)
            guarded = guarded or why
        return Match(guarded=guarded)

    def _ruled_out(self, asked: str, kept: str) -> str:
        why = differ(asked, kept)
        if not why and replaced(asked, kept) > self._swaps:
            why = "replaced"
        return why or ("words" if overlap(asked, kept) < self._common else "")

    def put(self, partition: bytes, key: bytes, vector: Vector) -> None:
        """What is on the shelf under ``key`` answers questions like this one."""
        self.drop(key)
        index = self._indexes.get(partition)
        if index is None:
            index = self._indexes[partition] = self._make(len(vector))
            if len(self._indexes) > PARTITIONS:
                self._leave(self._indexes.popitem(last=False)[0])
        place = next(self._serial)
        index.add(place, vector)
        self._keys[place] = key
        self._places[key] = (partition, place)

    def drop(self, key: bytes) -> None:
        """It is no longer on the shelf."""
        known = self._places.pop(key, None)
        if known is None:
            return
        partition, place = known
        self._keys.pop(place, None)
        index = self._indexes.get(partition)
        if index is not None:
            index.remove(place)
            if not len(index):
                del self._indexes[partition]

    def _leave(self, partition: bytes) -> None:
        for key in [key for key, (where, _) in self._places.items() if where == partition]:
            self._keys.pop(self._places.pop(key)[1], None)
