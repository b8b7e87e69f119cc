"""What stands between the server's port and the console's process: nobody who leaves takes a place with them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from starlette.requests import Request

from fairlead.contracts.errors import MissingExtra, Unavailable
from fairlead.serve.console import AT_ONCE, Passing


class Never:
    """A console that is asked and says what the test wants."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    async def reached(self, _scheme: str, _host: str, _port: int) -> str:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return ""


def request(method: str = "GET", body: bytes = b"", length: int | None = None) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    size = len(body) if length is None else length
    scope = {
        "type": "http", "method": method, "path": "/console", "raw_path": b"/console", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % size)], "scheme": "http",
        "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 5),
    }  # fmt: skip
    return Request(scope, receive)


def test_those_who_leave_give_their_place_back() -> None:
    async def lives() -> None:
        consoles = Never()
        passing = Passing(consoles)
        waiting = [asyncio.create_task(passing.handle(request())) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        assert (await passing.handle(request())).status_code == 503
        for one in waiting:
            one.cancel()
        for one in waiting:
            with contextlib.suppress(asyncio.CancelledError):
                await one
        consoles.error = MissingExtra("pip install 'fairlead[console]'")
        found = await passing.handle(request())
        assert found.status_code == 501
        assert b"fairlead[console]" in found.body

    asyncio.run(lives())


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable("<not> yet"), 503), (OSError("gone"), 503), (TimeoutError(), 503), (MissingExtra("x"), 501)],
)
def test_every_failure_gives_its_place_back(error: BaseException, status: int) -> None:
    async def lives() -> None:
        passing = Passing(Never(error))
        for _ in range(AT_ONCE + 1):
            found = await passing.handle(request())
            assert found.status_code == status
            assert b"<not>" not in found.body

    asyncio.run(lives())


def test_a_fault_of_ours_is_no_page_and_gives_its_place_back() -> None:
    async def lives() -> None:
        passing = Passing(Never(KeyError("x")))
        for _ in range(AT_ONCE + 1):
            with pytest.raises(KeyError):
                await passing.handle(request())

    asyncio.run(lives())


def test_a_body_that_is_too_large_is_refused_before_anybody_is_asked() -> None:
    found = asyncio.run(Passing(Never(KeyError("asked"))).handle(request("POST", b"x", 2**30)))
    assert found.status_code == 413
