"""Open and close the server many times: what it held it gives back."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import httpx
from running import running

from fairlead.testing.models import EchoModel

TIMES = 50
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}


def held() -> tuple[int, int]:
    """Open descriptors and threads."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def once() -> None:
    with running({"echo": EchoModel()}) as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/v2/models/echo/infer", json=BODY).status_code == 200
        assert client.get("/metrics").status_code == 200


def test_fifty_servers_leave_nothing_open() -> None:
    once()
    before = held()
    for _ in range(TIMES):
        once()
    after = held()
    assert after[0] <= before[0] + 2, f"descriptors: {before[0]} before, {after[0]} after {TIMES} servers"
    assert after[1] <= before[1] + 1, f"threads: {before[1]} before, {after[1]} after {TIMES} servers"
