"""Metrics against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from fairlead.contracts.errors import UsageError
from fairlead.retrain import scores


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = (rng.random(200) < 0.3).astype(int)
    return truth, np.clip(truth * 0.3 + rng.random(200) * 0.7, 0, 1).round(2)


def test_scores_equal_scikit_learns(rows: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = rows
    assert scores.roc_auc(truth, score) == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    assert scores.log_loss(truth, score) == pytest.approx(metrics.log_loss(truth, np.clip(score, 1e-12, 1 - 1e-12)))
    assert scores.brier(truth, score) == pytest.approx(metrics.brier_score_loss(truth, score))


def test_labels_equal_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth, label = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    assert scores.accuracy(truth, label) == pytest.approx(metrics.accuracy_score(truth, label))
    assert scores.balanced_accuracy(truth, label) == pytest.approx(metrics.balanced_accuracy_score(truth, label))
    assert scores.f1_macro(truth, label) == pytest.approx(metrics.f1_score(truth, label, average="macro"))


def test_values_equal_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    truth, value = rng.normal(size=100), rng.normal(size=100)
    assert scores.mae(truth, value) == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert scores.rmse(truth, value) == pytest.approx(metrics.root_mean_squared_error(truth, value))
    assert scores.r2(truth, value) == pytest.approx(metrics.r2_score(truth, value))


def test_ece_is_its_definition(rows: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = rows
    expected = 0.0
    for low in range(10):
        inside = (score * 10).astype(int).clip(0, 9) == low
        if inside.any():
            expected += inside.mean() * abs(score[inside].mean() - truth[inside].mean())
    assert scores.ece(truth, score) == pytest.approx(expected)
    assert scores.ece(np.ones(5), np.ones(5)) == 0.0


def test_what_is_not_defined_is_nan() -> None:
    assert math.isnan(scores.roc_auc(np.ones(3), np.arange(3.0)))
    assert math.isnan(scores.r2(np.ones(3), np.arange(3.0)))


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean roc_auc"):
        scores.metric("roc_acu")
