"""What the demo makes of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.demo import data
from fairlead.demo.data import MISSING


def write(path: Path, header: str, lines: list[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"c{i},{i % 7 or ''},{'a' if i % 3 else ''},{i % 2 == 0},{i % 2}" for i in range(120)]
    return write(tmp_path / "My Table.csv", "id,n,s,flag,y", lines)


def test_types_missing_tokens_and_what_is_left_out(table: Path) -> None:
    found = data.from_csv(table, "y", None)
    assert found.name == "my-table"
    assert found.numeric == ("n",)
    assert found.text == ("s", "flag")
    assert found.dropped == {"id": "as good as unique: it says who a row is"}
    assert set(found.train["s"]) == {"a", MISSING}
    assert set(found.train["flag"]) == {"True", "False"}
    assert found.train["n"].isna().any()
    assert found.classes == (0, 1)
    assert len(found.held_out) == 30
    assert not set(found.train.index) & set(found.held_out.index)


def test_a_quantity_is_not_a_class(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "x,y", [f"{i},{i / 3:.2f}" for i in range(100)])
    assert not data.from_csv(path, "y", None).classification


def test_rows_without_a_target_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y", [f"{i},{['a', 'b', ''][i % 3]}" for i in range(120)])
    found = data.from_csv(path, "y", None)
    assert len(found.train) + len(found.held_out) == 80
    assert found.classes == ("a", "b")


@pytest.mark.parametrize(
    ("target", "identifier", "sentence"),
    [
        ("yy", None, "--target 'yy' is not a column"),
        ("y", "idd", "--id 'idd' is not a column of .*did you mean id?"),
    ],
)
def test_columns_that_are_not_there(table: Path, target: str, identifier: str | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        data.from_csv(table, target, identifier)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["1,a"] * 30, "has 30 rows with a 'y'"),
        (["1,a"] * 60, "at least two classes"),
        (["1,a"] * 60 + ["1,b"], "at least two classes"),
        ([",a", ",b"] * 30, "no column to learn from"),
        (["1,a", "1,a,b,c,d"] * 30, "does not read as CSV"),
        (["1,a,5", "1,b,5"] * 30, "does not read as CSV"),
        ([f"1,k{i}" for i in range(60)], r"found {'k0': 1, .* and 55 more$"),
    ],
)
def test_tables_that_will_not_do(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        data.from_csv(write(tmp_path / "t.csv", "x,y", lines), "y", None)


def test_infinite_numbers_are_missing_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y", [f"{'inf' if i % 9 == 0 else i},{i % 2}" for i in range(100)])
    found = data.from_csv(path, "y", None)
    assert found.train["x"].isna().any()
    assert np.isfinite(found.train["x"].dropna()).all()


def test_dates_are_no_categories(tmp_path: Path) -> None:
    lines = [f"2024-{i % 12 + 1:02}-{i % 28 + 1:02} {i % 5:02}:00,{i},{i % 2}" for i in range(1000)]
    found = data.from_csv(write(tmp_path / "t.csv.gz.csv", "day,x,y", lines), "y", None)
    assert found.name == "t"
    assert found.dropped == {"day": "420 different values: too many to be categories"}


def test_the_target_does_not_name_the_rows(table: Path) -> None:
    with pytest.raises(UsageError, match="both name 'y'"):
        data.from_csv(table, "y", "y")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        data.from_csv(tmp_path / "absent.csv", "y", None)
