from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType
from fairlead.serve.graph.condition import Condition, parse


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("a.score > 0.5", Condition("a.score", ">", 0.5)),
        ("a.score>=1", Condition("a.score", ">=", 1.0)),
        (" age of x <= -3e2 ", Condition("age of x", "<=", -300.0)),
        ("lang.label == 'de'", Condition("lang.label", "==", "de")),
        ('lang.label != "a > b"', Condition("lang.label", "!=", "a > b")),
        ("flag == true", Condition("flag", "==", True)),
        ("not a", Condition(unless="a")),
    ],
)
def test_what_is_read(said: str, found: Condition) -> None:
    assert parse(said) == found


@pytest.mark.parametrize(
    "said", ["", "a", "a >", "> 1", "a = 1", "a > b", "a > NaN", "a > [1]", "not", "not a b", "a in 1"]
)
def test_what_is_no_condition(said: str) -> None:
    with pytest.raises(UsageError, match="is no condition"):
        parse(said)


def test_rows_are_chosen_one_by_one_and_nan_by_none() -> None:
    values = np.array([0.4, 0.6, np.nan])
    assert parse("x > 0.5").holds(values).tolist() == [False, True, False]
    assert parse("x <= 0.5").holds(values).tolist() == [True, False, False]
    assert parse("x != 0.6").holds(values[:, None]).tolist() == [True, False, True]
    assert parse("x == 'b'").holds(np.array(["a", "b"], object)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ("x > 1", {DataType.FP32, DataType.INT8}),
        ("x == 1", {DataType.FP32, DataType.INT8}),
        ("x == 'a'", {DataType.BYTES}),
        ("x > 'a'", set()),
        ("x == true", {DataType.BOOL}),
        ("x < true", set()),
    ],
)
def test_what_can_be_compared(said: str, kinds: set[DataType]) -> None:
    assert {
        kind for kind in (DataType.FP32, DataType.INT8, DataType.BYTES, DataType.BOOL) if parse(said).fits(kind)
    } == kinds
