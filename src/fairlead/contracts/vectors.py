"""Plugin contract: an index of vectors finds the nearest ones. Entry-point group ``fairlead.vectors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Vector = np.ndarray[Any, Any]
"""float32, shape [d]."""


class Near(NamedTuple):
    """``similarity``: cosine, -1.0 to 1.0."""

    key: int
    similarity: float


class VectorIndex(Protocol):
    """Made with the number of dimensions. Not thread-safe; a search of many entries takes milliseconds at most."""

    def add(self, key: int, vector: Vector) -> None:
        """The same key again replaces it."""

    def remove(self, key: int) -> None:
        """A key that is not there is no error."""

    def nearest(self, vector: Vector, most: int) -> Sequence[Near]:
        """The nearest first, ``most`` of them at most. Approximate: near ones may be missed, found ones are right."""

    def __len__(self) -> int: ...
