"""A share of live traffic, in a window that slides: compared with one that remembers every call."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.resilience.budget import Budget


class Remembering:
    """The same by keeping every time there was."""

    def __init__(self, share: float, minimum: float, seconds: float) -> None:
        self.share, self.minimum, self.slot = share, minimum * seconds, seconds / 10
        self.calls: list[int] = []
        self.extra: list[int] = []

    def call(self, now: float) -> None:
        self.calls.append(math.floor(now / self.slot))

    def take(self, now: float) -> bool:
        at = math.floor(now / self.slot)
        calls = sum(one > at - 10 for one in self.calls)
        extra = sum(one > at - 10 for one in self.extra)
        allowed = extra + 1 <= max(self.share * calls, self.minimum)
        if allowed:
            self.extra.append(at)
        return allowed


@given(
    share=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    minimum=st.sampled_from([0.0, 0.5, 3.0]),
    seconds=st.sampled_from([1.0, 10.0]),
    start=st.floats(0, 1e6),
    steps=st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.3, 1.0, 25.0]), st.booleans()), max_size=200),
)
def test_it_says_what_one_that_remembers_every_call_says(
    share: float, minimum: float, seconds: float, start: float, steps: list[tuple[float, bool]]
) -> None:
    budget, other, now = Budget(share, minimum, seconds), Remembering(share, minimum, seconds), start
    for passed, asks in steps:
        now += passed
        if asks:
            assert budget.take(now) == other.take(now)
        else:
            budget.call(now)
            other.call(now)


def test_half_of_all_calls_failing_gives_a_fifth_more_of_them() -> None:
    budget = Budget(0.2, minimum=0.0)
    extra = 0
    for at in range(10_000):
        now = 0.01 * at
        budget.call(now)
        extra += at % 2 and budget.take(now)
    assert 0.19 * 10_000 <= extra <= 0.2 * 10_000


def test_a_server_with_little_to_do_may_try_again() -> None:
    budget = Budget(0.2, minimum=1.0, seconds=10.0)
    budget.call(0.0)
    assert [budget.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not budget.take(9.9)
    assert budget.take(10.0)


def test_no_share_and_no_minimum_allow_none() -> None:
    budget = Budget(0.0, minimum=0.0)
    budget.call(1.0)
    assert not budget.take(1.0)
