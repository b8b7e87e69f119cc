"""Make what drift is measured against: every feature and output of a version, its bins, counts and usual unrest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.types import Tensors
from fairlead.kit.codec.records import to_body
from fairlead.monitor.binning import ColumnReference, Reference, column_reference
from fairlead.monitor.blocks import with_blocks
from fairlead.monitor.columns import INPUT, OUTPUT, columns_of, values_of

Array = np.ndarray[Any, Any]

HOUR_MS = 3_600_000
WEEK_MS = 168 * HOUR_MS


def reference(
    features: Tensors,
    outputs: Tensors,
    *,
    model: str = "",
    version: str = "",
    importance: Mapping[str, float] | None = None,
    times_ms: Array | None = None,
    window_ms: int = HOUR_MS,
    season_ms: int | None = None,
    source: str = "",
) -> Reference:
    """Describe rows of features and what the version answered to them (axis 0 counts rows in both).

    ``importance``: by feature name (``NAME`` or ``NAME[i]``).  ``times_ms``: Unix time of each row; with it the usual
    unrest between windows of ``window_ms`` is learned, and with ``season_ms`` (``WEEK_MS``) each window is measured
    against the same place in the season.  ``source``: ``served`` for rows that callers sent.
    Raises InvalidTensor when columns or times are not equally long.
    """
    named = [*columns_of(features, INPUT), *columns_of(outputs, OUTPUT)]
    rows = len(named[0][1]) if named else 0
    for name, column in named:
        if len(column) != rows or (times_ms is not None and len(times_ms) != rows):
            raise InvalidTensor(f"{name} has {len(column)} rows, and {rows} are expected; give equally many everywhere")
    weights = importance or {}
    columns: dict[str, ColumnReference] = {}
    for name, column in named:
        weight = weights.get(name.removeprefix(INPUT)) if name.startswith(INPUT) else None
        numeric = column.dtype.kind in "iufb"
        columns[name] = column_reference(name, values_of(column), numeric=numeric, importance=weight)
    whole = Reference(model, version, rows, columns)
    season = season_ms or 0
    if times_ms is not None and rows:
        at = np.asarray(times_ms, np.int64) // window_ms
        slots = max(1, season // window_ms)
        columns = {name: with_blocks(columns[name], column, at, slots) for name, column in named}
    whole = Reference(model, version, rows, columns, window_ms if times_ms is not None else 0, season, source=source)
    digest = hashlib.sha256(json.dumps(to_body(whole), sort_keys=True).encode()).hexdigest()
    return replace(whole, id=digest[:16])
