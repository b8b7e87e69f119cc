"""A rolling restart that is overtaken by the end of the server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from fairlead.serve.rolling import Rolling


def worker() -> Any:
    return SimpleNamespace(settled=asyncio.Event(), over=asyncio.Event(), was_ready=True)


async def test_nobody_is_started_once_the_server_ends() -> None:
    places = [SimpleNamespace(worker=worker(), coming=None) for _ in range(2)]
    started: list[Any] = []
    stopping = asyncio.Event()

    def start(place: Any) -> Any:
        started.append(place)
        return SimpleNamespace(settled=settled, was_ready=True)

    settled = asyncio.Event()
    rolling = asyncio.create_task(Rolling(cast(Any, places), start, lambda: None, stopping).run())
    await asyncio.sleep(0)
    settled.set()
    await asyncio.sleep(0.01)
    stopping.set()
    places[0].worker.over.set()  # it drained, as all do now
    await asyncio.wait_for(rolling, 5)
    assert started == places[:1]
