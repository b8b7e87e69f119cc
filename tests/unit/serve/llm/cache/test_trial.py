"""The bounds against scipy, and the error rate of the rule by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from fairlead.serve.llm.cache.trial import HIGHEST, Trial, lower, upper


@pytest.mark.parametrize(("false", "looked"), [(0, 1), (0, 300), (3, 300), (7, 8), (8, 8), (150, 300), (1, 5000)])
def test_bounds_are_those_of_clopper_and_pearson(false, looked):
    for alpha in (0.05, 0.001):
        wanted = 1.0 if false == looked else beta.ppf(1 - alpha, false + 1, looked - false)
        assert upper(false, looked, alpha) == pytest.approx(wanted, abs=1e-9)
        wanted = 0.0 if false == 0 else beta.ppf(alpha, false, looked - false + 1)
        assert lower(false, looked, alpha) == pytest.approx(wanted, abs=1e-9)


def run(rate: float, seed: int, hits: int) -> Trial:
    dice, trial = np.random.default_rng(seed), Trial(0.9, 0.02)
    for same in dice.random(hits) >= rate:
        trial = trial.seen(same=bool(same))
    return trial


def test_a_cache_within_its_budget_is_seldom_held_back():
    raised = sum(run(0.02, seed, 600).threshold > 0.9 for seed in range(200))
    assert raised <= 0.05 * 200 + 3


def test_a_cache_that_is_often_wrong_ends_off():
    trial = run(0.5, 1, 2000)
    assert trial.off
    assert trial.threshold > HIGHEST


def test_what_is_known_is_told():
    trial = Trial(0.9, 0.01)
    for _ in range(300):
        trial = trial.seen(same=True)
    low, high = trial.bounds()
    assert low == 0.0
    assert high == pytest.approx(0.00994, abs=1e-4)
