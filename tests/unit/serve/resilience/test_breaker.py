"""A breaker, compared with one that keeps the whole history of its state and looks through it each time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import UsageError
from fairlead.serve.resilience.breaker import REFUSED, Breaker, BreakerPolicy, State
from fairlead.serve.resilience.policy import check


@dataclass
class Remembering:
    """The same, told as a list of what ended since the state began."""

    policy: BreakerPolicy
    state: str = "closed"
    epoch: int = 0
    since: float = 0.0
    ended: list[tuple[bool, bool]] = field(default_factory=list)
    probes: dict[int, bool | None] = field(default_factory=dict)
    """Of each probe under way or done: None, or whether it was well."""
    serial: int = 0

    def turn(self, state: str, now: float) -> None:
        self.state, self.since, self.epoch = state, now, self.epoch + 1
        self.ended, self.probes = [], {}

    def admit(self, now: float) -> tuple[int, int] | None:
        if self.state == "open" and now >= self.since + self.policy.cooldown:
            self.turn("half_open", now)
        if self.state == "open":
            return None
        self.serial += 1
        if self.state == "half_open":
            if len(self.probes) >= self.policy.half_open_calls:
                return None
            self.probes[self.serial] = None
        return self.epoch, self.serial

    def end(self, ticket: tuple[int, int], failed: bool | None, seconds: float, now: float) -> None:
        epoch, serial = ticket
        if epoch != self.epoch:
            return
        policy = self.policy
        slow = policy.slow_call > 0 and policy.slow_call_rate > 0 and seconds >= policy.slow_call
        if self.state == "half_open":
            if failed is None:
                del self.probes[serial]
            elif failed or slow:
                self.turn("open", now)
            else:
                self.probes[serial] = True
                if sum(well is True for well in self.probes.values()) == policy.half_open_calls:
                    self.turn("closed", now)
            return
        if failed is None:
            return
        self.ended.append((failed, slow))
        last = self.ended[-policy.window :]
        row = 0
        for one, _ in reversed(self.ended):
            if not one:
                break
            row += 1
        opens = policy.fail_max > 0 and row >= policy.fail_max
        if len(last) >= policy.minimum_calls:
            for rate, place in ((policy.failure_rate, 0), (policy.slow_call_rate, 1)):
                opens = opens or (rate > 0 and sum(one[place] for one in last) >= rate * len(last) - 1e-9)
        if opens:
            self.turn("open", now)


POLICIES = st.builds(
    BreakerPolicy,
    fail_max=st.integers(0, 4),
    cooldown=st.sampled_from([0.5, 3.0]),
    failure_rate=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    slow_call=st.just(1.0),
    slow_call_rate=st.sampled_from([0.0, 0.5]),
    window=st.integers(3, 8),
    minimum_calls=st.integers(1, 3),
    half_open_calls=st.integers(1, 3),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "end"]),
        st.integers(0, 5),
        st.sampled_from([True, False, False, None]),
        st.sampled_from([0.1, 2.0]),
        st.sampled_from([0.0, 0.2, 1.0, 4.0]),
    ),
    max_size=120,
)


@given(policy=POLICIES, steps=STEPS)
def test_it_is_the_one_that_remembers_everything(
    policy: BreakerPolicy, steps: list[tuple[str, int, bool, float, float]]
) -> None:
    breaker, other, now = Breaker(policy), Remembering(policy), 0.0
    flying: list[tuple[int, tuple[int, int]]] = []
    for what, which, failed, seconds, passed in steps:
        now += passed
        if what == "call":
            ticket, known = breaker.admit(now), other.admit(now)
            assert (ticket == REFUSED) == (known is None)
            if known is not None:
                flying.append((ticket, known))
        elif flying:
            ticket, known = flying.pop(which % len(flying))
            breaker.ended(ticket, failed, seconds, now)
            other.end(known, failed, seconds, now)
        assert breaker.state.value == other.state


def test_while_it_is_open_no_call_is_sent_but_probes() -> None:
    breaker = Breaker(BreakerPolicy(fail_max=5, cooldown=30))
    for _ in range(5):
        breaker.ended(breaker.admit(0.0), True, 0.1, 0.0)
    assert breaker.state is State.OPEN
    sent = [at for at in range(300) if breaker.admit(float(at)) != REFUSED]
    assert sent == [30], "one probe, and while it has no outcome no other"
    assert Breaker(BreakerPolicy()).after(0.0) == 1.0


@pytest.mark.parametrize(("now", "after"), [(0.0, 30.0), (12.5, 17.5), (40.0, 1.0)])
def test_it_says_when_to_come_back(now: float, after: float) -> None:
    breaker = Breaker(BreakerPolicy(fail_max=1, cooldown=30))
    breaker.ended(breaker.admit(0.0), True, 0.1, 0.0)
    assert breaker.after(now) == after


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (BreakerPolicy(minimum_calls=50, window=20), "minimum_calls is 50 and window 20"),
        (BreakerPolicy(slow_call=1.0), "slow_call is set and slow_call_rate is not"),
        (BreakerPolicy(slow_call_rate=0.5), "slow_call_rate is set and slow_call is not"),
        (BreakerPolicy(fail_max=0), "it would never open"),
    ],
)
def test_a_policy_that_contradicts_itself_names_both_fields(policy: BreakerPolicy, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check(policy)
