"""What a user's own training script looks like: an ordinary scikit-learn pipeline, its metrics and two plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from fairlead.demo.data import Data

mpl.use("Agg")
from matplotlib import pyplot as plt

PARAMETERS = {"max_iter": 120, "learning_rate": 0.08, "max_leaf_nodes": 15, "random_state": 0}


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted pipeline with its parameters and its metrics on the held-out rows."""

    pipeline: Pipeline
    parameters: dict[str, str | float]
    metrics: dict[str, float]


def train(data: Data) -> Trained:
    """Fit gradient-boosted trees; missing numbers are theirs to handle, missing strings are a category."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [("number", "passthrough", list(data.numeric)), ("text", encoder, list(data.text))]
    model = HistGradientBoostingClassifier if data.classification else HistGradientBoostingRegressor
    pipeline = Pipeline([("columns", ColumnTransformer([p for p in parts if p[2]])), ("trees", model(**PARAMETERS))])
    with threadpool_limits(1, "openmp"):  # its threads spin: as fast alone, and seconds instead of a minute under load
        pipeline.fit(data.train, data.y_train)
    described = {"model": model.__name__, "rows": len(data.train), "columns": data.train.shape[1], **PARAMETERS}
    return Trained(pipeline, described, evaluate(pipeline, data))


def evaluate(pipeline: Pipeline, data: Data) -> dict[str, float]:
    """Held-out metrics: ROC AUC (one against the rest for several classes), accuracy, log loss; or R2 and MAE."""
    predicted = pipeline.predict(data.held_out)
    if not data.classification:
        return {
            "r2": float(r2_score(data.y_held_out, predicted)),
            "mean_absolute_error": float(mean_absolute_error(data.y_held_out, predicted)),
        }
    probability = pipeline.predict_proba(data.held_out)
    metrics = {
        "accuracy": float(accuracy_score(data.y_held_out, predicted)),
        "log_loss": float(log_loss(data.y_held_out, probability, labels=pipeline.classes_)),
    }
    if len(data.classes) == 2:
        positive = pipeline.classes_[1]
        metrics["roc_auc"] = float(roc_auc_score(data.y_held_out == positive, probability[:, 1]))
        metrics["brier"] = float(brier_score_loss(data.y_held_out == positive, probability[:, 1]))
    else:
        metrics["roc_auc"] = float(
            roc_auc_score(data.y_held_out, probability, multi_class="ovr", labels=pipeline.classes_)
        )
    return metrics


def plots(trained: Trained, data: Data, folder: Path) -> dict[str, Path]:
    """Draw what a reviewer looks at first; file name to path."""
    drawn: dict[str, Path] = {}
    if not data.classification:
        drawn["held_out.png"] = _save(
            PredictionErrorDisplay.from_estimator(trained.pipeline, data.held_out, data.y_held_out),
            folder / "held_out.png",
        )
        return drawn
    if len(data.classes) == 2:
        curve = RocCurveDisplay.from_estimator(trained.pipeline, data.held_out, data.y_held_out)
        drawn["roc.png"] = _save(curve, folder / "roc.png")
    matrix = ConfusionMatrixDisplay.from_estimator(trained.pipeline, data.held_out, data.y_held_out, colorbar=False)
    drawn["confusion.png"] = _save(matrix, folder / "confusion.png")
    return drawn


def _save(display: RocCurveDisplay | ConfusionMatrixDisplay | PredictionErrorDisplay, path: Path) -> Path:
    display.figure_.tight_layout()
    display.figure_.savefig(path, dpi=110)
    plt.close(display.figure_)
    return path
