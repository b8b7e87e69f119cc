from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from fairlead.contracts.errors import UsageError
from fairlead.monitor.calibration import Fitting, calibration_error, calibrator, check_calibration
from fairlead.monitor.cbpe import Ranked, estimate, expected
from fairlead.monitor.metrics import Answers


def stream(n: int, seed: int, *, shift: float = 0.0, flipped: float = 0.0) -> Answers:
    """The score is a distorted probability. ``shift`` moves x; ``flipped`` changes the concept."""
    r = np.random.default_rng(seed)
    x = r.normal(shift, 1.2, n)
    chance = 1 / (1 + np.exp(-1.5 * x))
    label = (r.random(n) < chance).astype(float)
    label = np.where(r.random(n) < flipped, 1 - label, label)
    score = 1 / (1 + np.exp(-3 * x))  # too sure of itself
    return Answers(label, (score >= 0.5).astype(float), score, np.ones(n))


def triple(n: int, seed: int, shift: float = 0.0) -> Answers:
    r = np.random.default_rng(seed)
    logits = r.normal([shift, 0, -shift], 1.5, (n, 3))
    score = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (r.random((n, 1)) >= np.cumsum(score, axis=1)[:, :2]).sum(axis=1).astype(float)
    return Answers(label, score.argmax(axis=1).astype(float), score, np.ones(n), 3)


def test_the_calibrator_agrees_with_scikit_learn_over_its_bins() -> None:
    reference = stream(700, 1)
    weight = np.random.default_rng(0).random(700) + 0.5
    ours = calibrator(Answers(reference.label, None, reference.score, weight))
    bins = np.split(np.argsort(reference.score), np.arange(1, 11) * 700 // 11)
    at, share = (
        [np.average(values[rows], weights=weight[rows]) for rows in bins]
        for values in (reference.score, reference.label)
    )
    mass = [weight[rows].sum() for rows in bins]
    oracle = IsotonicRegression(out_of_bounds="clip").fit(at, share, sample_weight=mass)
    grid = np.linspace(-0.1, 1.1, 400)
    assert ours(grid) == pytest.approx(oracle.predict(grid), abs=1e-9)


def test_several_classes_add_up_to_one() -> None:
    reference = triple(900, 2)
    out = calibrator(reference)(triple(50, 3).score)
    assert out.sum(axis=1) == pytest.approx(np.ones(50))


def test_the_error_agrees_with_scikit_learn() -> None:
    answers = stream(1000, 5)
    share, said = calibration_curve(answers.label, answers.score, n_bins=10, strategy="quantile")
    assert calibration_error(answers.score, answers.label) == pytest.approx(np.mean(np.abs(share - said)), abs=1e-9)


def test_the_expected_area_agrees_with_brute_force() -> None:
    """Expected pairs in order over expected pairs, pair by pair; a row makes no pair with itself."""
    r = np.random.default_rng(6)
    score, chance, weight = np.round(r.random(40), 1), r.random(40), r.random(40) + 0.5
    above = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    pair = np.outer(weight * chance, weight * (1 - chance))
    np.fill_diagonal(pair, 0.0)
    found = expected("roc_auc", chance, score, np.zeros(40), weight)
    assert found == pytest.approx((pair * above).sum() / pair.sum(), abs=1e-12)
    certain = (r.random(40) < 0.5).astype(float)
    sure = expected("roc_auc", certain, score, np.zeros(40), np.ones(40))
    assert sure == pytest.approx(roc_auc_score(certain, score), abs=1e-12)


def test_the_expected_accuracy_is_the_mean_chance_of_being_right() -> None:
    found = expected(
        "accuracy", np.array([0.9, 0.2, 0.4]), np.zeros(3), np.array([1.0, 0.0, 1.0]), np.array([1.0, 1, 2])
    )
    assert found == pytest.approx((0.9 + 0.8 + 2 * 0.4) / 4)


@pytest.mark.parametrize("kind", ["two", "three"])
def test_a_map_of_rows_drawn_again_is_that_of_those_rows(kind: str) -> None:
    """Against sorting them anew, with weights; scores that are all different, so that ties have no order to choose."""
    reference = stream(900, 51) if kind == "two" else triple(900, 51)
    r = np.random.default_rng(52)
    reference = replace(reference, weight=r.random(900) + 0.5)
    rows, label = r.integers(0, 900, 900), r.permutation(reference.label)
    fitting = Fitting(reference)
    for ours, theirs in (
        (fitting.fitted(times=np.bincount(rows, minlength=900)), calibrator(reference.take(rows))),
        (fitting.fitted(label), calibrator(replace(reference, label=label))),
        (Fitting(reference, rows[:300]).fitted(), calibrator(reference.take(rows[:300]))),
    ):
        for one, other in ((ours.score, theirs.score), (ours.share, theirs.share)):
            for mine, true in zip(one, other, strict=True):
                assert mine == pytest.approx(true, abs=1e-12)


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_an_area_of_rows_sorted_once_agrees_with_scikit_learn(digits: int) -> None:
    r = np.random.default_rng(digits)
    score, weight = np.round(r.random(500), digits), r.random(500) + 0.5
    ranked = Ranked(score, weight)
    for _ in range(5):
        label = (r.random(500) < score).astype(float)
        assert ranked.area(label) == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-12)
    assert np.isnan(ranked.area(np.ones(500)))
    assert np.isnan(ranked.area(np.zeros(500)))


def test_the_error_out_of_fold_is_that_of_maps_fitted_anew() -> None:
    reference = stream(1000, 53)
    errors = []
    for rows in np.array_split(np.arange(1000), 5):
        fitted = calibrator(reference.take(np.delete(np.arange(1000), rows)))
        # of equal probabilities, which the map makes of scores that are not, those with the lesser score first
        place = rows[np.argsort(reference.score[rows])]
        errors.append(calibration_error(fitted(reference.score[place]), reference.label[place]))
    found = check_calibration(reference, seed=1, draws=3)
    assert found.error == pytest.approx(np.mean(errors), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_a_known_map_leaves_the_spread_of_the_labels_alone(metric: str) -> None:
    """With a reference so large that the map is known, the interval is that of independent labels: for a share the
    normal one of a sum of Bernoullis (Poisson binomial), for an area that of brute force. 600 draws: within 12 %."""
    current = stream(1500, 55)
    one = estimate(
        metric, stream(60_000, 54), current.score, current.decision, seed=3, draws=600,
        calibration=check_calibration(current, seed=1, draws=1),
    ).expected  # fmt: skip
    chance = 1 / (1 + np.exp(-1.5 * np.log(current.score / (1 - current.score)) / 3))
    r = np.random.default_rng(4)
    if metric == "accuracy":
        spread = np.sqrt(np.sum(chance * (1 - chance))) / 1500
    else:
        spread = np.std([roc_auc_score(r.random(1500) < chance, current.score) for _ in range(600)])
    assert one.high is not None
    assert one.low is not None
    assert (one.high - one.low) / 2 / 1.96 == pytest.approx(spread, rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "f1", "brier"])
def test_it_matches_the_realised_value_when_only_the_rows_change(metric: str) -> None:
    """200 trials with shifted rows and the same concept: in the 95 % interval in at least 180 (3 standard errors)."""
    hits = 0
    for seed in range(200):
        reference = stream(1500, 2 * seed)
        current = stream(800, 2 * seed + 1, shift=0.8)
        one = estimate(
            metric, reference, current.score, current.decision, seed=seed, realised=current, draws=99,
            calibration=check_calibration(reference, seed=seed, draws=2),
        )  # fmt: skip
        hits += bool(one.agrees)
    print(f"{metric}: realised within the interval in {hits} of 200")
    assert hits >= 180


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "log_loss"])
def test_several_classes_match_too(metric: str) -> None:
    current = triple(2000, 12, shift=0.7)
    one = estimate(metric, triple(2000, 11), current.score, current.decision, seed=1, realised=current, draws=40)
    assert one.agrees
    assert one.calibration.trusted


def test_a_changed_concept_is_beyond_it_and_the_realised_value_tells() -> None:
    current = stream(2000, 22, flipped=0.2)
    one = estimate("accuracy", stream(3000, 21), current.score, current.decision, seed=2, realised=current, draws=60)
    assert one.agrees is False
    assert one.calibration.trusted
    assert one.expected.value - one.realised.value > 0.08  # type: ignore[operator, union-attr]


def test_a_score_that_is_only_too_sure_is_trusted_and_a_concept_that_changed_in_the_reference_is_not() -> None:
    good = check_calibration(stream(2000, 31), seed=1)
    assert good.trusted
    assert good.p >= 0.02
    before, after = stream(2000, 32), stream(1000, 33, flipped=0.3)
    mixed = Answers(*(np.concatenate([getattr(one, name) for one in (before, after)])
                      for name in ("label", "decision", "score", "weight")))  # fmt: skip
    bad = check_calibration(mixed, seed=1)
    assert not bad.trusted
    assert bad.p < 0.02
    assert "is not to be trusted" in bad.why


def test_chance_alone_is_seldom_distrusted() -> None:
    """Calibration holds: p at or below 0.05 in about 1 of 20; at most 8 of 60 (3 standard errors)."""
    low = sum(check_calibration(stream(600, seed), seed=seed, draws=39, tolerance=0).p <= 0.05 for seed in range(60))
    assert low <= 8


def test_too_little_to_go_on_gives_no_value() -> None:
    few = estimate("accuracy", stream(90, 1), np.array([0.5]), np.array([1.0]), seed=1)
    assert few.expected.value is None
    assert not few.calibration.trusted
    assert "at least 100" in few.expected.why
    none = estimate("accuracy", stream(200, 1), np.empty(0), np.empty(0), seed=1)
    assert none.expected.value is None
    assert none.agrees is None
    with pytest.raises(UsageError, match="cannot be estimated"):
        estimate("mae", stream(200, 1), np.empty(0), np.empty(0), seed=1)


def test_the_same_seed_gives_the_same_estimate() -> None:
    reference, current = stream(300, 1), stream(100, 2)
    first, again = (
        estimate("accuracy", reference, current.score, current.decision, seed=7, draws=20) for _ in range(2)
    )
    assert first == again


def test_a_metric_that_chance_rarely_defines_has_no_estimate() -> None:
    """Nothing is predicted positive, so precision is not defined."""
    current = stream(60, 3)
    one = estimate("precision", stream(200, 1), current.score, np.zeros(60), seed=1, draws=20)
    assert one.expected.value is None
    assert "undefined" in one.expected.why
