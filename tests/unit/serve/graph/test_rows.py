"""What is made of values, against plain loops."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import ModelFailed
from fairlead.serve.graph.rows import Value, combined, common, first, mean, others, pick, stack, vote

labels = st.integers(1, 5).flatmap(
    lambda rows: st.lists(
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=rows, max_size=rows), min_size=2, max_size=6
    )
)
numbers = st.integers(1, 5).flatmap(
    lambda rows: st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=rows, max_size=rows), min_size=2, max_size=5
    )
)


def text(values: list[str]) -> np.ndarray[Any, Any]:
    return np.array(values, object)


@given(labels)
def test_a_vote_is_the_most_common_label_and_of_equals_the_earliest(said: list[list[str]]) -> None:
    found = vote([text(one) for one in said])
    for row in range(len(said[0])):
        column = [one[row] for one in said]
        most = max(Counter(column).values())
        assert found[row] == next(label for label in column if Counter(column)[label] == most)


@given(labels, st.data())
def test_a_weighed_vote_goes_to_the_greatest_sum(said: list[list[str]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(said), max_size=len(said)))
    found = vote([text(one) for one in said], [weight / 10 for weight in weights])
    for row in range(len(said[0])):
        sums: Counter[str] = Counter()
        for one, weight in zip(said, weights, strict=True):
            sums[one[row]] += weight
        assert sums[found[row]] == max(sums.values())


@given(numbers)
def test_a_mean_is_that_of_each_element_in_the_datatype_of_the_values(said: list[list[float]]) -> None:
    found = mean([np.array(one, np.float32) for one in said])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(said, np.float64).mean(axis=0), rtol=1e-6, atol=1e-6)


def test_a_weighed_mean_needs_no_weights_that_add_up_to_one() -> None:
    found = mean([np.array([0.0, 1.0]), np.array([1.0, 1.0])], [3, 1])
    assert found.tolist() == [0.25, 1.0]


def test_a_stack_has_the_columns_of_all() -> None:
    found = stack([np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([[7.0], [8.0]])])
    assert found.tolist() == [[1, 3, 4, 7], [2, 5, 6, 8]]


def test_shapes_that_differ_are_told() -> None:
    with pytest.raises(ModelFailed, match=r"shapes \[\[2\], \[3\]\]"):
        mean([np.zeros(2), np.zeros(3)])
    with pytest.raises(ModelFailed, match="side by side"):
        stack([np.zeros(2), np.zeros(3)])


subsets = st.sets(st.integers(0, 7)).map(lambda rows: np.array(sorted(rows), np.intp))


@given(st.lists(st.none() | subsets, min_size=1, max_size=4))
def test_common_rows_are_in_all_and_others_are_the_rest(sets: list[Any]) -> None:
    found = common(sets)
    wanted = set(range(8))
    for one in sets:
        wanted &= set(range(8)) if one is None else set(one.tolist())
    assert set(range(8) if found is None else found.tolist()) == wanted
    assert others(found, 8).tolist() == sorted(set(range(8)) - wanted)


@given(st.lists(st.none() | subsets, min_size=1, max_size=4))
def test_first_is_row_by_row_the_first_that_is_there(sets: list[Any]) -> None:
    values = [
        Value(np.array([100.0 * number + row for row in (range(8) if at is None else at)]), at)
        for number, at in enumerate(sets)
    ]
    found = first(values, 8)
    wanted = {}
    for row in range(8):
        for number, at in enumerate(sets):
            if at is None or row in at:
                wanted[row] = 100.0 * number + row
                break
    at = list(range(8)) if found.at is None else found.at.tolist()
    assert dict(zip(at, found.array.tolist(), strict=True)) == wanted


@given(subsets, st.data())
def test_pick_gives_the_rows_asked_for(at: Any, data: st.DataObject) -> None:
    asked = np.array(sorted(data.draw(st.sets(st.sampled_from(at.tolist()))) if len(at) else []), np.intp)
    assert pick(Value(at * 10, at), asked).tolist() == (asked * 10).tolist()
    assert pick(Value(np.arange(8) * 10), asked).tolist() == (asked * 10).tolist()


def test_combined_goes_by_name() -> None:
    one, other = Value(np.array([1.0, 3.0])), Value(np.array([3.0, 5.0]))
    assert combined("mean", [one, other], (), 2).array.tolist() == [2.0, 4.0]
    assert combined("stack", [one, other], (), 2).array.tolist() == [[1.0, 3.0], [3.0, 5.0]]
    assert combined("vote", [Value(np.array([1, 2])), Value(np.array([1, 1]))], (), 2).array.tolist() == [1, 2]
    assert combined("first", [one, other], (), 2) is one
