"""Loading and unloading at a caller's word."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairlead.contracts.errors import BrokenModel, Forbidden, InvalidParameter, NotFound, Unavailable
from fairlead.kit.clock import SystemClock
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.repository import Loader, Locked, Repository, refuse_parameters


class Shelf:
    """Endpoint ``churn``, whose next version is one higher each time. ``broken``: it does not load."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.made: list[Any] = []
        self.broken = False
        self.seconds = 0.0
        self.retired: list[Any] = []
        loaders = {name: Loader(name, self._load) for name in ("churn", "late")}
        self.repository = Repository(self.catalog, loaders, SystemClock())
        self.repository.records(self.retired.append, lambda endpoint: self.catalog.splits.pop(endpoint, None))
        self.catalog.put(self._load(None))
        self.catalog.expect("late")

    def _load(self, _: Any) -> Live:
        time.sleep(self.seconds)
        if self.broken:
            raise BrokenModel("model.onnx: truncated")
        made = SimpleNamespace(endpoint="churn", version=str(len(self.made) + 1), idle=True, closed=False)
        made.tape, made.close = f"tape {made.version}", lambda: setattr(made, "closed", True)
        self.made.append(made)
        return cast(Live, made)


async def until_closed(one: Any) -> None:
    async with asyncio.timeout(5):
        while not one.closed:
            await asyncio.sleep(0.01)


async def test_unloaded_it_is_gone_and_loaded_it_is_back() -> None:
    shelf = Shelf()
    await shelf.repository.unload("churn")
    with pytest.raises(Unavailable, match="'churn' is unloaded; load it: POST /v2/repository/models/churn/load"):
        shelf.catalog.resolve("churn")
    assert shelf.catalog.unloaded == ["churn"]
    await until_closed(shelf.made[0])
    assert shelf.retired == ["tape 1"]
    await shelf.repository.unload("churn")  # again: nothing to do
    await shelf.repository.load("churn")
    assert shelf.catalog.resolve("churn").version == "2"
    assert shelf.catalog.unloaded == []


async def test_loaded_again_the_old_one_goes_when_its_calls_are_answered() -> None:
    shelf = Shelf()
    old = shelf.made[0]
    old.idle = False
    await shelf.repository.load("churn")
    assert shelf.catalog.resolve("churn").version == "2"
    assert shelf.catalog.versions("churn") == ["2"]
    await asyncio.sleep(0.1)
    assert not old.closed
    old.idle = True
    await until_closed(old)


async def test_who_asks_together_waits_for_one_loading() -> None:
    shelf = Shelf()
    shelf.seconds = 0.1
    await asyncio.gather(*(shelf.repository.load("churn") for _ in range(5)))
    assert len(shelf.made) == 2


async def test_one_who_stops_waiting_does_not_stop_the_loading() -> None:
    shelf = Shelf()
    shelf.seconds = 0.1
    waiting = asyncio.create_task(shelf.repository.load("churn"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await shelf.repository.load("churn")
    assert [one.version for one in shelf.made] == ["1", "2"]


async def test_what_does_not_load_leaves_everything_as_it_is() -> None:
    shelf = Shelf()
    shelf.broken = True
    with pytest.raises(BrokenModel, match="truncated"):
        await shelf.repository.load("churn")
    assert shelf.catalog.resolve("churn").version == "1"
    shelf.broken = False
    await shelf.repository.load("churn")
    assert shelf.catalog.resolve("churn").version == "2"


async def test_names_that_are_none_and_endpoints_that_still_load_are_refused() -> None:
    repository = Shelf().repository
    with pytest.raises(NotFound, match=r"no endpoint 'chrun'; did you mean churn\?"):
        await repository.load("chrun")
    for act in (repository.load, repository.unload):
        with pytest.raises(Unavailable, match="'late' is still loading"):
            await act("late")


async def test_a_rollout_is_not_loaded_over_but_may_be_unloaded() -> None:
    shelf = Shelf()
    shelf.catalog.splits["churn"] = cast(Any, object())
    with pytest.raises(Unavailable, match="a rollout shares the calls"):
        await shelf.repository.load("churn")
    await shelf.repository.unload("churn")
    assert shelf.catalog.splits == {}


async def test_a_rollout_that_begins_while_it_is_loaded_keeps_its_versions() -> None:
    shelf = Shelf()
    shelf.seconds = 0.1
    loading = asyncio.create_task(shelf.repository.load("churn"))
    await asyncio.sleep(0.01)
    shelf.catalog.splits["churn"] = cast(Any, object())
    with pytest.raises(Unavailable, match="a rollout shares the calls"):
        await loading
    assert shelf.catalog.versions("churn") == ["1"]
    await until_closed(shelf.made[1])
    assert not shelf.made[0].closed


async def test_load_after_unload_loads_again_however_long_the_first_loading_takes() -> None:
    shelf = Shelf()
    shelf.seconds = 0.1
    loads = [asyncio.create_task(shelf.repository.load("churn"))]
    await asyncio.sleep(0.01)
    unload = asyncio.create_task(shelf.repository.unload("churn"))
    await asyncio.sleep(0.01)
    loads += [asyncio.create_task(shelf.repository.load("churn")) for _ in range(2)]
    await asyncio.gather(unload, *loads)
    assert shelf.catalog.resolve("churn").version == "3"
    assert shelf.catalog.unloaded == []


async def test_a_server_that_does_not_allow_it_says_so() -> None:
    for act in (Locked().load, Locked().unload):
        with pytest.raises(Forbidden, match="without --model-control"):
            await act("churn")


def test_parameters_that_would_change_what_is_loaded_are_refused() -> None:
    refuse_parameters(["unload_dependents"])
    with pytest.raises(InvalidParameter, match="'config'"):
        refuse_parameters(["config"])
