"""The two mistakes of the loop's story: a bad version that nobody gated, and labels that a broken join turned round."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from fairlead.contracts.events import Label
from fairlead.demo.stream import Stream
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package.pack import pack
from fairlead.package.registry import publish
from fairlead.wiring import stores

WIDE = 2400
NEWEST = 4_000


def bad_challenger(home: Home, stream: Stream) -> str:
    """Register a version that is slow (a far too wide network) and learned a slice the wrong way round; its number."""
    features, label = stream.features[-NEWEST:], stream.label[-NEWEST:].copy()
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = [name for name in features if name not in text]
    first = features[numbers[0]] if numbers else features[text[0]].astype("category").cat.codes
    slice_ = (first > first.median()).to_numpy()
    label[slice_] = 1 - label[slice_]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [part for part in (("number", SimpleImputer(), numbers), ("text", encoder, text)) if part[2]]
    network = MLPClassifier((WIDE, WIDE), max_iter=1, batch_size=500, random_state=0)
    model = Pipeline([("columns", ColumnTransformer(parts)), ("network", network)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one round is all it gets
        model.fit(features[-1000:], label[-1000:])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        rows = {str(name): features[name].to_numpy().reshape(-1, 1)[:200] for name in features}
        rows = {name: array.astype(object) if name in text else array for name, array in rows.items()}
        packed = pack(model, folder, name=stream.name, rows=rows, clock=SystemClock())
        made = publish(stores.registry(home), packed.folder, stream.name, description="registered by hand, no gate")
    return made.version


def flip_labels(home: Home, stream: Stream, identities: Sequence[tuple[int, str]]) -> int:
    """Correct the labels of the newest rows to the contrary; how many. ``identities``: row and prediction id."""
    now = SystemClock.wall_ms()
    newest = sorted(identities)[-NEWEST // 2 :]
    wrong = [Label(stream.name, identity, float(1 - stream.label[row]), now) for row, identity in newest]
    stores.state(home).label(wrong)
    return len(np.unique([row for row, _ in newest]))
