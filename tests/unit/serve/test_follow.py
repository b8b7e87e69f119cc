"""When a split is applied, when it is history, and what becomes of one that cannot be applied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit.clock import SystemClock
from fairlead.serve import follow as module
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.follow import Follower, Following
from fairlead.serve.recording import Recording
from fairlead.testing.sinks import MemorySink


def live(version: str) -> Live:
    made = SimpleNamespace(endpoint="churn", version=version, tape=None, idle=True, closed=False)
    made.signature = SimpleNamespace(batched=True)
    made.close = lambda: setattr(made, "closed", True)
    return cast(Live, made)


class Stage:
    """An endpoint at version 1, and a store that a test writes into. ``broken``: loads that fail before one works."""

    def __init__(self, split: TrafficSplit | None = None, broken: int = 0) -> None:
        self.catalog = Catalog()
        self.first = live("1")
        self.catalog.put(self.first)
        self.split = split
        self.revision = 1
        self.down = False
        self.broken = broken
        self.seconds = 0.0
        """That loading takes."""
        self.made: list[Live] = []
        self.told: list[Mapping[str, Any]] = []
        recording = Recording(dict, MemorySink(), SystemClock())
        following = Following("churn", self._read, self._load, self.told.append)
        self.follower = Follower([following], self.catalog, recording, MemorySink(), SystemClock())

    def put(self, *shares: Share) -> None:
        self.split, self.revision = plan(*shares), self.revision + 1

    def _read(self) -> tuple[int, TrafficSplit] | None:
        if self.down:
            raise Unavailable("down")
        return None if self.split is None else (self.revision, self.split)

    def _load(self, version: str, loop: asyncio.AbstractEventLoop) -> Live:
        if self.broken:
            self.broken -= 1
            raise RuntimeError("no such file")
        time.sleep(self.seconds)
        self.made.append(live(version))
        return self.made[-1]

    @property
    def version(self) -> str:
        return self.catalog.resolve("churn").version


def plan(*shares: Share) -> TrafficSplit:
    return TrafficSplit("churn", "churn", shares)


TO_TWO = Share("2", "champion", 100)
HALF = (Share("1", "champion", 50), Share("2", "candidate", 50))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


async def settle(stage: Stage) -> None:
    for _ in range(60):
        await asyncio.sleep(0.001)


async def test_what_had_come_to_rest_before_is_history() -> None:
    stage = Stage(plan(TO_TWO))
    stage.follower.start()
    await settle(stage)
    assert (stage.version, stage.told) == ("1", [])
    await stage.follower.stop()


async def test_a_rollout_under_way_is_joined() -> None:
    stage = Stage(plan(*HALF))
    stage.follower.start()
    await settle(stage)
    assert stage.catalog.versions("churn") == ["1", "2"]
    assert "churn" in stage.catalog.splits
    await stage.follower.stop()


async def test_the_first_split_of_all_counts_even_when_it_is_at_rest() -> None:
    stage = Stage()
    stage.follower.start()
    await settle(stage)
    stage.put(TO_TWO)
    await settle(stage)
    assert stage.version == "2"
    assert stage.first.closed
    assert stage.catalog.splits == {}
    await stage.follower.stop()


async def test_a_version_that_does_not_load_is_told_and_tried_again() -> None:
    stage = Stage(broken=2)
    stage.follower.start()
    await settle(stage)
    stage.put(*HALF)
    await settle(stage)
    assert [said["error"] for said in stage.told] == ["no such file", "no such file", ""]
    assert "churn" in stage.catalog.splits
    await stage.follower.stop()


async def test_a_store_that_does_not_answer_changes_nothing() -> None:
    stage = Stage()
    stage.follower.start()
    await settle(stage)
    stage.put(*HALF)
    await settle(stage)
    stage.down = True
    await settle(stage)
    assert stage.follower.troubles() == ["endpoint 'churn' stays as it is: down"]
    assert "churn" in stage.catalog.splits
    stage.down = False
    await settle(stage)
    assert stage.follower.troubles() == []
    await stage.follower.stop()


async def test_an_unloaded_endpoint_is_left_alone_and_followed_from_the_start_once_it_is_loaded() -> None:
    stage = Stage(plan(*HALF))
    stage.follower.start()
    await settle(stage)
    assert "churn" in stage.catalog.splits
    stage.follower.close_split("churn")
    stage.catalog.unload("churn")
    stage.put(TO_TWO)
    await settle(stage)
    assert stage.catalog.all() == []
    assert stage.catalog.splits == {}
    stage.put(*HALF)
    stage.catalog.put(live("1"))
    await settle(stage)
    assert stage.catalog.versions("churn") == ["1", "2"]
    assert "churn" in stage.catalog.splits
    await stage.follower.stop()


async def test_unloaded_while_a_version_of_a_rollout_loads_it_stays_unloaded() -> None:
    stage = Stage()
    stage.follower.start()
    await settle(stage)
    stage.seconds = 0.05
    stage.put(*HALF)
    await asyncio.sleep(0.02)
    stage.catalog.unload("churn")
    await asyncio.sleep(0.1)
    assert stage.catalog.unloaded == ["churn"]
    assert [one.closed for one in stage.made] == [True]
    await stage.follower.stop()
