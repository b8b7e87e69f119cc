"""An index that looks at every vector: what an approximate one is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.contracts.vectors import Near, Vector


class BruteIndex:
    """The contract's ``VectorIndex``, exact."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._vectors: dict[int, Vector] = {}

    def add(self, key: int, vector: Vector) -> None:
        self._vectors[key] = np.asarray(vector, np.float32) / max(float(np.linalg.norm(vector)), 1e-12)

    def remove(self, key: int) -> None:
        self._vectors.pop(key, None)

    def nearest(self, vector: Vector, most: int) -> Sequence[Near]:
        asked = np.asarray(vector, np.float32) / max(float(np.linalg.norm(vector)), 1e-12)
        found = [Near(key, float(kept @ asked)) for key, kept in self._vectors.items()]
        return sorted(found, key=lambda near: -near.similarity)[:most]

    def __len__(self) -> int:
        return len(self._vectors)
