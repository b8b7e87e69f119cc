"""What stands in for a model is held against it when it is loaded."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import NotFound, Unavailable, UsageError
from fairlead.contracts.types import DataType, Reply, Signature, Tensors, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.resilience.breaker import BreakerPolicy
from fairlead.serve.resilience.policy import Another, Cached, Constant, Older, Safety
from fairlead.testing.models import Model
from fairlead.testing.sinks import MemoryMeter
from fairlead.wiring.fallbacks import Fallbacks, unlike


def spec(name: str, *shape: int, datatype: DataType = DataType.FP64, required: bool = True) -> TensorSpec:
    return TensorSpec(name, datatype, shape, required=required)


OWN = Signature((spec("a", -1), spec("b", -1)), (spec("y", -1),))


def live(name: str, version: str, factor: float, signature: Signature = OWN, broken: bool = False) -> Live:
    def function(inputs: Tensors) -> Tensors:
        if broken:
            raise ValueError("broken")
        return {"y": inputs["a"] * factor, **({"more": inputs["a"]} if len(signature.outputs) > 1 else {})}

    return Live(
        name, version, Model(function, signature), policy=Policy(max_rows=8), placement=Placement(inline=True),
        meter=MemoryMeter(), clock=SystemClock(), loop=asyncio.get_running_loop(),
    )  # fmt: skip


def nothing(version: str) -> Live:
    raise NotFound(f"no version {version}")


async def ask(one: Live) -> Reply:
    done = asyncio.Event()
    call = one.call(
        {"a": np.array([3.0]), "b": np.array([0.0])}, {}, lambda _: done.set(), arrived=SystemClock.now(), deadline=None
    )
    one.enter(call)
    await asyncio.wait_for(done.wait(), 5)
    assert isinstance(call.outcome, Reply), call.outcome
    return call.outcome


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (OWN, ""),
        (Signature((spec("a", -1),), (spec("y", -1), spec("more", -1))), ""),
        (Signature((spec("a", -1), spec("c", -1, required=False)), (spec("y", -1),)), ""),
        (Signature((spec("a", -1), spec("c", -1)), (spec("y", -1),)), "it takes 'c', which the model does not"),
        (Signature((spec("a", -1, 2),), (spec("y", -1),)), "its a is FP64 [-1, 2], and the model's is FP64 [-1]"),
        (Signature((spec("a", -1, datatype=DataType.FP32),), (spec("y", -1),)), "its a is FP32 [-1]"),
        (Signature((spec("a", -1),), (spec("z", -1),)), "its y is not there, and the model's is FP64 [-1]"),
        (Signature((spec("a", -1),), (spec("y", -1, 2),)), "its y is FP64 [-1, 2]"),
        (Signature((spec("a", -1),), (spec("y", -1, datatype=DataType.FP32),)), "its y is FP32 [-1]"),
        (Signature((spec("a", 1),), (spec("y", 1),), batched=False), "one of the two takes rows"),
    ],
)
def test_who_can_stand_in_for_a_model(other: Signature, why: str) -> None:
    assert unlike(OWN, other).startswith(why)
    assert bool(unlike(OWN, other)) == bool(why)


def test_a_model_that_does_not_say_what_it_gives_has_no_other_model_to_fall_back_to() -> None:
    assert "does not say what it gives" in unlike(Signature((spec("a", -1),)), OWN)


async def test_an_endpoint_without_any_of_it_is_as_it_was() -> None:
    one = live("main", "1", 2)
    enter = one.enter
    Fallbacks(Catalog(), SystemClock()).around(one, Safety(), nothing, asyncio.get_running_loop())
    assert one.enter is enter is one.straight


async def test_rungs_answer_in_their_order() -> None:
    catalog, loop = Catalog(), asyncio.get_running_loop()
    fallbacks = Fallbacks(catalog, SystemClock())
    catalog.put(live("small", "9", 5, Signature((spec("a", -1),), (spec("more", -1), spec("y", -1)))))
    main = live("main", "2", 2, broken=True)
    loaded: list[str] = []

    def load(version: str) -> Live:
        loaded.append(version)
        return live("main", version, 7)

    for asked, expected in (
        (Another("small"), (15.0, "endpoint:small", "9")),
        (Older("1"), (21.0, "version:1", "1")),
        (Constant({"y": 0.5}), (0.5, "value", "2")),
    ):
        one = live("main", "2", 2, broken=True)
        fallbacks.around(one, Safety(fallback=(Cached(), asked)), load, loop)
        reply = await ask(one)
        assert (reply.outputs["y"].item(), reply.degraded, reply.version, reply.endpoint) == (*expected, "main")
        assert list(reply.outputs) == ["y"]
    fallbacks.around(main, Safety(fallback=(Older("1"),)), load, loop)
    assert (await ask(main)).version == "1"
    assert loaded == ["1"], "once, for all versions that fall back to it"
    await fallbacks.stop()


async def test_a_version_that_serves_is_no_fallback_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    one = live("main", "3", 2, broken=True)
    fallbacks = Fallbacks(Catalog(), SystemClock())
    fallbacks.around(one, Safety(fallback=(Older("3"), Constant({"y": 1}))), nothing, asyncio.get_running_loop())
    assert (await ask(one)).degraded == "value"
    assert "no fallback to the version itself" in caplog.messages


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        (Another("odd"), UsageError, r"f.yaml:3: fallback\[0\] does not fit: its y is not there"),
        (Another("none"), NotFound, "there is no endpoint 'none'"),
        (Constant({"z": 1}), UsageError, r"f.yaml:3: fallback\[0\]: value names z; the model gives y"),
        (Older("7"), NotFound, r"f.yaml:3: fallback\[0\]: no version 7"),
    ],
)
async def test_what_does_not_fit_is_told_when_it_is_loaded(asked: Any, error: type[Exception], told: str) -> None:
    catalog = Catalog()
    catalog.put(live("odd", "1", 1, Signature((spec("a", -1),), (spec("z", -1),))))
    safety = Safety(fallback=(asked,), places=("f.yaml:3: fallback[0]",))
    with pytest.raises(error, match=told):
        Fallbacks(catalog, SystemClock()).around(live("main", "1", 2), safety, nothing, asyncio.get_running_loop())


async def test_an_endpoint_that_is_unloaded_is_asked_when_it_is_there_again() -> None:
    catalog = Catalog()
    small = live("small", "1", 5)
    catalog.put(small)
    catalog.unload("small")
    main = live("main", "1", 2, broken=True)
    safety = Safety(fallback=(Another("small"), Constant({"y": 0.5})))
    Fallbacks(catalog, SystemClock()).around(main, safety, nothing, asyncio.get_running_loop())
    assert (await ask(main)).degraded == "value"
    catalog.put(live("small", "2", 5, Signature((spec("q", -1),), (spec("y", -1),))))
    assert (await ask(main)).degraded == "value", "what came does not fit"
    for old in catalog.replace(live("small", "3", 5)):
        old.close()
    assert (await ask(main)).degraded == "endpoint:small"


async def test_a_breaker_that_is_open_is_a_trouble_until_its_version_leaves() -> None:
    main = live("main", "1", 2, broken=True)
    fallbacks = Fallbacks(Catalog(), SystemClock())
    safety = Safety(BreakerPolicy(fail_max=1), fallback=(Constant({"y": 1}),))
    fallbacks.around(main, safety, nothing, asyncio.get_running_loop())
    assert fallbacks.troubles() == []
    await ask(main)
    assert fallbacks.troubles() == ["endpoint 'main': version 1 fails; its breaker is open"]
    main.close()
    assert fallbacks.troubles() == []


# One endpoint cannot starve another.


async def test_an_endpoint_that_hangs_costs_another_nothing() -> None:
    gate, loop = threading.Event(), asyncio.get_running_loop()

    def hang(inputs: Tensors) -> Tensors:
        gate.wait(20)
        return {"y": inputs["a"]}

    hanging = Live(
        "hangs", "1", Model(hang, OWN), policy=Policy(max_rows=1, queue_calls=200), placement=Placement(workers=4),
        meter=MemoryMeter(), clock=SystemClock(), loop=loop,
    )  # fmt: skip
    fallbacks = Fallbacks(Catalog(), SystemClock())
    fallbacks.around(hanging, Safety(BreakerPolicy()), nothing, loop)
    well = live("well", "1", 2)

    def waits(one: Live, deadline: float) -> Call:
        return one.call(
            {"a": np.ones(1), "b": np.ones(1)}, {}, lambda _: None, arrived=SystemClock.now(), deadline=deadline
        )

    calls = [waits(hanging, SystemClock.now() + 5) for _ in range(300)]
    for call in calls:
        hanging.enter(call)
    began, slowest = SystemClock.now(), 0.0
    for _ in range(200):
        at = SystemClock.now()
        assert (await ask(well)).outputs["y"].item() == 6.0
        slowest = max(slowest, SystemClock.now() - at)
    assert slowest < 0.5
    assert SystemClock.now() - began < 3
    assert sum(isinstance(call.outcome, Unavailable) for call in calls) == 0
    for call in calls:
        hanging.cancel(call)
    gate.set()
    hanging.close()
