"""Decisions from a measured curve, and the measuring itself with a clock that the test owns."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Missing, Parameters, Signature, Tensors, TensorSpec
from fairlead.serve import tune
from fairlead.serve.tune import Curve, Plan

ONE = Signature(inputs=(TensorSpec("x", DataType.FP32, (-1, 3)),), outputs=(TensorSpec("y", DataType.FP32, (-1,)),))


class Timed:
    """Takes ``base + slope * rows`` seconds of a clock that only it moves; fails above ``most`` rows."""

    traits = Traits()

    def __init__(self, base: float, slope: float, most: int = 10**9, signature: Signature = ONE) -> None:
        self.signature, self.base, self.slope, self.most, self.time = signature, base, slope, most, 0.0

    def now(self) -> float:
        return self.time

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        rows = len(next(iter(inputs.values())))
        if rows > self.most:
            raise ValueError(f"no more than {self.most}")
        self.time += self.base + self.slope * rows
        return {"y": np.zeros(rows, np.float32)}

    def close(self) -> None: ...


def curve(model: Timed, limit: int = 64) -> Curve:
    return tune.measure(model, tune.example(model.signature, None), limit, model.now)


def test_measures_powers_of_two_up_to_the_limit() -> None:
    measured = curve(Timed(1e-5, 1e-6), limit=48)
    assert measured.rows == (1, 2, 4, 8, 16, 32, 48)
    assert measured.seconds == pytest.approx([1e-5 + n * 1e-6 for n in measured.rows], rel=1e-6)


def test_batches_where_it_pays_and_as_far_as_it_pays() -> None:
    always = curve(Timed(1e-4, 1e-7))
    assert tune.decide(always, 64, batched=True) == Plan(max_rows=64, coalesce=True, inline=True)
    soon_flat = Curve((1, 2, 4, 8, 16), (1.0, 1.0, 1.0, 2.0, 4.0))
    assert tune.decide(soon_flat, 16, batched=True) == Plan(max_rows=4, coalesce=True, inline=False)


def test_does_not_batch_where_it_does_not_pay() -> None:
    linear = curve(Timed(0.0, 0.030), limit=8)
    assert tune.decide(linear, 8, batched=True) == Plan(max_rows=8, coalesce=False, inline=False)


def test_a_model_without_rows_never_batches() -> None:
    assert not tune.decide(Curve((1,), (1e-5,)), 64, batched=False).coalesce
    assert tune.decide(Curve((1,), (1e-5,)), 64, batched=False).inline


def test_the_users_size_wins_over_the_curve() -> None:
    flat = Curve((1, 2, 4), (1e-4, 1e-4, 1e-4))
    assert tune.decide(flat, 4, batched=True, chosen_rows=2).max_rows == 2


def test_a_model_that_fails_on_many_rows_is_never_given_more_than_it_took() -> None:
    measured = curve(Timed(1e-4, 0.0, most=4))
    assert measured.rows == (1, 2, 4)
    assert "8 rows" in measured.problem
    assert tune.decide(measured, 64, batched=True) == Plan(max_rows=4, coalesce=True, inline=True)


def test_a_model_that_fails_on_its_example_has_no_curve_and_a_thread() -> None:
    measured = curve(Timed(1e-4, 0.0, most=0))
    assert measured.rows == ()
    assert "ValueError" in measured.problem
    assert tune.decide(measured, 64, batched=True) == Plan(max_rows=64, coalesce=True, inline=False)


def test_measuring_ends_with_the_budget() -> None:
    model = Timed(0.3, 0.0)
    assert curve(model).rows == (1,)
    assert model.time <= 6 * 0.3


def test_neutral_examples_respect_the_missing_token() -> None:
    signature = Signature(
        inputs=(
            TensorSpec("plan", DataType.BYTES, (-1, 1), column=True, missing=Missing.VALUE, missing_value="none"),
            TensorSpec("age", DataType.INT64, (-1, 1), column=True),
        )
    )
    row = tune.example(signature, None)
    assert row is not None
    assert row["plan"].tolist() == [["none"]]
    assert row["age"].dtype == np.int64
    assert tune.example(Signature(inputs=()), None) is None
    given = {"x": np.arange(6.0).reshape(2, 3)}
    assert tune.example(ONE, given)["x"].tolist() == [[0.0, 1.0, 2.0]]  # type: ignore[index]


def test_what_holds_the_gil_for_long_is_isolated() -> None:
    slow, quick = Curve((1,), (2 * tune.ISOLATE,)), Curve((1,), (tune.ISOLATE,))
    assert tune.decide(slow, 1, batched=True, releases_gil=False).isolate
    assert not tune.decide(quick, 1, batched=True, releases_gil=False).isolate
    assert not tune.decide(slow, 1, batched=True, releases_gil=True).isolate
    assert not tune.decide(Curve(), 1, batched=True, releases_gil=False).isolate


def test_a_hand_over_makes_batches_pay() -> None:
    linear = Curve((1, 2, 4), (1e-5, 2e-5, 4e-5))
    assert not tune.decide(linear, 4, batched=True).coalesce
    assert tune.decide(tune.handed_over(linear), 4, batched=True).coalesce
