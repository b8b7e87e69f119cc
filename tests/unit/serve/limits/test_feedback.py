from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import RateLimited
from fairlead.contracts.events import Accepted
from fairlead.contracts.limits import Limits, Measure, Rate
from fairlead.serve.http import labels
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import Rules
from fairlead.testing.clock import ManualClock


def request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "headers": [], "method": "POST", "path": "/v1/feedback"}, receive)


async def test_labels_count_as_a_request_with_its_bytes_and_as_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(every=Limits((Rate(2, 60, burst=2), Rate(1, 60, Measure.ROWS)), concurrency=1))
    limiter = Limiter(rules, ManualClock(), lambda *_: None)
    kept: list[bytes] = []

    def keep(body: bytes, _check: object) -> Accepted:
        kept.append(body)
        return Accepted(1, 0, 0)

    monkeypatch.setattr("fairlead.serve.http.sight_of", lambda _request: Someone())
    handle = labels(keep, 1000, limiter)
    answers = [await handle(request(b"[]")) for _ in range(2)]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["1", "0"]
    with pytest.raises(RateLimited, match="2 requests/min"):
        await handle(request(b"[]"))
    assert kept == [b"[]"] * 2


class Someone:
    """A sight with a caller."""

    caller = Caller("shop", "key", ())
