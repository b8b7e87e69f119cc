"""What a model leans on, held against scikit-learn's own measure and against models whose inputs are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.retrain.answers import Task
from fairlead.retrain.held import Held
from fairlead.retrain.importance import ROWS, importance
from fairlead.testing.models import Model

Array = np.ndarray[Any, Any]


def ticking(step: float) -> Iterator[float]:
    at = 0.0
    while True:
        yield at
        at += step


def clock(step: float = 0.0) -> Any:
    ticks = ticking(step)
    return lambda: next(ticks)


def test_the_shares_are_those_of_scikit_learn() -> None:
    rows, truth = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[::2], truth[::2])
    held, known = rows[1::2], truth[1::2]
    found = importance(
        {"X": held},
        lambda features, chosen: -float(log_loss(known[chosen], model.predict_proba(features["X"]))),
        clock(),
    )
    theirs = permutation_importance(model, held, known, scoring="neg_log_loss", n_repeats=30, random_state=1)
    wanted = np.maximum(theirs.importances_mean, 0)
    ours = np.array([found[f"X[{place}]"] for place in range(30)])
    assert ours.sum() == pytest.approx(1)
    assert np.corrcoef(ours, wanted)[0, 1] > 0.95
    assert ours.argmax() == wanted.argmax()


def test_what_is_not_read_has_no_share_and_nothing_is_changed() -> None:
    rng = np.random.default_rng(0)
    features: Tensors = {
        "a": rng.normal(size=2 * ROWS),
        "b": rng.normal(size=(2 * ROWS, 2)),
        "c": np.array(["x"] * 2 * ROWS),
    }
    before = {name: tensor.copy() for name, tensor in features.items()}
    truth = 3 * features["a"] + features["b"][:, 1]

    def quality(given: Tensors, rows: Array) -> float:
        assert len(rows) == ROWS
        return -float(np.mean((3 * given["a"] + given["b"][:, 1] - truth[rows]) ** 2))

    found = importance(features, quality, clock())
    assert found == {"a": pytest.approx(0.9, abs=0.03), "b[0]": 0, "b[1]": pytest.approx(0.1, abs=0.03), "c": 0}
    assert all((features[name] == before[name]).all() for name in features)


@pytest.mark.parametrize("quality", [0.5, float("nan")])
def test_nothing_is_said_where_nothing_is_lost(quality: float) -> None:
    assert importance({"a": np.arange(500.0)}, lambda *_: quality, clock()) == {}


def test_few_rows_and_slow_models_have_none() -> None:
    seen: list[int] = []

    def quality(_: Tensors, rows: Array) -> float:
        seen.append(len(rows))
        return float(len(seen))

    assert importance({"a": np.arange(99.0)}, quality, clock()) == {}
    assert importance({}, quality, clock()) == {}
    seen.clear()
    assert importance({"a": np.arange(5000.0)}, lambda *given: -quality(*given), clock(12.0))  # 60 s of 1,000 rows
    assert seen == [1000, *[500] * 6]
    seen.clear()
    assert importance({"a": np.arange(5000.0)}, quality, clock(500.0)) == {}
    assert seen == [1000]


def held(**columns: Array) -> Held:
    features = tuple(name for name in columns if name not in ("y", "when"))
    return Held(columns, features, "y", "when" if "when" in columns else "", Task(("0.0", "1.0")))


SIGNATURE = Signature(tuple(TensorSpec(name, DataType.FP64, (-1, 1), column=True) for name in ("a", "b")))


def test_a_hold_out_carries_answers_importance_and_times() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 600))
    when = np.datetime64("2026-01-01T00:00:00") + np.arange(600).astype("timedelta64[h]")
    model = Model(lambda given: {"p": 1 / (1 + np.exp(-given["a"][:, 0]))}, SIGNATURE)
    found = held(a=a, b=b, y=(a + rng.normal(size=600) > 0).astype(int), when=when).asked_of(
        model, "roc_auc", clock(), seed=0
    )
    assert found.importance == {"a": pytest.approx(1), "b": 0}
    assert found.times_ms is not None
    assert found.times_ms[:2].tolist() == [1767225600000, 1767229200000]
    assert found.outputs["p"].shape == (600,)
    assert held(a=a, b=b, y=(a > 0).astype(int)).asked_of(model, "roc_auc", clock(), seed=0).times_ms is None


def test_a_metric_that_the_answers_cannot_have_gives_no_importance() -> None:
    a = np.linspace(-1, 1, 300)
    model = Model(lambda given: {"p": given["a"][:, 0]}, SIGNATURE)
    one = held(a=a, b=a, y=np.ones(300))
    assert one.asked_of(model, "roc_auc", clock(), seed=0).importance == {}
    named = Model(lambda given: {"label": np.array(["1.0"] * len(given["a"]), object)}, SIGNATURE)
    assert one.asked_of(named, "brier", clock(), seed=0).importance == {}


def test_a_model_that_refuses_rows_that_nobody_would_send_keeps_its_hold_out() -> None:
    low = np.arange(300.0)

    def answer(given: Tensors) -> Tensors:
        if (given["a"] > given["b"]).any():
            raise ValueError("low above high")
        return {"p": given["a"][:, 0] / 300}

    one = held(a=low, b=low + 1, y=(low > 150).astype(int))
    found = one.asked_of(Model(answer, SIGNATURE), "roc_auc", clock(), seed=0)
    assert found.importance == {}
    assert found.outputs["p"].shape == (300,)
