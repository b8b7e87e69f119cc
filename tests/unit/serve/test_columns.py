"""Inputs and outputs of many calls, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import Columns
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.columns import Keeping, columns_of, joined


def empty(rows: list[int], codes: list[str]) -> Columns:
    count = len(rows)
    ids = [f"p{at}" for at in range(count)]
    return Columns("churn", "1", "champion", ids, np.arange(count), np.ones(count), codes, np.array(rows), {}, {})


def test_rows_of_calls_stand_below_each_other_and_failed_calls_have_none() -> None:
    inputs = [{"x": np.full((rows, 2), at, np.float32)} for at, rows in enumerate((2, 1, 3))]
    outputs = [{"y": np.array([[0.0], [1.0]])}, None, {"y": np.array([[2.0], [3.0], [4.0]])}]
    rides = [None if given is None else (asked, given) for asked, given in zip(inputs, outputs, strict=True)]
    columns = empty([2, 0, 3], ["", "model_failed", ""])
    found = columns_of(columns, rides, [0, 0, 0], [], (), Keeping(), batched=True)
    assert found.features["x"][:, 0].tolist() == [0, 0, 2, 2, 2]
    assert found.features["x"].dtype == np.float32
    assert found.outputs["y"][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_calls_that_rode_together_have_their_own_rows() -> None:
    first, second = (({"x": np.arange(at, at + 6)}, {"y": -np.arange(at, at + 6)}) for at in (0, 10))
    rides = [first, first, first, second, None, second, first, second]
    places, rows = [0, 2, 3, 0, 0, 1, 5, 4], [2, 1, 3, 1, 0, 2, 1, 2]
    found = columns_of(empty(rows, [""] * 8), rides, places, [], (), Keeping(), batched=True)
    assert found.features["x"].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 5, 14, 15]
    assert found.outputs["y"].tolist() == (-found.features["x"]).tolist()


def test_calls_of_a_model_without_rows_stand_one_below_the_other() -> None:
    rides = [({"x": np.full(3, at)}, {"y": np.array(at)}) for at in range(2)]
    found = columns_of(empty([1, 1], ["", ""]), rides, [0, 0], [], (), Keeping(), batched=False)
    assert (found.features["x"].tolist(), found.outputs["y"].tolist()) == ([[0, 0, 0], [1, 1, 1]], [0, 1])


def test_a_tensor_that_a_call_left_out_is_none_in_its_rows() -> None:
    found = joined(
        [{"a": np.ones((2, 1))}, {"a": np.ones((1, 1)), "b": np.array([["x"]], object)}], [2, 1], Keeping(), True
    )
    assert found["a"].shape == (3, 1)
    assert found["b"].tolist() == [None, None, ["x"]]


def test_shapes_that_differ_are_kept_as_lists() -> None:
    found = joined([{"a": np.zeros((1, 2))}, {"a": np.zeros((1, 3))}], [1, 1], Keeping(), True)
    assert found["a"].tolist() == [[0, 0], [0, 0, 0]]


def test_a_model_without_batches_has_one_row_a_call() -> None:
    found = joined([{"a": np.zeros((5, 2))}, {"a": np.ones((5, 2))}], [1, 1], Keeping(), False)
    assert found["a"].shape == (2, 5, 2)


def test_what_is_excluded_is_not_kept_and_what_is_hashed_cannot_be_read() -> None:
    keeping = Keeping(exclude=frozenset({"name"}), hashed=frozenset({"email"}), salt="s")
    call = {"name": np.array([["Ada"]], object), "email": np.array([["a@b.c"]], object), "age": np.array([[36]])}
    found = joined([call, call], [1, 1], keeping, True)
    assert sorted(found) == ["age", "email"]
    assert found["email"][0] == found["email"][1] != "a@b.c"
    assert len(found["email"][0]) == 32
    other = joined([call], [1], Keeping(hashed=frozenset({"email"}), salt="t"), True)
    assert other["email"][0] != found["email"][0]


def test_business_keys_are_those_of_the_call_or_of_an_input_row_by_row() -> None:
    inputs = [{"order": np.array([[17.0], [np.nan]])}, {"order": np.array([[1.0]])}, {"order": np.array([[2.5]])}]
    outputs = [{"y": np.zeros((2, 1))}, None, {"y": np.zeros((1, 1))}]
    columns = empty([2, 0, 1], ["", "model_failed", ""])
    rides = [None if given is None else (asked, given) for asked, given in zip(inputs, outputs, strict=True)]

    def keys(given: list[str], key: str) -> list[str | None]:
        return list(columns_of(columns, rides, [0, 0, 0], [], given, Keeping(key=key), batched=True).entity)

    assert keys(["a", "b", ""], "header:k") == ["a", "a", None]
    assert keys([], "header:k") == keys(["a", "b", "c"], "") == []
    assert keys(["a", "b", "c"], "field:order") == ["17", None, "2.5"]
    assert keys([], "field:none") == []
    texts = {"id": np.array([[b"x"], ["y"], [None]], object)}
    three = columns_of(empty([3], [""]), [(texts, {})], [0], [], (), Keeping(key="field:id"), batched=True)
    assert list(three.entity) == ["x", "y", None]
    mixed = [{"id": np.array([[np.nan]]), "x": np.zeros((1, 1))}, {"x": np.zeros((1, 1))}, {"id": np.zeros((1, 0))}]
    rides = [(one, {}) for one in mixed]
    for some in (rides, rides[:1], rides[2:]):
        kept = Keeping(key="field:id")
        found = columns_of(empty([1] * len(some), [""] * len(some)), some, [0] * len(some), [], (), kept, batched=True)
        assert set(found.entity) <= {None}


@pytest.mark.parametrize("key", ["order", "body:order", "field:"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(UsageError, match="expected header:NAME, field:NAME or nothing"):
        Keeping(key=key)


def test_a_credential_is_no_key_of_labels() -> None:
    for name in ("Authorization", "x-api-key", "api-key"):
        with pytest.raises(UsageError, match="which is a secret"):
            Keeping(key=f"header:{name}")
    assert Keeping(key="field:api-key").key == "field:api-key"


def test_a_key_that_is_hidden_finds_no_label() -> None:
    for hidden in ({"exclude": frozenset({"id"})}, {"hashed": frozenset({"id"})}):
        with pytest.raises(UsageError, match="field:id, which is kept hidden"):
            Keeping(key="field:id", **hidden)


@pytest.mark.parametrize(
    ("keeping", "said"),
    [
        (Keeping(key="field:ordr"), "record.key is field:ordr, and the model has no such input; did you mean order?"),
        (Keeping(key="field:p"), "record.key is field:p, and the model has no such input; it has order, age"),
        (
            Keeping(exclude=frozenset({"order", "agee"})),
            "record.exclude names 'agee', which the model neither",
        ),
        (
            Keeping(hashed=frozenset({"zzz"})),
            "record.hash names 'zzz', which the model neither takes nor gives; it",
        ),
    ],
)
def test_names_that_the_model_does_not_have_are_told(keeping: Keeping, said: str) -> None:
    specs = [TensorSpec(name, DataType.FP64, (-1, 1)) for name in ("order", "age", "p")]
    signature = Signature(tuple(specs[:2]), tuple(specs[2:]))
    (told,) = keeping.misfits(signature)
    assert said in told
    fine = Keeping(key="field:order", exclude=frozenset({"p"}), hashed=frozenset({"age"}))
    assert fine.misfits(signature) == []
    assert Keeping(exclude=frozenset({"zzz"})).misfits(Signature(signature.inputs)) == []  # what it gives is not known


@pytest.mark.parametrize("sample", [0, -1, 1.5, float("nan")])
def test_a_share_that_is_none(sample: float) -> None:
    with pytest.raises(UsageError, match="above 0 and up to 1"):
        Keeping(sample=sample)
