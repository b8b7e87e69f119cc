"""Shapley values against the definition, and against what is known in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.explain.shapley import EXACT_COLUMNS, Values, cells, design, values

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]


def explained(f: Function, row: Array, background: Array, samples: int = 64, seed: int = 0) -> Values:
    plan = design(len(row), len(background), samples, seed)
    return values(plan, f(np.where(plan.own, row, background[plan.rows])))


def by_definition(f: Function, row: Array, background: Array) -> Array:
    """The mean over every order of the columns of what a column adds when its turn comes."""

    def worth(columns: tuple[int, ...]) -> float:
        rows = background.copy()
        rows[:, list(columns)] = row[list(columns)]
        return float(f(rows).mean())

    phi = np.zeros(len(row))
    for order in itertools.permutations(range(len(row))):
        for place, column in enumerate(order):
            phi[column] += worth(order[: place + 1]) - worth(order[:place])
    return phi / math.factorial(len(row))


def wild(x: Array) -> Array:
    """Products, steps and a maximum: nothing that adds up."""
    found: Array = x[:, 0] * x[:, 1] + np.maximum(x[:, -1], x[:, 0]) + (x[:, 1] > 0.3) * 2.0
    return found


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000))
def test_few_columns_are_exact(columns: int, background: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    row, rows = random.normal(size=columns), random.normal(size=(background, columns))
    found = explained(wild, row, rows)
    np.testing.assert_allclose(found.phi, by_definition(wild, row, rows), atol=1e-9)
    assert found.errors is None
    assert found.base == pytest.approx(wild(rows).mean())
    assert found.value == pytest.approx(wild(row[None])[0])


@given(st.integers(1, 24), st.integers(1, 40), st.integers(1, 30), st.integers(0, 1000))
def test_of_a_linear_model_they_are_weight_times_distance_from_the_mean(
    columns: int, background: int, samples: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    weights, row = random.normal(size=columns), random.normal(size=columns)
    rows = random.normal(size=(background, columns))
    plan = design(columns, background, samples)
    used = rows[: plan.background]
    found = explained(lambda x: x @ weights + 3, row, rows, samples)
    np.testing.assert_allclose(found.phi, weights * (row - used.mean(axis=0)), atol=1e-9)


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 30), st.integers(0, 1000))
def test_they_add_up_whatever_the_model(columns: int, background: int, samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    row, rows = random.normal(size=columns), random.normal(size=(background, columns))
    f = (lambda x: x[:, 0] ** 3) if columns == 1 else wild
    found = explained(f, row, rows, samples)
    used = rows[: design(columns, background, samples).background]
    assert found.phi.sum() == pytest.approx(found.value - found.base, abs=1e-9)
    assert found.base == pytest.approx(f(used).mean())


def test_a_column_that_does_nothing_gets_nothing_and_twins_get_the_same() -> None:
    random = np.random.default_rng(1)
    row, rows = random.normal(size=12), random.normal(size=(8, 12))
    row[4], rows[:, 4] = row[3], rows[:, 3]
    found = explained(lambda x: np.tanh(x[:, 3] + x[:, 4]) * x[:, 0], row, rows, samples=2000)
    assert found.errors is not None
    assert found.phi[5] == 0
    assert found.phi[3] == pytest.approx(found.phi[4], abs=5 * found.errors[3])


def test_many_columns_are_near_the_truth_and_the_error_is_told() -> None:
    """Only five of twelve columns matter, so the truth is that of the five alone."""
    random = np.random.default_rng(2)
    row, rows = random.normal(size=12), random.normal(size=(16, 12))
    truth = by_definition(wild, row[:5], rows[:, :5])
    found = explained(lambda x: wild(x[:, :5]), row, rows, samples=1600)
    assert found.errors is not None
    np.testing.assert_array_less(np.abs(found.phi[:5] - truth), 5 * found.errors[:5] + 1e-9)
    assert found.errors.max() < 0.1


def test_pairs_of_opposite_orders_err_less_than_twice_as_many_orders_alone() -> None:
    random = np.random.default_rng(3)
    row, rows = random.normal(size=12), random.normal(size=(1, 12))
    f = lambda x: x[:, :3].prod(axis=1) + x.sum(axis=1)  # noqa: E731 - a function of one line
    paired, alone = [], []
    for seed in range(40):
        plan = design(12, 1, 8, seed)
        answers = f(np.where(plan.own, row, rows[plan.rows]))
        paired.append(values(plan, answers).phi)
        plan = design(12, 1, 16, seed)
        assert plan.paths is not None
        assert plan.orders is not None
        answers = f(np.where(plan.own, row, rows[plan.rows]))
        gains = np.diff(answers[plan.paths[:16]], axis=1)
        one = np.zeros((16, 12))
        np.put_along_axis(one, plan.orders[:16], gains, axis=1)
        alone.append(one.mean(axis=0))
    assert np.var(paired, axis=0).sum() < np.var(alone, axis=0).sum()


def test_the_same_request_gets_the_same_answer_and_designs_are_as_large_as_told() -> None:
    one, other = design(20, 10, 64), design(20, 10, 64)
    assert (one.own == other.own).all()
    assert one.own.size <= cells(20, 10, 64)
    assert design(EXACT_COLUMNS, 3, 1).own.size == cells(EXACT_COLUMNS, 3, 1)
