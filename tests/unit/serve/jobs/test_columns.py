"""Which column is which input, what the output has, and how large a batch is."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import InvalidTensor, UsageError
from fairlead.contracts.tables import Field, Need
from fairlead.contracts.types import DataType, Missing, Signature, TensorSpec
from fairlead.serve.jobs.columns import BYTES, LARGEST, batch_rows, choose, kept, layout

AGE = TensorSpec("age", DataType.FP32, (-1, 1), column=True)
PLAN = TensorSpec("plan", DataType.BYTES, (-1, 1), column=True, required=False, missing=Missing.NONE)
X = Signature((TensorSpec("X", DataType.FP32, (-1, 3)),), (TensorSpec("row", DataType.FP32, (-1, -1)),))
TABLE = Signature((AGE, PLAN), (TensorSpec("label", DataType.BYTES, (-1,)),))


def fields(*names: str) -> list[Field]:
    return [Field(name) for name in names]


def test_columns_by_name_and_optional_ones_may_be_absent() -> None:
    both = choose(TABLE, fields("id", "plan", "age"), "t.csv")
    assert [source.columns for source in both.sources] == [("age",), ("plan",)]
    assert both.needs == {"age": Need(DataType.FP32), "plan": Need(DataType.BYTES, blanks=True)}
    assert [source.name for source in choose(TABLE, fields("age"), "t.csv").sources] == ["age"]


def test_a_required_column_that_is_absent_is_named_with_its_nearest() -> None:
    with pytest.raises(InvalidTensor, match=r"t\.csv has no column 'age', which the model needs; did you mean aged\?"):
        choose(TABLE, fields("aged", "plan"), "t.csv")
    with pytest.raises(InvalidTensor, match="none of the columns"):
        choose(Signature((PLAN,)), fields("other"), "t.csv")


@pytest.mark.parametrize(
    ("names", "keep", "columns", "expected"),
    [
        (("X_2", "X_0", "X_1", "id"), (), (), ("X_0", "X_1", "X_2")),
        (("p", "q", "r"), (), (), ("p", "q", "r")),
        (("id", "p", "q", "r"), ("id",), (), ("p", "q", "r")),
        (("p", "q", "r"), ("p",), (), ("p", "q", "r")),
        (("p", "q", "r", "s"), (), ("s", "p", "q"), ("s", "p", "q")),
    ],
)
def test_one_tensor_of_several_columns(
    names: tuple[str, ...], keep: tuple[str, ...], columns: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert choose(X, fields(*names), "t.csv", keep, columns).sources[0].columns == expected


def test_a_column_of_lists_is_the_tensor() -> None:
    found = choose(X, [Field("X", nested=True), Field("id")], "t.jsonl")
    assert found.needs == {"X": Need(DataType.FP32, 3)}


def test_what_could_be_anything_must_be_named() -> None:
    with pytest.raises(InvalidTensor, match="4 columns could be meant; name them with --columns"):
        choose(X, fields("p", "q", "r", "s"), "t.csv")
    with pytest.raises(UsageError, match="one input"):
        choose(TABLE, fields("age", "plan"), "t.csv", columns=("age",))
    with pytest.raises(InvalidTensor, match="has no column 'z'"):
        choose(X, fields("p"), "t.csv", columns=("z",))


@pytest.mark.parametrize(
    ("field", "fine"),
    [
        (Field("age", DataType.INT64, "int64"), True),
        (Field("age", None, "null"), True),
        (Field("age", DataType.BYTES, "string"), False),
        (Field("age", DataType.BOOL, "bool"), False),
        (Field("age", None, "timestamp[us]"), False),
        (Field("age", DataType.FP32, "list<float>", nested=True), True),
    ],
)
def test_types_that_a_file_has_are_checked_before_anything_is_scored(field: Field, fine: bool) -> None:
    if fine:
        choose(Signature((AGE,)), [field], "t.parquet")
    else:
        with pytest.raises(InvalidTensor, match=r"column 'age' is .*, and the model takes FP32"):
            choose(Signature((AGE,)), [field], "t.parquet")


def test_models_without_rows_or_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match="counts rows"):
        choose(Signature((AGE,), batched=False), fields("age"), "t.csv")
    with pytest.raises(UsageError, match="does not say what it takes"):
        choose(Signature(()), fields("age"), "t.csv")


def test_kept_columns() -> None:
    assert kept(fields("a", "b"), ("*",), "t.csv") == ("a", "b")
    assert kept(fields("a", "b"), ("b", "a", "b"), "t.csv") == ("b", "a")
    with pytest.raises(UsageError, match="--keep c: t.csv has no such column"):
        kept(fields("a"), ("c",), "t.csv")


def test_names_that_are_taken_are_told_apart() -> None:
    found = layout(X, {"row": np.zeros((1, 2))}, ("row", "out.row_1", "id"), b"schema")
    assert [(output.column, output.tail) for output in found.outputs] == [("out.row", (2,))]
    assert found.names == ("in.row", "in.out.row_1", "id")
    assert layout(X, None, (), b"").outputs[0].tail == (-1,)


def test_a_batch_is_as_large_as_rows_are_small_and_never_measured() -> None:
    assert batch_rows(X) == LARGEST
    assert batch_rows(X, limit=1) == 1
    image = Signature((TensorSpec("x", DataType.FP32, (-1, 3, 224, 224)),))
    assert batch_rows(image) == BYTES // (4 * 3 * 224 * 224) == 1
    assert batch_rows(Signature(tuple(TensorSpec(str(at), DataType.BYTES, (-1, 1)) for at in range(64)))) == 512
