"""What the state store says of models, as metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.contracts.errors import Unavailable
from fairlead.testing.sinks import MemorySink
from fairlead.testing.state import MemoryState
from fairlead.wiring import modelplane
from fairlead.wiring.modelplane import ModelPlane, figures


def stored() -> MemoryState:
    store = MemoryState()
    body = {"standings": {"Drift": {"since_ms": 5}, "ErrorRate": {"since_ms": 0}}, "readings": {"drift.psi.age": 0.3}}
    store.put("monitor", "churn", body, 0)
    shares = [{"version": "3", "weight": 95.0}, {"version": "4", "weight": 5.0}]
    store.put("split", "churn", {"shares": shares}, 0)
    return store


def test_alerts_readings_and_shares_are_told() -> None:
    seen = {(one.name.removeprefix("fairlead_"), one.labels[1][1]): one.value for one in figures(stored(), "churn")}
    assert seen == {
        ("alert_firing", "Drift"): 1.0,
        ("alert_firing", "ErrorRate"): 0.0,
        ("monitor_reading", "drift.psi.age"): 0.3,
        ("traffic_share", "3"): 0.95,
        ("traffic_share", "4"): 0.05,
    }
    assert not list(figures(stored(), "other"))


def test_what_is_not_known_is_absent(monkeypatch: Any) -> None:
    monkeypatch.setattr(modelplane, "SECONDS", 0.01)
    store, sink = stored(), MemorySink()
    away = False

    def get() -> MemoryState:
        if away:
            raise Unavailable("away")
        return store

    async def lives() -> None:
        nonlocal away
        plane = ModelPlane(["churn"], get, sink)
        look = sink.looks["model-plane"]
        assert not list(look())
        plane.start()
        await until(lambda: len(list(look())) == 5)
        away = True
        await until(lambda: not list(look()))
        away = False
        await until(lambda: len(list(look())) == 5)
        await plane.stop()

    asyncio.run(lives())


def test_a_document_that_is_not_ours_does_not_end_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(modelplane, "SECONDS", 0.01)
    store, sink = stored(), MemorySink()

    async def lives() -> None:
        plane = ModelPlane(["churn"], lambda: store, sink)
        look = sink.looks["model-plane"]
        plane.start()
        await until(lambda: len(list(look())) == 5)
        broken = store.put("split", "churn", {"other": 1}, 1)
        await until(lambda: not list(look()))
        store.put("split", "churn", {"shares": [{"version": "3", "weight": 100.0}]}, broken.revision)
        await until(lambda: len(list(look())) == 4)
        await plane.stop()

    asyncio.run(lives())


async def until(good: Any) -> None:
    for _ in range(500):
        if good():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")
