"""What the loop was worth: ROC AUC of the stream's rows as they were answered, and as the first champion would have."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from fairlead.demo.stream import Stream
from fairlead.kit.config import Home
from fairlead.retrain.answers import answered
from fairlead.retrain.columns import columns
from fairlead.wiring import stores

Array = np.ndarray[Any, Any]


def summary(home: Home, stream: Stream, scores: Array, versions: Array) -> dict[str, float | None]:
    """``before``: rows before the drift (where it is known, else those of version 1).  ``without``, ``with``: the rows
    that later versions answered, by version 1 and as they were answered."""
    asked = np.isfinite(scores)
    place = np.arange(len(scores))
    before = asked & (versions == 1) & ((place < stream.drift) if stream.drift else True)
    healed = asked & (versions > 1)
    found: dict[str, float | None] = {"before": _auc(stream.label[before], scores[before]), "without": None}
    if healed.any():
        found["without"] = _auc(stream.label[healed], _first_champion(home, stream, healed))
    found["with"] = _auc(stream.label[healed], scores[healed])
    return found


def _first_champion(home: Home, stream: Stream, rows: Array) -> Array:
    model = stores.load_model(stores.opener(home).open(f"models:/{stream.name}/1"))
    try:
        _, outputs = answered(model, columns(stream.features[rows]), tuple(stream.features.columns))
    finally:
        model.close()
    shares = next(array for array in outputs.values() if array.dtype.kind == "f")
    return np.asarray(shares.reshape(len(shares), -1)[:, -1])


def _auc(label: Array, score: Array) -> float | None:
    return float(roc_auc_score(label, score)) if len(np.unique(label)) == 2 else None
