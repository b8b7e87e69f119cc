"""A server of OpenAI's API that costs next to nothing: a stream of events that were made before.

usage: python -m bench.servers.tokens --port PORT [--tick MILLISECONDS] [--burst EVENTS]
Every stream gets ``burst`` events a tick, in one write; without a tick all of them at once. With a tick the text of an
event is when it was sent, in nanoseconds of the monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
PLAIN = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text: bytes) -> bytes:
    delta = b'[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    return chunk(FIRST + delta % text)


def end(tokens: int) -> bytes:
    usage = json.dumps({"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": tokens + 9}).encode()
    last = b'[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n'
    return (
        chunk(FIRST + last) + chunk(FIRST + b'[],"usage":%s}\n\n' % usage) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    )


class Stream(asyncio.Protocol):
    def __init__(self, streams: set[Stream], tick: float, burst: int) -> None:
        self._streams, self._tick, self._burst = streams, tick, burst
        self._data = b""
        self.left = self.tokens = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not found or len(body) < int(length[1] if length else 0):
            return
        self._data = b""
        if b"completions" not in head.split(b"\r\n", 1)[0]:
            self.transport.write(PLAIN)
            return
        self.tokens = self.left = json.loads(body)["max_tokens"]
        if self._tick:
            self.transport.write(HEAD)
            self._streams.add(self)
        else:
            self.transport.write(HEAD + event(b" word") * self.left + end(self.left))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._streams.discard(self)

    def step(self) -> None:
        now = min(self._burst, self.left)
        self.left -= now
        self.transport.write(event(b"%d" % time.monotonic_ns()) * now)
        if not self.left:
            self._streams.discard(self)
            self.transport.write(end(self.tokens))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tick", type=float, default=0.0)
    parser.add_argument("--burst", type=int, default=1)
    options = parser.parse_args()
    streams: set[Stream] = set()
    loop = asyncio.get_running_loop()
    made = lambda: Stream(streams, options.tick, options.burst)  # noqa: E731 - one expression
    await loop.create_server(made, "127.0.0.1", options.port)
    while True:
        await asyncio.sleep(options.tick / 1000 or 3600)
        for stream in [*streams]:
            stream.step()


if __name__ == "__main__":
    asyncio.run(main())
