from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead.contracts.errors import MalformedBody, SourceNotFound
from fairlead.contracts.types import DataType
from fairlead.package.table import column, from_rows, read_csv


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (["1", "-2", "0"], DataType.INT64),
        (["1", "2", ""], DataType.FP64),
        (["1", "2", " "], DataType.FP64),
        (["1.5", "2e3", ".5", "nan"], DataType.FP64),
        (["", ""], DataType.FP64),
        (["00123", "12345"], DataType.BYTES),
        (["1_000", "2"], DataType.BYTES),
        (["99999999999999999999", "1"], DataType.FP64),
        (["true", "False"], DataType.BOOL),
        (["true", ""], DataType.BYTES),
        (["true", "maybe"], DataType.BYTES),
        (["a", "1"], DataType.BYTES),
    ],
)
def test_a_column_takes_the_type_that_fits_every_value(values: list[str], datatype: DataType) -> None:
    assert column(values).dtype == datatype.numpy
    assert column(values).shape == (len(values), 1)


def test_blanks_are_missing() -> None:
    table = from_rows([["n", "s"], ["1", "x"], [" ", "  "]])
    assert np.isnan(table["n"][1, 0])
    assert table["s"].tolist() == [["x"], [None]]


def test_types_overrule() -> None:
    table = from_rows([["zip", "n"], ["123", "4"]], {"zip": DataType.BYTES, "n": DataType.FP64})
    assert table["zip"].tolist() == [["123"]]
    assert table["n"].dtype == np.float64


def test_a_value_of_another_type_is_named() -> None:
    with pytest.raises(MalformedBody, match="line 3, column 'n': expected INT64, found 'x'"):
        from_rows([["n"], ["1"], ["x"]], {"n": DataType.INT64})
    with pytest.raises(MalformedBody, match="found a blank"):
        from_rows([["n", "m"], ["", "1"]], {"n": DataType.INT64})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "column 'a' twice"),
        ("a,b\n1\n", "line 2: expected 2 values, found 1"),
        ('a\n"x\n', "not a CSV file"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(MalformedBody, match=said):
        read_csv(path)


def test_read_csv_keeps_order_and_drops_the_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\ufeffb,a\r\n1,x\r\n\r\n2,y\r\n", encoding="utf-8")
    table = read_csv(path)
    assert list(table) == ["b", "a"]
    assert table["b"].tolist() == [[1], [2]]


def test_a_header_alone_has_no_rows() -> None:
    assert from_rows([["a", "b"]])["a"].shape == (0, 1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        read_csv(tmp_path / "none.csv")
