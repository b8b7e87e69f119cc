"""Windows for the tests: rows folded as a worker would, hour by hour."""

from __future__ import annotations

import numpy as np

from fairlead.contracts.events import Columns
from fairlead.contracts.types import Tensors
from fairlead.monitor.binning import Reference
from fairlead.monitor.reference import HOUR_MS
from fairlead.monitor.sketches import Folder, Merged, merge


def window(described: Reference, features: Tensors, outputs: Tensors | None = None, hour: int = 0) -> Merged:
    rows = len(next(iter(features.values())))
    folder = Folder(described, "e", "1", "champion", "w", HOUR_MS)
    one = np.array([hour * HOUR_MS])
    folder.add(
        Columns("e", "1", "champion", ["i"], one, np.array([0.01]), [""], np.array([rows]), features, outputs or {})
    )
    return merge(folder.windows())
