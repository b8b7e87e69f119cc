from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.package import examples

TABLE = Signature(
    (
        TensorSpec("age", DataType.FP64, (-1, 1), column=True),
        TensorSpec("plan", DataType.BYTES, (-1, 1), column=True),
        TensorSpec("note", DataType.BYTES, (-1, 1), column=True, required=False),
    )
)
MATRIX = Signature((TensorSpec("input", DataType.FP32, (-1, 2)),), tensor=True)
SPLIT = {"columns": ["plan", "age"], "data": [["gold", 1], [None, None]]}
RECORDS = [{"plan": "gold", "age": 1}, {"plan": None, "age": None}]


@pytest.mark.parametrize("document", [SPLIT, {"dataframe_split": SPLIT}, {"dataframe_records": RECORDS}, RECORDS])
def test_tables(document: Any) -> None:
    found = examples.tensors(document, TABLE)
    assert list(found) == ["age", "plan"]
    assert found["age"].dtype == np.float64
    assert found["age"][0, 0] == 1
    assert np.isnan(found["age"][1, 0])
    assert found["plan"].tolist() == [["gold"], [None]]


@pytest.mark.parametrize(
    "document",
    [
        [[1, 2], [3, 4]],
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"input": [[1, 2], [3, 4]]}},
        {"instances": [[1, 2], [3, 4]]},
        {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]},
    ],
)
def test_matrices(document: Any) -> None:
    found = examples.tensors(document, MATRIX)
    assert found["input"].dtype == np.float32
    assert found["input"].tolist() == [[1, 2], [3, 4]]


def test_the_file_that_the_mlmodel_names_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps([[5, 6]]))
    (tmp_path / "input_example.json").write_text(json.dumps([[1, 2]]))
    info = {"saved_input_example_info": {"artifact_path": "mine.json"}}
    found = examples.read(tmp_path, info, MATRIX)
    assert found is not None
    assert found["input"].tolist() == [[5, 6]]


@pytest.mark.parametrize("text", ["", "[", "[[1]]", '{"columns": ["x"], "data": [[1]]}', "7", "[[1, [2]]]", '"no"'])
def test_what_does_not_fit_is_no_example(tmp_path: Path, text: str) -> None:
    (tmp_path / "input_example.json").write_text(text)
    assert examples.read(tmp_path, {}, TABLE) is None
    assert examples.read(tmp_path, {}, MATRIX) is None


def test_an_example_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "outside.json").write_text(json.dumps([[1, 2]]))
    info = {"saved_input_example_info": {"artifact_path": "../outside.json"}}
    assert examples.read(tmp_path / "model", info, MATRIX) is None


def test_whole_numbers_do_not_lose_their_fraction() -> None:
    counts = Signature((TensorSpec("n", DataType.INT64, (-1, 1), column=True),))
    assert examples.tensors([{"n": 3}], counts)["n"].tolist() == [[3]]
    with pytest.raises(TypeError):
        examples.tensors([{"n": 3.5}], counts)
