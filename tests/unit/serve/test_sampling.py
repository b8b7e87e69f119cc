"""A sample of what known callers ask, in bounds; and who is answered later waits."""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.types import Reply
from fairlead.serve import sampling
from fairlead.serve.call import Call
from fairlead.serve.sampling import CALLS, EACH, ROWS, Delays, Sample, Sampling


class Kept:
    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.delays: Delays = {}
        self.fails = False

    def __call__(self, samples: Sequence[Sample]) -> Delays:
        if self.fails:
            raise Unavailable("the store is down")
        self.samples += samples
        return self.delays


def call(name: str, rows: int = 1, *, answered: bool = True, degraded: str = "") -> Call:
    one = Call({"x": np.zeros((rows, 2))}, rows, lambda _: None, arrived=0.0)
    one.caller = Caller(name, "key", ()) if name else None
    if answered:
        one.finish(Reply({"y": np.ones(rows)}, "churn", "1", degraded=degraded))
    return one


def turned(kept: Kept, *calls: Call, turns: int = 1) -> Sampling:
    made = Sampling(kept)
    stage = made.stage("churn")

    async def go() -> None:
        for one in calls:
            assert stage(one) is None
        for _ in range(turns):
            await made._turn()

    asyncio.run(go())
    return made


def test_answered_calls_of_known_callers_are_sampled() -> None:
    kept = Kept()
    turned(kept, call("web", 40), call(""), call("web", degraded="cache"), call("app", answered=False))
    ((endpoint, caller, inputs, outputs),) = kept.samples
    assert (endpoint, caller) == ("churn", "web")
    assert (inputs["x"].shape, outputs["y"].shape) == ((ROWS, 2), (ROWS,))


def test_the_sample_is_bounded_and_fair() -> None:
    kept = Kept()
    turned(kept, *(call("loud") for _ in range(10_000)), call("quiet"))
    names = [one.caller for one in kept.samples]
    assert (names.count("loud"), names.count("quiet")) == (EACH, 1)
    kept = Kept()
    turned(kept, *(call(f"c{i}") for i in range(1000)))
    assert len(kept.samples) == CALLS


def test_a_call_that_is_answered_later_counts_and_one_that_never_is_is_let_go() -> None:
    kept, late, never = Kept(), call("web", answered=False), call("web", answered=False)
    made = turned(kept, late, never)
    assert kept.samples == []
    late.finish(Reply({"y": np.ones(1)}, "churn", "1"))
    asyncio.run(made._turn())
    assert len(kept.samples) == 1

    async def wait() -> None:
        for _ in range(sampling.PATIENCE):
            await made._turn()

    asyncio.run(wait())
    assert made._calls == []


def test_who_is_to_wait_waits_and_nobody_else() -> None:
    kept = Kept()
    kept.delays = {("churn", "thief"): 0.05}
    made = turned(kept)
    stage = made.stage("churn")

    async def go() -> None:
        assert stage(call("web")) is None
        assert made.stage("other")(call("thief")) is None
        began = time.monotonic()
        waiting = stage(call("thief"))
        assert waiting is not None
        await waiting
        assert time.monotonic() - began >= 0.045

    asyncio.run(go())


def test_a_store_that_is_down_is_a_trouble_and_the_delays_stay() -> None:
    kept = Kept()
    kept.delays = {("churn", "thief"): 0.01}
    made = turned(kept)
    kept.fails = True
    asyncio.run(made._turn())
    assert made.troubles() == ["callers are not looked at: the store is down"]
    assert made._delays == kept.delays
    kept.fails = False
    asyncio.run(made._turn())
    assert made.troubles() == []


def test_a_store_that_hangs_does_not_hold_up_the_end_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(sampling, "STOP_SECONDS", 0.05)
    hangs, seen = threading.Event(), threading.Event()

    def keep(_: Sequence[Sample]) -> Delays:
        seen.set()
        hangs.wait(10)
        return {}

    async def serve() -> None:
        made = Sampling(keep)
        made.start()
        while not seen.is_set():
            await asyncio.sleep(0.001)
        await made.stop()

    began = time.monotonic()
    asyncio.run(serve())
    assert time.monotonic() - began < 5
    hangs.set()
