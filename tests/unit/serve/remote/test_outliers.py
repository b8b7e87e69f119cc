"""Who does worse than the others, by shares of what was asked lately."""

from __future__ import annotations

import random

import pytest

from fairlead.serve.remote.balance import Seat, State
from fairlead.serve.remote.outliers import Outliers, Saw
from fairlead.serve.remote.settings import Outlying


def made(count: int = 3, **how: float) -> tuple[Outliers, list[Seat]]:
    seats = [Seat(usual=0.01) for _ in range(count)]
    return Outliers(seats, Outlying(**how)), seats  # type: ignore[arg-type]


def test_half_of_its_requests_failing_is_an_outlier_once_there_were_enough_of_them() -> None:
    outliers, _ = made(1)
    told = []
    for at in range(12):
        told += [outliers.answered(0, 0.1 * at, 0.01), outliers.failed(0, 0.1 * at, Saw.FAULT)]
    assert told == [""] * 19 + ["errors", "", "errors", "", "errors"]


def test_fewer_than_the_share_never_are() -> None:
    outliers, _ = made(1)
    for at in range(200):
        assert outliers.failed(0, 0.01 * at, Saw.FAULT if at % 5 < 2 else Saw.OK) == ""


def test_failures_of_long_ago_do_not_count() -> None:
    outliers, _ = made(1)
    for _ in range(19):
        outliers.failed(0, 0.0, Saw.FAULT)
    assert outliers.failed(0, 11.0, Saw.FAULT) == ""


@pytest.mark.parametrize(("others", "told"), [(0.0, "errors"), (0.2, "errors"), (0.6, "")])
def test_errors_of_the_model_count_only_where_the_others_have_far_fewer(others: float, told: str) -> None:
    outliers, _ = made(3)
    for at in range(40):
        for other in (1, 2):
            outliers.failed(other, 0.0, Saw.MODEL if at < others * 40 else Saw.OK)
    found = [outliers.failed(0, 0.1, Saw.MODEL) for _ in range(20)]
    assert found == [""] * 19 + [told]


def test_errors_of_the_model_say_nothing_of_the_only_address() -> None:
    outliers, seats = made(2)
    seats[1].state = State.OUT
    assert {outliers.failed(0, 0.0, Saw.MODEL) for _ in range(50)} == {""}


def test_ten_times_slower_than_the_others_usually_are_is_slow() -> None:
    outliers, _ = made(3)
    assert [outliers.answered(0, 0.0, 0.2) for _ in range(20)] == [""] * 19 + ["slow"]
    assert {outliers.answered(1, 0.0, 0.09) for _ in range(50)} == {""}


@pytest.mark.parametrize("how", ["nothing is too slow", "microseconds", "nobody else"])
def test_what_is_not_slow(how: str) -> None:
    outliers, seats = made(3, slower=0.0 if how == "nothing is too slow" else 10.0)
    if how == "microseconds":
        for seat in seats:
            seat.usual = 0.0001
    if how == "nobody else":
        seats[1].state = seats[2].state = State.OUT
    seconds = 0.009 if how == "microseconds" else 5.0
    assert {outliers.answered(0, 0.0, seconds) for _ in range(50)} == {""}


def test_one_slow_answer_in_a_while_is_none() -> None:
    outliers, _ = made(3)
    chance = random.Random(5)
    for at in range(1000):
        assert outliers.answered(0, 0.01 * at, 2.0 if chance.random() < 0.2 else 0.01) == ""


def test_who_is_back_begins_anew() -> None:
    outliers, _ = made(1)
    for _ in range(20):
        outliers.failed(0, 0.0, Saw.FAULT)
    outliers.forget(0)
    assert outliers.failed(0, 0.0, Saw.FAULT) == ""
