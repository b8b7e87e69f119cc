"""How many may watch, and what the one gets who comes too late."""

from __future__ import annotations

import pytest

from console_frame import console
from fairlead.console import live


async def test_who_comes_too_late_is_told_so_before_the_answer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WATCHERS", 0)
    async with console(lambda _: []) as (client, _):
        answer = await client.get("/console/events", headers={"accept": "text/event-stream"})
        assert answer.status_code == 503
        assert "pages watch already" in answer.text
