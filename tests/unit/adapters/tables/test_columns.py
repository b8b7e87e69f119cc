"""Arrow columns and texts to what a model takes."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from fairlead.adapters.tables.columns import parsed, typed
from fairlead.adapters.tables.text import records
from fairlead.contracts.tables import Cells, Need
from fairlead.contracts.types import DataType


def parse(texts: list[str], datatype: DataType, **more: bool) -> tuple[Cells, dict[int, str]]:
    bad: dict[int, str] = {}
    return parsed(pa.array(texts), "x", Need(datatype, **more), bad), bad


def test_numbers_as_people_write_them() -> None:
    cells, bad = parse(["1", " 2.5 ", "-1e3", ".5", "", "NA", "nan", "inf", "+7"], DataType.FP32)
    assert cells.values[:4].tolist() == [1.0, 2.5, -1000.0, 0.5]
    assert np.isnan(cells.values[4:7]).all()
    assert math.isinf(cells.values[7])
    assert bad == {}


@pytest.mark.parametrize("text", ["many", "1_000", "0x10", "1,5", "--1", "1e", "\u0661"])
def test_texts_that_are_no_number(text: str) -> None:
    for datatype in (DataType.FP64, DataType.INT64):
        cells, bad = parse(["1", text, "3"], datatype)
        assert list(bad) == [1]
        assert repr(text) in bad[1]
        assert (cells.values[0], cells.values[2]) == (1, 3)


def test_whole_numbers_stay_exact_whatever_is_beside_them() -> None:
    big = 2**62 + 1
    for beside in ("", "3.0", "x", "+5"):
        cells, _ = parse([str(big), beside], DataType.INT64)
        assert cells.values[0] == big
    cells, bad = parse([str(2**63), "1.5", "", "4"], DataType.INT64)
    assert sorted(bad) == [0, 1]
    assert cells.missing is not None
    assert cells.missing.tolist() == [False, False, True, False]
    cells, bad = parse([str(2**64 - 1), "", "7"], DataType.UINT64)
    assert cells.values[0] == 2**64 - 1
    assert bad == {}


def test_truths_and_texts() -> None:
    cells, bad = parse(["true", "0", " TRUE", "", "yes"], DataType.BOOL)
    assert cells.values[:3].tolist() == [True, False, True]
    assert cells.missing is not None
    assert cells.missing.tolist() == [False, False, False, True, False]
    assert list(bad) == [4]
    assert parse(["", "NA", "a"], DataType.BYTES)[0].values.tolist() == [None, "NA", "a"]
    assert parse(["", "NA", "a"], DataType.BYTES, blanks=True)[0].values.tolist() == [None, None, "a"]


def test_typed_columns() -> None:
    bad: dict[int, str] = {}
    cells = typed(pa.array([2**62 + 1, None]), Need(DataType.INT64), bad)
    assert cells.values[0] == 2**62 + 1
    assert cells.missing is not None
    assert np.isnan(typed(pa.array([1, None]), Need(DataType.FP32), bad).values[1])
    coded = pa.array(["a", None, "a"]).dictionary_encode()
    assert typed(coded, Need(DataType.BYTES), bad).values.tolist() == ["a", None, "a"]
    assert typed(pa.array([b"a", b"\xff"]), Need(DataType.BYTES), bad).values.tolist() == ["a", b"\xff"]
    assert bad == {}
    lists = typed(pa.array([[1.0, 2.0], None, [3.0], [4.0, 5.0]]).slice(0), Need(DataType.FP32, 2), bad)
    assert lists.values.tolist() == [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [4.0, 5.0]]
    assert sorted(bad) == [1, 2]
    sliced = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)).slice(1)
    assert typed(sliced, Need(DataType.FP32, 2), {}).values.tolist() == [[3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a\n"b\nc"\nd', [b"a\n", b'"b\nc"\n', b"d"]),
        (b'5" pipe\nx\n', [b'5" pipe\n', b"x\n"]),
        (b'5" pipe,"a\nb"\n', [b'5" pipe,"a\nb"\n']),
        (b'"a""\n""b"\nc\n', [b'"a""\n""b"\n', b"c\n"]),
        (b'x,"open\ny\n', [b'x,"open\ny\n']),
    ],
)
def test_rows_end_where_quotes_let_them(data: bytes, expected: list[bytes]) -> None:
    assert list(records(data.splitlines(keepends=True), quoted=True)) == expected
