"""Another try or a dead letter, and how long to wait."""

from __future__ import annotations

import pytest

from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    InvalidTensor,
    MalformedBody,
    ModelFailed,
    QueueFull,
    Unavailable,
    UsageError,
)
from fairlead.serve.streams.deciding import Patience, Wait, again, delivered_too_often

PATIENCE = Patience(attempts=3, wait=Wait(first=1.0, factor=2.0, most=5.0, jitter=0.5))


@pytest.mark.parametrize("error", [MalformedBody("x"), InvalidTensor("x")])
def test_what_is_wrong_with_a_message_stays_wrong(error: FairleadError) -> None:
    assert again(error, 1, PATIENCE, 0.0) is None


@pytest.mark.parametrize("error", [QueueFull("x"), Unavailable("x"), ModelFailed("x"), DeadlineExceeded("x")])
def test_what_is_wrong_with_the_server_is_tried_again_and_not_for_ever(error: FairleadError) -> None:
    assert again(error, 1, PATIENCE, 0.0) == 1.0
    assert again(error, 2, PATIENCE, 0.0) == 2.0
    assert again(error, 3, PATIENCE, 0.0) is None


def test_an_error_may_say_when_to_try_again_within_reason() -> None:
    assert again(QueueFull("x", retry_after=3.0), 1, PATIENCE, 0.0) == 3.0
    assert again(QueueFull("x", retry_after=300.0), 1, PATIENCE, 0.0) == 5.0


def test_waiting_grows_to_its_most_and_chance_makes_it_shorter() -> None:
    wait = Wait(first=1.0, factor=2.0, most=5.0, jitter=0.5)
    assert [wait.seconds(tries, 0.0) for tries in (1, 2, 3, 4, 10_000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert wait.seconds(4, 0.999) == pytest.approx(2.5, abs=0.01)


def test_a_message_that_ends_its_workers_is_given_up() -> None:
    patience = Patience(deliveries=2)
    assert delivered_too_often(2, patience) is None
    given_up = delivered_too_often(3, patience)
    assert given_up is not None
    assert "3 times" in str(given_up)


@pytest.mark.parametrize(("attempts", "deliveries", "option"), [(0, 5, "--attempts"), (5, 0, "--deliveries")])
def test_patience_has_limits(attempts: int, deliveries: int, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        Patience(attempts, deliveries)
