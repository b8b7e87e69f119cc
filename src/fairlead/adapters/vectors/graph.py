"""An index by usearch: a graph of near neighbours in many layers (HNSW, Malkov and Yashunin, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from usearch.index import Index

from fairlead.contracts.vectors import Near, Vector


class GraphIndex:
    """The contract's ``VectorIndex``. Vectors are kept as they are, float32."""

    def __init__(self, dimensions: int) -> None:
        self._index = Index(ndim=dimensions, metric="cos", dtype="f32")

    def add(self, key: int, vector: Vector) -> None:
        self.remove(key)
        self._index.add(key, np.ascontiguousarray(vector, np.float32))

    def remove(self, key: int) -> None:
        if key in self._index:
            self._index.remove(key)

    def nearest(self, vector: Vector, most: int) -> Sequence[Near]:
        if not len(self._index):
            return []
        found = self._index.search(np.ascontiguousarray(vector, np.float32), most)
        return [Near(int(key), 1.0 - float(far)) for key, far in zip(found.keys, found.distances, strict=True)]

    def __len__(self) -> int:
        return len(self._index)
