from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.resilience.answers import OVERHEAD, Answers, key_of


def array(*values: Any, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    return np.array(values, dtype)


def one(value: float, size: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    return {"y": np.full(size, value)}


def test_what_is_kept_is_a_copy_of_the_rows_alone() -> None:
    batch = np.arange(1000.0).reshape(100, 10)
    answers = Answers(10, 10_000)
    answers.put(b"k", {"y": batch[3:5]}, 0.0)
    batch[:] = -1
    found = answers.get(b"k", 1.0)
    assert found is not None
    assert found["y"].tolist() == [[30.0 + i for i in range(10)], [40.0 + i for i in range(10)]]
    assert answers.size == OVERHEAD + 160
    with pytest.raises(ValueError, match="read-only"):
        found["y"][0] = 1


def test_an_answer_grows_too_old() -> None:
    answers = Answers(10, 10_000)
    answers.put(b"k", one(1), 100.0)
    assert answers.get(b"k", 110.0) is not None
    assert answers.get(b"k", 110.5) is None
    assert (len(answers), answers.size) == (0, 0)


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    answers = Answers(10, OVERHEAD + 80)
    answers.put(b"small", one(1, 10), 0.0)
    answers.put(b"large", one(1, 11), 0.0)
    assert answers.get(b"small", 0.0) is not None
    assert answers.get(b"large", 0.0) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(1, 12)), max_size=80))
def test_the_bytes_are_bounded_and_the_least_used_goes_first(steps: list[tuple[bool, int, int]]) -> None:
    limit = 4 * OVERHEAD
    answers, kept = Answers(1e9, limit), list[tuple[int, int]]()
    for put, key, size in steps:
        if put:
            answers.put(b"%d" % key, one(key, size), 0.0)
            kept = [*(pair for pair in kept if pair[0] != key), (key, OVERHEAD + 8 * size)]
            while sum(size for _, size in kept) > limit:
                del kept[0]
        else:
            found = answers.get(b"%d" % key, 0.0)
            at = next((place for place, pair in enumerate(kept) if pair[0] == key), None)
            assert (found is None) == (at is None)
            if at is not None:
                kept.append(kept.pop(at))
        assert answers.size == sum(size for _, size in kept) <= limit


BASE = ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme")
DIFFERENT = [
    ({"x": array(1.0, 2.5), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0, dtype=np.float32), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array([1.0, 2.0]), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array([1.0], [2.0]), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("ab", "", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", b"b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", None, dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "None", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0)}, {"n": 1}, "7", "tenant acme"),
    ({"z": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": True}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1.0}, "7", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1}, "8", "tenant acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", "caller acme"),
    ({"x": array(1.0, 2.0), "t": array("a", "b", dtype=object)}, {"n": 1}, "7", ""),
]


def test_every_difference_makes_another_key() -> None:
    keys = {key_of(*given) for given in (BASE, *DIFFERENT)}
    assert len(keys) == 1 + len(DIFFERENT)


def test_the_same_call_has_the_same_key_whatever_its_order_and_layout() -> None:
    inputs = {"t": array("a", "b", dtype=object), "x": np.asfortranarray(np.array([[1.0, 9.0], [2.0, 9.0]]))[:, 0]}
    assert key_of(inputs, {"n": 1}, "7", "tenant acme") == key_of(*BASE)
    assert key_of({"x": np.zeros((0, 3))}, {}, "", "") != key_of({"x": np.zeros((0, 4))}, {}, "", "")
    assert key_of({"x": np.zeros(3, np.float16)}, {}, "", "") != key_of({"x": np.zeros(3, ">f2")}, {}, "", "")
    assert key_of({"x": array("\ud800", dtype=object)}, {}, "", "")
