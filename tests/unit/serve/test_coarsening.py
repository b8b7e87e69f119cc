"""Callers get less where an endpoint says so; the model's own arrays stay as they are."""

import numpy as np
import pytest

from fairlead.contracts.access import Caller, Scope
from fairlead.contracts.types import Reply
from fairlead.serve.coarsening import Coarsening

P = np.array([[0.1234, 0.5678, 0.3088], [0.25, 0.25, 0.5]], np.float32)


def test_rounding_keeps_types_and_the_original() -> None:
    reply = Reply({"p": P, "label": np.array([b"a", "b"], object), "n": np.array([7])}, "e", "1")
    told = Coarsening(decimals=2).reply(reply)
    assert told.outputs["p"].tolist() == np.array([[0.12, 0.57, 0.31], [0.25, 0.25, 0.5]], np.float32).tolist()
    assert told.outputs["p"].dtype == np.float32
    assert told.outputs["label"] is reply.outputs["label"]
    assert told.outputs["n"].tolist() == [7]
    assert reply.outputs["p"][0, 0] == np.float32(0.1234)


@pytest.mark.parametrize("top", [1, 2, 3, 9])
def test_top_keeps_the_largest_of_each_row_and_no_more(top: int) -> None:
    found = Coarsening(top=top).array(P)
    for row, told in zip(P.tolist(), found.tolist(), strict=True):
        kept = sorted(range(3), key=lambda at: (-row[at], at))[:top]
        assert told == [value if at in kept else 0.0 for at, value in enumerate(row)]


def test_top_is_of_probabilities_alone() -> None:
    scores = np.array([[3.0, -1.0], [0.7, 0.3], [np.nan, 1.0], [0.9, 0.9]])
    np.testing.assert_array_equal(Coarsening(top=1).array(scores), [[3.0, -1.0], [0.7, 0.0], [np.nan, 1.0], [0.9, 0.9]])
    flat = np.array([0.2, 0.8])
    assert Coarsening(top=1).array(flat) is flat
    cube = np.full((2, 2, 2), 0.5)
    assert Coarsening(top=1).array(cube).tolist() == [[[0.5, 0.0]] * 2] * 2
    empty = np.empty((0, 3))
    assert Coarsening(0, 1).array(empty) is empty


def test_who_has_the_scope_gets_all_of_it() -> None:
    told = Coarsening(1)
    assert told.applies(None, "churn", "1")
    assert told.applies(Caller("web", "key", (Scope("churn", "predict"),)), "churn", "1")
    assert told.applies(Caller("web", "key", (Scope("other", "detail"),)), "churn", "1")
    assert not told.applies(Caller("own", "key", (Scope("churn", "detail"),)), "churn", "1")
    assert not told.applies(Caller("own", "key", (Scope("*", "*"),)), "churn", "1")


def test_documents_are_rounded_all_through() -> None:
    found = Coarsening(1).document([{"value": 0.123, "by": {"a": [0.26, 3]}, "name": "x", "none": None}])
    assert found == [{"value": 0.1, "by": {"a": [0.3, 3]}, "name": "x", "none": None}]
    assert Coarsening(top=1).document({"value": 0.123}) == {"value": 0.123}
