"""What fallbacks answered is no evidence of the model: kept apart from windows, references, drift and performance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.events import Columns, by_fallback
from fairlead.contracts.types import Tensors

Array = np.ndarray[Any, Any]

CODE: Final = "degraded"
"""What windows count such calls under."""


def counted(columns: Columns) -> Columns:
    """The same for a window: calls that a fallback answered are there by ``CODE``, without their rows."""
    if not any(columns.degraded):
        return columns
    fell = np.array([bool(told) for told in columns.degraded])
    kept = np.repeat(~fell, np.asarray(columns.rows, np.int64))
    return replace(
        columns,
        code=[CODE if back else code for back, code in zip(fell.tolist(), columns.code, strict=True)],
        rows=np.where(fell, 0, columns.rows),
        features=_rows(columns.features, kept),
        outputs=_rows(columns.outputs, kept),
        entity=[key for key, keep in zip(columns.entity, kept.tolist(), strict=True) if keep] if columns.entity else (),
        degraded=(),
    )


def parted(frame: Mapping[str, Array]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Rows that the model answered, or failed to, and those that a fallback did."""
    fell = by_fallback(frame)
    if not fell.any():
        return frame, {name: column[:0] for name, column in frame.items()}
    return {name: column[~fell] for name, column in frame.items()}, {
        name: column[fell] for name, column in frame.items()
    }


def _rows(tensors: Tensors, kept: Array) -> Tensors:
    return {name: array[kept] for name, array in tensors.items()}
