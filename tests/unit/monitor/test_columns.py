"""Tensors taken apart."""

import numpy as np
import pytest

from fairlead.monitor.columns import MOST_POSITIONS, columns_of, values_of


def test_positions_get_names_and_a_limit() -> None:
    tensors = {
        "a": np.zeros((5, 1)),
        "b": np.zeros(5),
        "c": np.zeros((5, 2, 2)),
        "d": np.zeros((5, 500)),
        "e": np.zeros(()),
    }
    names = [name for name, values in columns_of(tensors, "in.") if len(values) == 5]
    assert names[:6] == ["in.a", "in.b", "in.c[0]", "in.c[1]", "in.c[2]", "in.c[3]"]
    assert len(names) == 6 + MOST_POSITIONS


def test_position_is_row_major() -> None:
    found = dict(columns_of({"c": np.arange(8).reshape(2, 2, 2)}))
    assert found["c[2]"].tolist() == [2, 6]


def test_no_rows() -> None:
    assert [(name, len(values)) for name, values in columns_of({"a": np.zeros((0, 3))})] == [("a", 0)]


@pytest.mark.parametrize(
    ("column", "numbers", "texts", "missing"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, np.inf], {}, 1),
        (np.array([1.5, np.nan], np.float16), [1.5], {}, 1),
        (np.array([True, False]), [1.0, 0.0], {}, 0),
        (np.array([2**63], np.uint64), [2.0**63], {}, 0),
        (np.array(["a", None, float("nan"), b"b", "a"], object), [], {"a": 2, "b": 1}, 2),
        (np.array([1, 2.5, True, None, "x", 10**400], object), [1.0, 1.0, 2.5, np.inf], {"x": 1}, 1),
        (np.array(["a", "b"]), [], {"a": 1, "b": 1}, 0),
        (np.array([b"a"]), [], {"a": 1}, 0),
        (np.array(["2020-01-01", "NaT"], "datetime64[D]"), [], {"2020-01-01": 1}, 1),
    ],
)
def test_what_values_are(column: np.ndarray, numbers: list[float], texts: dict[str, int], missing: int) -> None:
    found = values_of(column)
    assert sorted(found.numbers.tolist()) == sorted(numbers)
    assert dict(found.texts) == texts
    assert found.missing == missing
    assert found.rows == len(column)


def test_lists_are_texts() -> None:
    column = np.empty(2, object)
    column[:] = [[1, 2], [1, 2]]
    assert dict(values_of(column).texts) == {"[1, 2]": 2}
