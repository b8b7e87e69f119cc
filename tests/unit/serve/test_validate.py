from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from samples import MATRIX, STRICT, TABLE, column

from fairlead.contracts.errors import InvalidParameter, InvalidTensor
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec
from fairlead.serve.validate import parameters, plan_of, validate


def one(datatype: DataType, **more: Any) -> Signature:
    return Signature((TensorSpec("t", datatype, (-1,), **more),))


def objects(*values: object) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def full(**more: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "age": np.array([[1]]),
        "income": np.array([[1.0]]),
        "city": np.array([["a"]], object),
        "member": np.array([[True]]),
        "note": np.array([["n"]], object),
        **more,
    }


def test_nothing_is_copied_where_nothing_changes() -> None:
    array = np.zeros((4, 3), np.float32)
    assert validate({"x": array}, MATRIX)["x"] is array


def test_columns_may_be_flat() -> None:
    given = {name: array.ravel() for name, array in full().items()}
    assert {array.shape for array in validate(given, TABLE).values()} == {(1, 1)}


def test_the_order_is_the_signature_s() -> None:
    given = dict(reversed(full().items()))
    assert list(validate(given, TABLE)) == [spec.name for spec in TABLE.inputs]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.array([1, 2], np.int8), DataType.INT64),
        (np.array([1, 2], np.int64), DataType.INT8),
        (np.array([1, 2], np.uint64), DataType.INT16),
        (np.array([1, 2], np.int64), DataType.FP32),
        (np.array([1.0, 2.0], np.float64), DataType.FP32),
        (np.array([1.0, 2.0], np.float16), DataType.FP64),
        (np.array([1.0, 2.0], np.float64), DataType.INT64),
        (np.array([1, 2], ">i4"), DataType.INT32),
    ],
)
def test_safe_casts(source: np.ndarray[Any, Any], target: DataType) -> None:
    result = validate({"t": source}, one(target))["t"]
    assert result.dtype == target.numpy
    assert result.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (np.array([1, 300]), DataType.INT8, "INT8, found INT64 with value 1 = 300"),
        (np.array([-1]), DataType.UINT32, "= -1"),
        (np.array([2**63], np.uint64), DataType.INT64, "= 9223372036854775808"),
        (np.array([2.0**63]), DataType.INT64, "INT64"),
        (np.array([math.nan]), DataType.INT64, "= nan"),
        (np.array([math.inf]), DataType.INT64, "= inf"),
        (np.array([0.5]), DataType.INT64, "= 0.5"),
        (np.array([1e39]), DataType.FP32, "FP32, found FP64 with value 0 = 1e"),
        (np.array([True]), DataType.FP32, "expected FP32, found BOOL"),
        (np.array([1]), DataType.BOOL, "expected BOOL, found INT64"),
        (np.array([1]), DataType.BYTES, "expected BYTES, found INT64"),
        (np.array(["1"], object), DataType.FP32, "expected FP32, found BYTES"),
        (np.array([1j]), DataType.FP32, "found complex128"),
    ],
)
def test_casts_that_would_change_a_value(source: np.ndarray[Any, Any], target: DataType, words: str) -> None:
    with pytest.raises(InvalidTensor) as caught:
        validate({"t": source}, one(target))
    assert words in str(caught.value)


def test_infinity_stays_infinity() -> None:
    assert validate({"t": np.array([math.inf])}, one(DataType.FP32))["t"].tolist() == [math.inf]


@pytest.mark.parametrize(
    ("missing", "value", "required", "expected"),
    [
        (Missing.NAN, None, True, math.nan),
        (Missing.NONE, None, True, None),
        (Missing.VALUE, "none", True, "none"),
        (Missing.UNKNOWN, None, False, None),
    ],
)
@pytest.mark.parametrize("gap", [None, math.nan])
def test_missing_strings(missing: Missing, value: Any, required: bool, expected: Any, gap: Any) -> None:
    signature = one(DataType.BYTES, missing=missing, missing_value=value, required=required)
    (first, second) = validate({"t": objects(gap, "a")}, signature)["t"]
    assert str(first) == str(expected)
    assert second == "a"


@pytest.mark.parametrize("missing", [Missing.FORBID, Missing.UNKNOWN])
def test_missing_strings_refused(missing: Missing) -> None:
    signature = one(DataType.BYTES, missing=missing)
    with pytest.raises(InvalidTensor, match="'t': value 1 is missing"):
        validate({"t": objects("a", None)}, signature)
    assert validate({"t": objects("", "a")}, signature)["t"].tolist() == ["", "a"]


def test_an_empty_string_is_missing_where_missing_is_mapped() -> None:
    signature = one(DataType.BYTES, missing=Missing.VALUE, missing_value="none")
    assert validate({"t": objects("", " ", "a")}, signature)["t"].tolist() == ["none", " ", "a"]


def test_missing_numbers() -> None:
    gap = np.array([math.nan, 2.0])
    assert math.isnan(validate({"t": gap}, one(DataType.FP64))["t"][0])
    assert math.isnan(validate({"t": gap}, one(DataType.FP64, missing=Missing.NAN))["t"][0])
    assert validate({"t": gap}, one(DataType.FP64, missing=Missing.VALUE, missing_value=-1))["t"].tolist() == [-1, 2]
    assert validate({"t": gap}, one(DataType.INT64, missing=Missing.VALUE, missing_value=-1))["t"].tolist() == [-1, 2]
    with pytest.raises(InvalidTensor, match="value 0 is missing"):
        validate({"t": gap}, one(DataType.FP64, missing=Missing.FORBID))


def test_absent_optional_columns_are_filled() -> None:
    given = full()
    del given["note"]
    assert validate(given, TABLE)["note"].tolist() == [[None]]


def test_an_optional_column_that_nothing_can_stand_for_stays_absent() -> None:
    signature = Signature((column("a", DataType.FP64), column("b", DataType.INT64, required=False)))
    assert list(validate({"a": np.array([1.0, 2.0])}, signature)) == ["a"]


def test_no_rows_are_a_call() -> None:
    assert validate({"x": np.zeros((0, 3), np.float32)}, MATRIX)["x"].shape == (0, 3)


def test_results_are_contiguous() -> None:
    strided = np.zeros((3, 4), np.float32).T
    assert validate({"x": strided}, MATRIX)["x"].flags.c_contiguous


def test_unbatched_models_have_no_rows() -> None:
    signature = Signature((TensorSpec("a", DataType.FP32, ()), TensorSpec("b", DataType.FP32, (-1, -1))), batched=False)
    given = {"a": np.float32(1).reshape(()), "b": np.zeros((2, 5), np.float32)}
    assert validate(given, signature)["a"].shape == ()


def test_objects_in_a_string_tensor() -> None:
    with pytest.raises(InvalidTensor, match="expected BYTES, found int at value 1"):
        validate({"t": objects("a", 1)}, one(DataType.BYTES))


def test_plans_are_bounded_and_by_identity() -> None:
    assert plan_of(MATRIX) is plan_of(MATRIX)
    for _ in range(600):
        plan_of(one(DataType.FP32))
    assert plan_of(MATRIX).signature is MATRIX


def test_parameters() -> None:
    given = {"threshold": 1, "mode": "slow", "anything": True}
    assert parameters(given, TABLE) == given
    assert parameters(None, TABLE) == {}
    for bad in ({"threshold": True}, {"mode": 3}, {"free": None}, {"free": {}}):
        with pytest.raises(InvalidParameter, match=f"'{next(iter(bad))}'"):
            parameters(bad, TABLE)


def test_parameters_with_a_kind() -> None:
    specs = (
        ParamSpec("flag", DataType.BOOL),
        ParamSpec("many", DataType.FP64, shape=(-1,)),
        ParamSpec("k", DataType.INT64),
    )
    signature = Signature((), params=specs)
    assert parameters({"flag": True, "many": 0.5, "k": 3}, signature) == {"flag": True, "many": 0.5, "k": 3}
    for bad in ({"flag": 1}, {"many": [0.5]}, {"k": 1.5}):
        with pytest.raises(InvalidParameter, match=f"'{next(iter(bad))}'"):
            parameters(bad, signature)


def test_strings_of_numpy_s_own_kind() -> None:
    assert validate({"t": np.array(["a", "b"])}, one(DataType.BYTES))["t"].tolist() == ["a", "b"]


def test_an_optional_float_takes_gaps() -> None:
    signature = Signature((column("a", DataType.INT64), column("b", DataType.FP64, required=False)))
    assert math.isnan(validate({"a": np.array([1])}, signature)["b"][0, 0])


def test_a_model_that_forbids_gaps_takes_whole_rows() -> None:
    array = np.ones((1, 3), np.float32)
    assert validate({"x": array}, STRICT)["x"] is array


def test_unknown_names() -> None:
    with pytest.raises(InvalidTensor, match="unknown input 'y'; the model takes x"):
        validate({"y": np.ones((1, 3))}, MATRIX)
