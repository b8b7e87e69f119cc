"""Who gets which version, and what a shadow sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.types import Reply
from fairlead.kit.clock import SystemClock
from fairlead.serve import split as module
from fairlead.serve.call import BATCH, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.split import Shadow, Split


def live(version: str) -> Live:
    return cast(Live, SimpleNamespace(version=version))


LIVES = {"1": live("1"), "2": live("2")}


def split(weight: float, *, sticky: str = "", salt: str = "s", shadow: Shadow | None = None) -> Split:
    shares = (Share("1", "champion", 100 - weight), Share("2", "candidate", weight))
    return Split(TrafficSplit("churn", "churn", shares, sticky, salt), LIVES, shadow, SystemClock())


def users(chosen: Split, count: int = 20_000) -> list[str]:
    return [chosen.choose({b"x-user": b"user-%d" % at}, {})[0].version for at in range(count)]


@pytest.mark.parametrize("weight", [0, 5, 25, 50, 100])
@pytest.mark.parametrize("sticky", ["", "header:X-User"])
def test_shares_are_as_asked(weight: float, sticky: str) -> None:
    got = users(split(weight, sticky=sticky)).count("2") / 200
    assert abs(got - weight) < 1.8  # five standard deviations at one half


def test_a_unit_keeps_its_version_and_a_growing_share_keeps_its_units() -> None:
    small, large = users(split(5, sticky="header:x-user")), users(split(25, sticky="header:x-user"))
    assert users(split(5, sticky="header:x-user")) == small
    assert all(big == "2" for little, big in zip(small, large, strict=True) if little == "2")


def test_another_salt_takes_others_first() -> None:
    one, other = (users(split(10, sticky="header:x-user", salt=salt)) for salt in ("a", "b"))
    both = sum(first == second == "2" for first, second in zip(one, other, strict=True)) / 20_000
    assert abs(both - 0.01) < 0.005  # as two independent tenths


def test_a_field_can_decide_and_the_unit_is_told() -> None:
    chosen = split(50, sticky="field:customer")
    got = [chosen.choose({}, {"customer": np.array([["ada"]], object)}) for _ in range(50)]
    assert len({found.version for found, _ in got}) == 1
    assert {unit for _, unit in got} == {"ada"}
    assert len({chosen.choose({}, {})[0].version for _ in range(200)}) == 2  # without the field: chance


def test_shares_that_do_not_add_up_are_refused() -> None:
    plan = TrafficSplit("churn", "churn", (Share("1", "champion", 60), Share("2", "candidate", 30)))
    with pytest.raises(UsageError, match="add up to 90 percent"):
        Split(plan, LIVES, None, SystemClock())


class Shade:
    """A version that answers when it is told to."""

    version = "2"

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, inputs: Any, parameters: Any, done: Any, *, arrived: float, deadline: float, lane: int) -> Call:
        assert lane == BATCH, "callers come first"
        return Call(inputs, 1, done, arrived=arrived, deadline=deadline, parameters=parameters, lane=lane)

    def straight(self, call: Call) -> None:
        self.calls.append(call)


class Tape:
    def __init__(self) -> None:
        self.pairs: list[Any] = []

    def add(self, call: Call, seconds: float, *, size: int, pair: Any) -> None:
        self.pairs.append((call.outcome, pair))


def answered() -> Call:
    call = Call({"x": np.ones((1, 1))}, 1, lambda _: None, arrived=0.0)
    call.finish(Reply({"y": np.ones((1, 1))}, "churn", "1"))
    return call


def test_a_shadow_answers_too_and_is_shed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHADOW_CALLS", 3)
    shade, tape = Shade(), Tape()
    chosen = split(0, shadow=Shadow(cast(Live, shade), 100, cast(Any, tape)))
    for _ in range(5):
        chosen.after(answered(), 0.25)
    assert (len(shade.calls), chosen.shed) == (3, 2)
    shade.calls[0].finish(Reply({"y": np.zeros((1, 1))}, "churn", "2"))
    ((outcome, (theirs, seconds)),) = tape.pairs
    assert (outcome.version, theirs["y"].item(), seconds) == ("2", 1.0, 0.25)
    chosen.after(answered(), 0.25)  # one has answered: there is room again
    assert len(shade.calls) == 4


def test_a_call_that_failed_is_not_shadowed() -> None:
    shade = Shade()
    chosen = split(0, shadow=Shadow(cast(Live, shade), 100, cast(Any, Tape())))
    call = answered()
    call.outcome = None
    chosen.after(call, 0.1)
    assert shade.calls == []
