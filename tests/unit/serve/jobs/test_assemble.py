"""Blocks to tensors: rows that do not pass are told apart, and cost no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.tables import Cells, Field
from fairlead.contracts.types import DataType, Missing, Signature, TensorSpec
from fairlead.serve.jobs.assemble import apart, assemble
from fairlead.serve.jobs.columns import choose


def spec(name: str, datatype: DataType, **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True, **more)


def given(**columns: Any) -> Any:
    cells = {name: found if isinstance(found, Cells) else Cells(np.asarray(found)) for name, found in columns.items()}
    return SimpleNamespace(rows=np.arange(len(next(iter(cells.values())).values)), columns=cells)


def run(signature: Signature, block: Any) -> Any:
    return assemble(block, choose(signature, [Field(name) for name in block.columns], "t"), signature)


def test_rows_that_fail_alone_are_found_by_halves() -> None:
    for bad in ([], [0], [7], [3, 4], list(range(8))):
        tried = []

        def attempt(rows: Any, bad: list[int] = bad, tried: list[int] = tried) -> None:
            tried.append(len(rows))
            if set(rows.tolist()) & set(bad):
                raise InvalidTensor("no")

        assert sorted(apart(8, attempt)) == bad
        assert len(tried) <= max(1, 2 * 4 * max(1, len(bad)))


def test_each_row_has_one_fate() -> None:
    signature = Signature(
        (spec("age", DataType.FP32, missing=Missing.FORBID), spec("n", DataType.INT8), spec("t", DataType.BYTES))
    )
    block = given(
        age=[1.0, np.nan, 3.0, 4.0, 1e300],
        n=Cells(np.array([1, 2, 300, 4, 5]), np.array([False, False, False, True, False])),
        t=np.array(list("abcde"), object),
    )
    inputs, left, refused = run(signature, block)
    assert sorted(refused) == [1, 2, 3, 4]
    assert left.tolist() == [0]
    assert {name: array.tolist() for name, array in inputs.items()} == {"age": [[1.0]], "n": [[1]], "t": [["a"]]}
    assert inputs["age"].dtype == np.float32
    assert "missing" in refused[1]
    assert "300" in refused[2]
    assert "'n' is missing" in refused[3]
    assert "cannot hold" in refused[4]


def test_what_stands_for_a_missing_value() -> None:
    signature = Signature(
        (spec("n", DataType.INT64, missing=Missing.VALUE, missing_value=-1), spec("m", DataType.FP32))
    )
    block = given(n=Cells(np.array([5, 0]), np.array([False, True])), m=[np.nan, 2.0])
    inputs, left, refused = run(signature, block)
    assert inputs["n"].tolist() == [[5], [-1]]
    assert np.isnan(inputs["m"][0, 0])
    assert left is None
    assert refused == {}


def test_columns_become_one_matrix_in_the_order_of_the_signature() -> None:
    signature = Signature((TensorSpec("X", DataType.FP32, (-1, 2, 2)),))
    inputs, left, refused = run(signature, given(p=[1.0, 1e300], q=[2, 2], r=[3.0, 3], s=np.array([4, 4], np.int8)))
    assert inputs["X"].tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    assert inputs["X"].flags.c_contiguous
    assert left.tolist() == [0]
    assert list(refused) == [1]


def test_no_rows_and_no_good_rows() -> None:
    signature = Signature((spec("age", DataType.FP32, missing=Missing.FORBID),))
    assert run(signature, given(age=np.empty(0)))[0]["age"].shape == (0, 1)
    inputs, left, refused = run(signature, given(age=[np.nan, np.nan]))
    assert inputs == {}
    assert len(left) == 0
    assert len(refused) == 2
