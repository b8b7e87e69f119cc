"""Servers of the Open Inference Protocol that misbehave as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

MODEL = {
    "name": "m",
    "versions": ["1"],
    "platform": "test_double",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
}

Answering = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """One request. ``rows``: the values of the input ``x``."""

    def __init__(self, head: str, body: bytes) -> None:
        self.head, self.body = head, body

    @property
    def path(self) -> str:
        return self.head.split(" ")[1]

    @property
    def headers(self) -> dict[str, str]:
        lines = [line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line]
        return {name.lower(): value for name, value in lines}

    @property
    def rows(self) -> list[float]:
        values: list[float] = json.loads(self.body)["inputs"][0]["data"]
        return values


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def doubled(rows: list[float], **more: Any) -> bytes:
    output = {"name": "y", "datatype": "FP32", "shape": [len(rows), 1], "data": [2 * one for one in rows], **more}
    return json.dumps({"model_name": "m", "model_version": None, "outputs": [output]}).encode()


class Double:
    """Answers twice ``x`` in plain JSON, until ``infer`` is replaced. ``asked``: what came, but for descriptions.

    ``model``: what it says of its model, ``version`` what of itself.  ``hangups``: connections that were left.
    """

    def __init__(self) -> None:
        self.infer: Answering = self.right
        self.model: dict[str, Any] = MODEL
        self.version: dict[str, Any] = {"name": "double", "version": "1"}
        self.asked: list[Asked] = []
        self.connections = 0
        self.hangups = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """As when its machine is gone: whatever was open is reset."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def right(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(doubled(asked.rows)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((line for line in head.lower().split("\r\n") if line.startswith("content-length:")), "0")
                asked = Asked(head, await reader.readexactly(int(length.rpartition(":")[2])))
                await self._answer(asked, writer, reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hangups += 1
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        if asked.head.startswith("GET"):
            writer.write(http(json.dumps(self.version if asked.path == "/v2" else self.model).encode()))
            return
        self.asked.append(asked)
        answering = asyncio.ensure_future(self.infer(asked, writer))
        gone = asyncio.ensure_future(reader.read(1))  # nobody sends more before the answer: this is a hang-up
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()
            raise ConnectionError
        answering.result()
        if not gone.done():
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)


@asynccontextmanager
async def doubles(count: int = 1) -> AsyncIterator[list[Double]]:
    made = [Double() for _ in range(count)]
    for one in made:
        await one.start()
    try:
        yield made
    finally:
        for one in made:
            one.kill()
        await asyncio.sleep(0)
