"""What the engine `openai` costs: CPU for a token, latency that it adds, and the same by httpx and by a bare socket.

usage: python -m bench.engines [--rounds 3] [--streams 32] [--tokens 400] [--tick 5]
The server is a process of its own on the other core and sends events that were made before. "socket" reads and does
nothing else: what it takes is the kernel's and the loop's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
import uvloop

from bench import rig
from bench.rig import Entry
from fairlead.adapters.engines.served.openai import OpenAIEngine
from fairlead.adapters.engines.served.saying import Saying, chunk_of
from fairlead.adapters.engines.served.sse import Events
from fairlead.contracts.engine import EngineOptions, Event
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Ended, Generation, Message, Piece, Sampling

Ask = Callable[[int, list[float]], Awaitable[int]]
"""Streams so many tokens, adds the latency of each, and says how many came."""


async def ours(port: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    engine = OpenAIEngine(EngineOptions("m", "m", f"http://127.0.0.1:{port}/v1", options={"tokenize": False}))
    await engine.start()

    async def ask(tokens: int, late: list[float]) -> int:
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        said = 0

        def tell(event: Event) -> None:
            nonlocal said
            if isinstance(event, Piece):
                said += 1
                latency(event.text, late)
            elif isinstance(event, Ended):
                over.set_result(said)
            elif isinstance(event, FairleadError):
                over.set_exception(event)

        engine.generate(Generation("g", "m", (Message("user", "hi"),), Sampling(most=tokens)), tell)
        return await over

    return ask, engine.stop


async def by_httpx(port: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", limits=httpx.Limits(max_connections=256))

    async def ask(tokens: int, late: list[float]) -> int:
        """The same reading of events and JSON: only the transport is another."""
        events, saying, said = Events(), Saying("c"), 0
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": tokens}
        async with client.stream("POST", "/chat/completions", json=body) as answer:
            async for data in answer.aiter_raw():
                for one in events.feed(data):
                    if one == b"[DONE]":
                        continue
                    chunk = chunk_of(one)
                    for choice in chunk.choices or ():
                        piece = saying.piece(choice, chunk.usage)
                        if piece is not None:
                            said += 1
                            latency(piece.text, late)
        return said

    return ask, client.aclose


async def by_socket(port: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    loop = asyncio.get_running_loop()

    class Reading(asyncio.Protocol):
        def __init__(self, late: list[float]) -> None:
            self.said, self.late = 0, late
            self.over: asyncio.Future[int] = loop.create_future()

        def data_received(self, data: bytes) -> None:
            self.said += data.count(b'"content"')
            at = data.find(b'"content":"')
            latency(data[at + 11 :].partition(b'"')[0].decode(), self.late)
            if data.endswith(b"0\r\n\r\n"):
                self.over.set_result(self.said)

    async def ask(tokens: int, late: list[float]) -> int:
        body = json.dumps({"max_tokens": tokens}).encode()
        transport, reading = await loop.create_connection(lambda: Reading(late), "127.0.0.1", port)
        transport.write(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        try:
            return await reading.over
        finally:
            transport.close()

    async def close() -> None:
        """Nothing is kept."""

    return ask, close


def latency(text: str, late: list[float]) -> None:
    if text.isdigit():
        late.append((time.monotonic_ns() - int(text)) / 1000)


CLIENTS = {"socket": by_socket, "httpx": by_httpx, "fairlead": ours}


async def streamed(name: str, port: int, streams: int, tokens: int) -> dict[str, float]:
    """``cpu``: microseconds of this process for a token.  ``p50``, ``p99``: microseconds from its sending."""
    ask, close = await CLIENTS[name](port)
    late: list[float] = []
    await asyncio.gather(*(ask(5, []) for _ in range(streams)))
    began, wall = time.process_time(), time.perf_counter()
    said = await asyncio.gather(*(ask(tokens, late) for _ in range(streams)))
    took, wall = time.process_time() - began, time.perf_counter() - wall
    await close()
    assert said == [tokens] * streams, said
    total = tokens * streams
    found = {"cpu_us": took / total * 1e6, "tokens_per_cpu_second": total / took, "tokens_per_second": total / wall}
    if late:
        late.sort()
        found |= {"p50_us": late[len(late) // 2], "p99_us": late[len(late) * 99 // 100]}
    return found


async def short(name: str, port: int, times: int) -> dict[str, float]:
    """One token, one after another: what a request costs."""
    ask, close = await CLIENTS[name](port)
    await ask(1, [])
    took = []
    began = time.process_time()
    for _ in range(times):
        at = time.perf_counter()
        await ask(1, [])
        took.append((time.perf_counter() - at) * 1e6)
    cpu = (time.process_time() - began) / times * 1e6
    await close()
    return {"cpu_us": cpu, "p50_us": statistics.median(took)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.engines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--tick", type=float, default=5.0)
    options = parser.parse_args()
    cores = os.sched_getaffinity(0)
    found: dict[str, list[dict[str, float]]] = {}
    scenes = {"a token an event": ["--tick", str(options.tick)], "all at once": [], "one token": []}
    for scene, words in scenes.items():
        entry = Entry([sys.executable, "-m", "bench.servers.tokens", *words, "--port"])
        with rig.running(entry, lambda port: bool(rig.answers(b"GET / HTTP/1.1\r\n\r\n")(port) or True)) as (
            port,
            _,
            _,
        ):
            os.sched_setaffinity(0, {max(cores)})
            for _ in range(options.rounds):
                for name in CLIENTS:
                    if scene == "one token":
                        run = uvloop.run(short(name, port, 300))
                    else:
                        run = uvloop.run(streamed(name, port, options.streams, options.tokens))
                    found.setdefault(f"{scene}: {name}", []).append(run)
        os.sched_setaffinity(0, cores)
    rig.save("engines", found)
    rows = []
    for what, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        keys = ("cpu_us", "p50_us", "p99_us", "tokens_per_cpu_second")
        rows.append([what, *(f"{middle[key]:,.1f}" if key in middle else "" for key in keys)])
    print(rig.markdown(["scene", "CPU us", "p50 us", "p99 us", "a second on one core"], rows))


if __name__ == "__main__":
    main()
