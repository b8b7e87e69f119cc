"""The training pipeline of the loop's story: a plain file, as a user writes one.

It trains on the history that is there as a file and on what the endpoint has served and was told since, newest rows
held out. Whether old rows still help is not assumed but tried.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from fairlead.retrain.steps import Context, Data

NEWEST = 20_000
HELD_OUT = 0.3
"""Of the rows since performance fell; of all rows where it has not."""
ENOUGH = 1_000


def load_data(ctx: Context) -> Data:
    """History, then labelled predictions, in order of time."""
    table = pd.read_csv(ctx.home / "history.csv")
    if ctx.previous:
        table = pd.concat([table, pd.DataFrame(ctx.labelled())], ignore_index=True).tail(NEWEST)
    table["label"] = table["label"].astype(int)
    recent = int((table["at_ms"] >= _fell(ctx)).sum())
    held_out = int(HELD_OUT * (recent if recent >= ENOUGH else len(table)))
    return Data(table[:-held_out], table[-held_out:], "label", time="at_ms")


def train(ctx: Context, data: Data) -> Any:
    """Gradient-boosted trees on all rows, or on those since performance fell: what does better on the newest fifth."""
    rows = data.train
    chosen = since = rows[rows["at_ms"] >= _fell(ctx)]
    if len(since) < ENOUGH:
        return _fitted(rows, ctx.seed)
    newest = since.tail(len(since) // 5)
    if newest["label"].nunique() == 2:
        scores = {len(part): _auc(_fitted(part.drop(index=newest.index), ctx.seed), newest) for part in (since, rows)}
        ctx.log("auc_of_recent_rows", scores[len(since)])
        ctx.log("auc_of_all_rows", scores[len(rows)])
        chosen = since if scores[len(since)] > scores[len(rows)] else rows
    return _fitted(chosen, ctx.seed)


def _fell(ctx: Context) -> int:
    """When performance fell, if that is why the retraining was asked for."""
    return int(ctx.request.evidence.get("since_ms", 0))


def _fitted(rows: pd.DataFrame, seed: int) -> Pipeline:
    features = rows.drop(columns=["label", "at_ms"])
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = [name for name in features if name not in text]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [("number", "passthrough", numbers), ("text", encoder, text)]
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=seed)
    model = Pipeline([("columns", ColumnTransformer([part for part in parts if part[2]])), ("trees", trees)])
    with threadpool_limits(1, "openmp"):
        return model.fit(features, rows["label"])


def _auc(model: Pipeline, rows: pd.DataFrame) -> float:
    features = rows.drop(columns=["label", "at_ms"])
    return float(roc_auc_score(rows["label"], model.predict_proba(features)[:, 1]))
