"""The training pipeline of the loop's story: a plain file, as a user writes one.

The first time it trains on the history that is there as a file; later on what the endpoint has served and was told
since, newest rows held out.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from fairlead.retrain.steps import Context, Data

NEWEST = 12_000
ENOUGH = 2_000


def load_data(ctx: Context) -> Data:
    """History, or labelled predictions: those since performance fell, where they are enough to learn from."""
    if ctx.previous:
        table = pd.DataFrame(ctx.labelled())
        fell = int(ctx.request.evidence.get("since_ms", 0))
        since = table[table["at_ms"] >= fell]
        table = (since if len(since) >= ENOUGH else table).tail(NEWEST)
    else:
        table = pd.read_csv(ctx.home / "history.csv")
    table["label"] = table["label"].astype(int)
    cut = len(table) * 7 // 10
    return Data(table[:cut], table[cut:], "label", time="at_ms")


def train(ctx: Context, data: Data) -> Any:
    """Gradient-boosted trees; text columns as one column a value."""
    features = data.train.drop(columns=["label", "at_ms"])
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = [name for name in features if name not in text]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [("number", "passthrough", numbers), ("text", encoder, text)]
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=ctx.seed)
    model = Pipeline([("columns", ColumnTransformer([part for part in parts if part[2]])), ("trees", trees)])
    with threadpool_limits(1, "openmp"):
        return model.fit(features, data.train["label"])
