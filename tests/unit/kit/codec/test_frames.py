from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.types import DataType
from fairlead.kit.codec.frames import to_tensors


def item(name: str, datatype: str, *shape: int) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


TABLE = [item("age", "INT64", -1, 1), item("income", "FP32", -1, 1), item("city", "BYTES", -1, 1)]
MATRIX = [item("x", "FP32", -1, 2)]


def test_a_frame_by_column() -> None:
    frame = pd.DataFrame({"age": [1, 2], "income": [1.5, None], "city": ["Oslo", None]})
    table = to_tensors(frame, TABLE)
    assert table.arrays["age"].tolist() == [[1], [2]]
    assert table.arrays["income"].dtype == np.float32
    assert np.isnan(table.arrays["income"][1, 0])
    assert table.arrays["city"][0, 0] == "Oslo"
    assert table.as_json == {"city"}


def test_frames_of_every_column_kind() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None], "Int64"),
            "category": pd.Categorical(["a", "b"]),
            "when": pd.to_datetime(["2024-01-02T03:04:05", None]),
            "flag": [True, False],
        }
    )
    arrays = to_tensors(frame, []).arrays
    assert arrays["nullable"].tolist()[0] == 1.0
    assert np.isnan(arrays["nullable"][1])
    assert arrays["category"].tolist() == ["a", "b"]
    assert arrays["when"].tolist()[0].startswith("2024-01-02T03:04:05")
    assert arrays["when"].tolist()[1] is None
    assert arrays["flag"].dtype == bool


def test_a_frame_for_a_model_of_one_matrix() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert to_tensors(frame, MATRIX).arrays["x"].tolist() == [[1.0, 0.5], [2.0, 1.5]]


def test_rows_and_dicts() -> None:
    rows = [{"age": 1, "city": "a"}, {"age": 2, "income": 2.5}]
    arrays = to_tensors(rows, TABLE).arrays
    assert arrays["city"].ravel().tolist() == ["a", None]
    assert np.isnan(arrays["income"][0, 0])
    assert to_tensors({"age": 3, "city": "b"}, TABLE).arrays["age"].tolist() == [[3]]


def test_bare_arrays_need_one_input() -> None:
    assert to_tensors([[1, 2]], MATRIX).arrays["x"].tolist() == [[1, 2]]
    with pytest.raises(InvalidTensor, match="age, income, city"):
        to_tensors(np.zeros((1, 3)), TABLE)


def test_what_cannot_be_sent() -> None:
    with pytest.raises(InvalidTensor, match="'x'.*ragged"):
        to_tensors({"x": [[1, 2], [3]]}, MATRIX)
    with pytest.raises(InvalidTensor, match="'city'.*int and str"):
        to_tensors({"city": ["a", 1]}, TABLE)


def test_floats_keep_their_range() -> None:
    assert to_tensors({"x": [[1.0, 1e300]]}, MATRIX).arrays["x"].dtype == np.float64
    assert to_tensors({"x": [[1.0, 2.0]]}, MATRIX).arrays["x"].dtype == np.float32


def test_bf16_is_named() -> None:
    assert to_tensors(np.zeros((1, 2)), [item("x", "BF16", -1, 2)]).datatypes == {"x": DataType.BF16}


def test_a_column_of_gaps_only() -> None:
    assert np.isnan(to_tensors({"income": [None, None]}, TABLE).arrays["income"]).all()
