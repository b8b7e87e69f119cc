from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec
from fairlead.package.probe import as_edges_send, cases, missing_values


def column(name: str, datatype: DataType, **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True, **more)


SIGNATURE = Signature((column("n", DataType.FP64), column("s", DataType.BYTES), column("i", DataType.INT64)))
ROWS: Tensors = {
    "n": np.array([[1.0], [2.0], [3.0]]),
    "s": np.array([["a"], ["b"], ["a"]], object),
    "i": np.array([[1], [2], [3]]),
}


def alike(one: Any, other: Any) -> bool:
    """Equal, NaN being equal to itself."""
    return one is other or repr(one) == repr(other)


def refuses(*values: Any) -> Any:
    """A model that refuses these values in ``s``, and answers every other with how it differs from words."""

    def predict(rows: Tensors) -> Tensors:
        found = rows["s"][:, 0].tolist()
        for value in values:
            if any(alike(one, value) for one in found):
                raise ValueError(f"Found unknown categories [{value!r}]")
        return {"y": np.nan_to_num(rows["n"][:, 0], nan=-1.0)}

    return predict


def knows(value: Any) -> Any:
    """A model to which this value in ``s`` means something."""

    def predict(rows: Tensors) -> Tensors:
        meant = [1.0 if alike(one, value) else 0.0 for one in rows["s"][:, 0]]
        return {"y": np.array(meant) + np.nan_to_num(rows["n"][:, 0])}

    return predict


@pytest.mark.parametrize(
    ("predict", "rule", "value"),
    [
        (knows("no missing value"), Missing.VALUE, ""),
        (knows(float("nan")), Missing.NAN, None),
        (knows(None), Missing.NONE, None),
        (refuses("", None, float("nan")), Missing.FORBID, None),
        (refuses("", None), Missing.NAN, None),
        (refuses("", float("nan")), Missing.NONE, None),
        (refuses(None, float("nan")), Missing.VALUE, ""),
    ],
)
def test_what_a_missing_string_is(predict: Any, rule: Missing, value: str | None) -> None:
    number, text, integer = missing_values(predict, SIGNATURE, ROWS).inputs
    assert (text.missing, text.missing_value) == (rule, value)
    assert number.missing is Missing.NAN
    assert integer.missing is Missing.FORBID


@pytest.mark.parametrize("tokens", ["unknown", {"s": "unknown"}])
def test_the_callers_token_comes_first(tokens: Any) -> None:
    text = missing_values(knows(None), SIGNATURE, ROWS, tokens).inputs[1]
    assert (text.missing, text.missing_value) == (Missing.VALUE, "unknown")


def test_nan_that_is_refused_or_passed_on_is_forbidden() -> None:
    def passes_on(rows: Tensors) -> Tensors:
        return {"y": rows["n"][:, 0]}

    def refuses_nan(rows: Tensors) -> Tensors:
        if np.isnan(rows["n"]).any():
            raise ValueError("Input X contains NaN.")
        return {"y": rows["n"][:, 0]}

    for predict in (passes_on, refuses_nan):
        assert missing_values(predict, SIGNATURE, ROWS).inputs[0].missing is Missing.FORBID


def test_a_matrix_is_tried_too() -> None:
    signature = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),))
    rows = {"x": np.ones((3, 2), np.float32)}
    found = missing_values(lambda given: {"y": np.nan_to_num(given["x"])}, signature, rows)
    assert found.inputs[0].missing is Missing.NAN


def with_rules(*rules: Any) -> Signature:
    return Signature(tuple(column(spec.name, spec.datatype, **rule) for spec, rule in zip(SIGNATURE.inputs, rules)))  # noqa: B905


def test_rows_are_sent_as_edges_send_them() -> None:
    holes: Tensors = {**ROWS, "n": np.array([[1.0], [np.nan], [3.0]]), "s": np.array([["a"], ["b"], [None]], object)}
    token = with_rules({"missing": Missing.NAN}, {"missing": Missing.VALUE, "missing_value": "?"}, {})
    assert as_edges_send(holes, token)["s"].tolist() == [["a"], ["b"], ["?"]]
    assert np.isnan(as_edges_send(holes, token)["n"][1, 0])
    forbidden = with_rules({"missing": Missing.FORBID}, {"missing": Missing.FORBID}, {})
    assert as_edges_send(holes, forbidden)["i"].tolist() == [[1]]
    assert holes["s"][2, 0] is None


def test_cases_cover_missing_unseen_and_extreme_values() -> None:
    signature = with_rules({"missing": Missing.NAN}, {"missing": Missing.NONE}, {"missing": Missing.FORBID})
    made = cases(signature, ROWS)
    assert [*made] == ["held-out", "missing", "unseen", "extreme"]
    missing = made["missing"]
    assert len(missing["n"]) == 9  # n missing, s missing, both missing, three rows each
    assert np.isnan(missing["n"][:3]).all()
    assert missing["s"][3:6].tolist() == [[None]] * 3
    assert np.isnan(missing["n"][6:]).all()
    assert missing["i"].tolist() == ROWS["i"].tolist() * 3
    assert set(made["unseen"]["s"].ravel()) == {"never seen before"}
    assert made["extreme"]["n"].min() == 1 - 20
    assert made["extreme"]["n"].max() == 3 + 20
    assert made["extreme"]["i"].dtype == np.int64


def test_without_strings_nothing_is_unseen() -> None:
    signature = Signature((column("n", DataType.FP64, missing=Missing.FORBID),))
    assert [*cases(signature, {"n": ROWS["n"]})] == ["held-out", "extreme"]
