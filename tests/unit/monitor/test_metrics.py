from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from fairlead.contracts.errors import UsageError
from fairlead.monitor.metrics import Answers, auc_parts, measure, wilson


def binary(n: int, seed: int, *, ties: bool = False, weighted: bool = False) -> Answers:
    r = np.random.default_rng(seed)
    score = r.random(n)
    if ties:
        score = np.round(score, 1)
    label = (r.random(n) < score).astype(float)
    weight = r.choice([1.0, 4.0], n) if weighted else np.ones(n)
    return Answers(label, (score >= 0.5).astype(float), score, weight)


def many(n: int, seed: int, weighted: bool) -> Answers:
    r = np.random.default_rng(seed)
    score = r.dirichlet([2, 1, 1], n)
    label = np.array([r.choice(3, p=row) for row in score], dtype=float)
    weight = r.choice([1.0, 4.0], n) if weighted else np.ones(n)
    return Answers(label, score.argmax(axis=1).astype(float), score, weight, 3)


BINARY = {
    "accuracy": lambda a: sk.accuracy_score(a.label, a.decision, sample_weight=a.weight),
    "roc_auc": lambda a: sk.roc_auc_score(a.label, a.score, sample_weight=a.weight),
    "log_loss": lambda a: sk.log_loss(a.label, a.score, sample_weight=a.weight),
    "brier": lambda a: sk.brier_score_loss(a.label, a.score, sample_weight=a.weight),
    "f1": lambda a: sk.f1_score(a.label, a.decision, sample_weight=a.weight),
    "precision": lambda a: sk.precision_score(a.label, a.decision, sample_weight=a.weight),
    "recall": lambda a: sk.recall_score(a.label, a.decision, sample_weight=a.weight),
}


@pytest.mark.parametrize("metric", BINARY)
@pytest.mark.parametrize(("ties", "weighted"), [(False, False), (True, False), (True, True)])
def test_two_classes_agree_with_scikit_learn(metric: str, ties: bool, weighted: bool) -> None:
    for seed in range(5):
        answers = binary(200, seed, ties=ties, weighted=weighted)
        if ties and metric == "log_loss":
            answers = Answers(answers.label, answers.decision, np.clip(answers.score, 0.01, 0.99), answers.weight)
        found = measure(metric, answers, seed=seed)
        assert found.value == pytest.approx(BINARY[metric](answers), abs=1e-9)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


MANY = {
    "accuracy": lambda a, w: sk.accuracy_score(a.label, a.decision, sample_weight=w),
    "roc_auc": lambda a, w: sk.roc_auc_score(a.label, a.score, multi_class="ovr", sample_weight=w),
    "log_loss": lambda a, w: sk.log_loss(a.label, a.score, sample_weight=w),
    "brier": lambda a, w: sk.brier_score_loss(a.label, a.score, sample_weight=w),
    "f1": lambda a, w: sk.f1_score(a.label, a.decision, average="macro", sample_weight=w),
    "precision": lambda a, w: sk.precision_score(a.label, a.decision, average="macro", sample_weight=w),
    "recall": lambda a, w: sk.recall_score(a.label, a.decision, average="macro", sample_weight=w),
}


@pytest.mark.parametrize("metric", MANY)
@pytest.mark.parametrize("weighted", [False, True])
def test_more_classes_agree_with_scikit_learn(metric: str, weighted: bool) -> None:
    answers = many(150, 3, weighted)
    found = measure(metric, answers, draws=100)
    assert found.value == pytest.approx(MANY[metric](answers, answers.weight), abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_regression_agrees_with_scikit_learn(metric: str) -> None:
    r = np.random.default_rng(4)
    label = r.normal(1000.0, 3.0, 120)
    weight = r.random(120) + 0.5
    answers = Answers(label, label + r.normal(0, 1, 120), None, weight, 0)
    oracle = {"mae": sk.mean_absolute_error, "rmse": sk.root_mean_squared_error, "r2": sk.r2_score}[metric]
    found = measure(metric, answers)
    assert found.value == pytest.approx(oracle(label, answers.decision, sample_weight=weight), abs=1e-9)


def test_wilson_agrees_with_statsmodels() -> None:
    for hits, n in [(0, 10), (3, 10), (10, 10), (37, 200)]:
        assert wilson(hits / n, n) == pytest.approx(proportion_confint(hits, n, 0.05, "wilson"), abs=1e-12)


def test_delong_agrees_with_brute_force_over_pairs() -> None:
    answers = binary(80, 8, ties=True)
    score, label = answers.score, answers.label
    above, below = score[label == 1], score[label == 0]
    kernel = (above[:, None] > below[None, :]) + 0.5 * (above[:, None] == below[None, :])
    area = kernel.mean()
    variance = kernel.mean(axis=1).var(ddof=1) / len(above) + kernel.mean(axis=0).var(ddof=1) / len(below)
    odds = np.log(area / (1 - area))
    half = stats.norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    found = measure("roc_auc", answers)
    assert found.value == pytest.approx(area, abs=1e-12)
    assert found.low == pytest.approx(1 / (1 + np.exp(half - odds)), abs=1e-12)
    assert found.high == pytest.approx(1 / (1 + np.exp(-half - odds)), abs=1e-12)
    value, place_above, place_below = auc_parts(label, score, np.ones(80))
    assert place_above == pytest.approx(kernel.mean(axis=1), abs=1e-12)
    assert place_below == pytest.approx(kernel.mean(axis=0), abs=1e-12)
    assert value == pytest.approx(area, abs=1e-12)


def test_a_perfect_area_still_has_an_interval() -> None:
    label = np.repeat([0.0, 1.0], 20)
    found = measure("roc_auc", Answers(label, label, label, np.ones(40)))
    assert found.value == 1.0
    assert found.high == 1.0
    assert found.low is not None
    assert 0.8 < found.low < 0.99


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "brier", "f1"])
def test_intervals_cover(metric: str) -> None:
    """At 95 %, at least 91 of 100 (200 trials: 3 standard errors are 4.6 points)."""
    truth = measure(metric, binary(400_000, 99), draws=2).value
    hits = 0
    for seed in range(200):
        found = measure(metric, binary(300, seed), draws=200, seed=seed)
        hits += found.low <= truth <= found.high  # type: ignore[operator]
    assert 0.904 <= hits / 200 <= 0.996


def test_what_is_not_defined_has_no_value_and_says_why() -> None:
    ones = np.ones(5)
    only = Answers(ones, np.zeros(5), np.full(5, 0.2), ones)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure("roc_auc", only).value is None
        assert "both classes" in measure("roc_auc", only).why
        assert measure("precision", only).value is None
        assert measure("recall", only).value == 0.0
        empty = only.take(np.zeros(5, dtype=bool))
        for metric in BINARY:
            assert measure(metric, empty).value is None
        flat = Answers(ones, ones * 2, None, ones, 0)
        assert measure("r2", flat).value is None
        assert measure("r2", flat).why == "the labels are all the same"


def test_the_same_seed_gives_the_same_interval() -> None:
    answers = binary(100, 1)
    assert measure("brier", answers, seed=5) == measure("brier", answers, seed=5)
    assert measure("brier", answers, seed=5).low != measure("brier", answers, seed=6).low


def test_wrong_use_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean accuracy"):
        measure("acuracy", binary(10, 1))
    with pytest.raises(UsageError, match="a regression has no metric 'accuracy'"):
        measure("accuracy", Answers(np.ones(2), np.ones(2), None, np.ones(2), 0))
    with pytest.raises(UsageError, match=r"monitor\.score"):
        measure("roc_auc", Answers(np.ones(2), np.ones(2), None, np.ones(2)))
    with pytest.raises(UsageError, match=r"monitor\.prediction"):
        measure("f1", Answers(np.ones(2), None, np.ones(2), np.ones(2)))


def test_rows_must_be_as_many_and_the_better_direction_is_known() -> None:
    with pytest.raises(UsageError, match="differ in their number"):
        measure("accuracy", Answers(np.ones(2), np.ones(3), None, np.ones(2)))
    assert measure("accuracy", binary(9, 1)).better == 1
    assert measure("brier", binary(9, 1)).better == -1
    alone = measure("brier", binary(9, 1).take(np.array([0])))
    assert alone.value is not None
    assert (alone.low, alone.why) == (None, "too few rows for an interval")
