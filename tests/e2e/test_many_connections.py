"""64 connections, 20,000 different rows, no wrong answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

CONNECTIONS, ROWS = 64, 20_000


@pytest.mark.slow
async def test_every_row_gets_its_own_answer(start, doubler: Path) -> None:
    port = int(start("serve", str(doubler), "--port", "0").url().rpartition(":")[2])
    turns = iter(range(ROWS))
    wrong: list[tuple[int, bytes]] = []
    batched = 0

    async def connection() -> None:
        nonlocal batched
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in turns:
            body = json.dumps(
                {"id": str(turn), "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [turn, -turn]}]}
            ).encode()
            writer.write(
                b"POST /v2/models/doubler/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            answer = json.loads(await reader.readexactly(length))
            if answer.get("id") != str(turn) or answer["outputs"][0]["data"] != [2.0 * turn, -2.0 * turn]:
                wrong.append((turn, json.dumps(answer).encode()))
            batched += b'desc="1 rows"' not in head
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    assert wrong == []
    assert batched > ROWS / 100, "hardly anything rode together: the test would prove nothing"
