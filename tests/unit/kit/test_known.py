from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairlead.contracts.errors import InvalidParameter, StateError, UsageError
from fairlead.contracts.events import Label
from fairlead.kit import known
from fairlead.kit.known import History


@pytest.mark.parametrize(
    ("at_ms", "value", "then"),
    [
        (10, 1.0, None),
        (15, 1.0, None),
        (20, 2.0, None),
        (99, 2.0, None),
        (5, 1.0, None),
        (5, 3.0, [(5, 3.0), (10, 1.0), (20, 2.0)]),
        (10, 3.0, [(10, 1.0), (10, 3.0), (20, 2.0)]),
        (15, 2.0, [(10, 1.0), (15, 2.0), (20, 2.0)]),
        (20, 1.0, [(10, 1.0), (20, 2.0), (20, 1.0)]),
        (30, 1.0, [(10, 1.0), (20, 2.0), (30, 1.0)]),
        (30, "1.0", [(10, 1.0), (20, 2.0), (30, "1.0")]),
    ],
)
def test_a_value_finds_its_place_in_the_history(at_ms: int, value: float | str, then: History | None) -> None:
    history: History = [(10, 1.0), (20, 2.0)]
    assert known.learn(history, at_ms, value) is (then is not None)
    assert history == (then or [(10, 1.0), (20, 2.0)])


def test_the_order_in_which_distinct_values_come_does_not_matter() -> None:
    steps = [(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0)]
    for order in itertools.permutations(steps):
        history = [order[0]]
        assert all(known.learn(history, *step) for step in order[1:])
        assert history == steps
        assert not any(known.learn(history, *step) for step in order)


def test_numpy_and_integers_become_plain() -> None:
    label = Label("e", "k", np.float32(0.5), np.int64(7), np.int32(1), np.True_)  # type: ignore[arg-type]
    (plain,) = known.checked([label])
    assert (plain.value, plain.at_ms, plain.row, plain.by_key) == (0.5, 7, 1, True)
    assert [type(getattr(plain, name)) for name in ("value", "at_ms", "row", "by_key")] == [float, int, int, bool]
    assert type(known.checked([Label("e", "k", 1, 7)])[0].value) is float


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (Label("churn", "p1", float("nan"), 1), "'p1' at endpoint 'churn': value nan is not finite"),
        (Label("churn", "p1", None, 1), "value is a number or a string"),  # type: ignore[arg-type]
        (Label("churn", "p1", 1.0, 1.5), "integers"),  # type: ignore[arg-type]
        (Label("churn", "p1", 1.0, -1), "at_ms -1"),
        (Label("churn", "p1", 1.0, 1, row=-1), "row -1"),
        (Label("churn", "p\0", 1.0, 1), "without NUL"),
    ],
)
def test_a_label_that_cannot_be_kept_is_named(label: Label, says: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        known.checked([label])
    assert says in str(error.value)


def test_a_body_is_ascii_json_and_comes_back() -> None:
    body = {"é": ["\0", "\ud800", 1.5, None, True], "n": 2**60}
    text = known.to_text(body)
    assert text.isascii()
    assert "\0" not in text
    assert known.from_text(text) == body


def test_what_is_not_json_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["self"] = loop
    for body in ({"x": float("nan")}, {"x": object()}, {"x": {1}}, loop):
        with pytest.raises(StateError):
            known.to_text(body)


def test_a_lease_lasts_a_while() -> None:
    assert known.lease_ms(1.5) == 1500
    assert known.lease_ms(1e-9) == 1
    for seconds in (0, -1, float("nan"), float("inf"), 1e9):
        with pytest.raises(UsageError):
            known.lease_ms(seconds)
