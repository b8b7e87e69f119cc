"""How many may watch, and what the one gets who comes too late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pytest

from console_frame import console
from fairlead.console import live
from fairlead.console.reading import Reader
from fairlead.testing.clock import ManualClock


async def test_who_comes_too_late_is_told_so_before_the_answer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WATCHERS", 0)
    async with console(lambda _: []) as (client, _):
        answer = await client.get("/console/events", headers={"accept": "text/event-stream"})
        assert answer.status_code == 503
        assert "pages watch already" in answer.text


class Broken:
    """Raises what no store says, twice, and then answers."""

    looks = 0

    def stamps(self) -> Mapping[str, str]:
        self.looks += 1
        if self.looks < 3:
            raise RuntimeError("of a driver")
        return {"windows": str(self.looks)}


async def test_an_error_that_nobody_expected_ends_no_watching(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(ManualClock(), kept=-1.0)
    watching = live.Live(Broken(), reader, look=0.001)
    events = watching.watch()
    seen: list[bytes] = []
    with caplog.at_level(logging.ERROR, "fairlead.console"):
        async with asyncio.timeout(5):
            while not (seen and seen[-1].startswith(b"event: changed")):
                seen.append(await anext(events))
    assert seen[1] == b"event: trouble\ndata: internal\n\n"
    assert [record.message for record in caplog.records] == ["the stores could not be looked at"]
    watching.close()
    await events.aclose()  # type: ignore[attr-defined]
    reader.close()
