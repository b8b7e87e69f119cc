"""Pauses grow, are bounded and are never longer than what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.resilience.backoff import Backoff

seconds = st.just(0.0) | st.floats(1e-9, 100)


def by_hand(base: float, cap: float, jitter: float, retry: int, draw: float) -> float:
    wait = base
    for _ in range(retry):
        wait *= 2
        if wait > cap:
            break
    return min(wait, cap) + jitter * draw


@given(base=seconds, cap=seconds, jitter=seconds, retry=st.integers(0, 2000), draw=st.floats(0, 1))
def test_the_delay_is_doubled_up_to_the_cap(base: float, cap: float, jitter: float, retry: int, draw: float) -> None:
    assert Backoff(base, cap, jitter).delay(retry, draw) == pytest.approx(by_hand(base, cap, jitter, retry, draw))


def test_the_pauses_of_the_defaults() -> None:
    assert [Backoff().delay(retry, 0.0) for retry in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert Backoff().delay(0, 1.0) == pytest.approx(0.1)


@given(
    retry=st.integers(0, 20),
    draw=st.floats(0, 1),
    left=seconds,
    after=st.none() | seconds,
    base=seconds,
    jitter=seconds,
)
def test_a_pause_is_never_past_the_deadline_nor_before_retry_after(
    retry: int, draw: float, left: float, after: float | None, base: float, jitter: float
) -> None:
    backoff = Backoff(base, 1.0, jitter)
    wait = backoff.pause(retry, draw, left, after)
    wanted = max(backoff.delay(retry, draw), 0.0 if after is None else after)
    if wait is None:
        assert wanted >= left
    else:
        assert wait == wanted < left
