"""A server of the Open Inference Protocol that is sick as asked: a share of its answers are errors, another never come.

usage: python -m bench.servers.sick --errors 0.5 --status 503 --hangs 0.05 --seconds 2 --port PORT
GET /asked gives the wall-clock times of the inference requests that came. Answers take ``--takes`` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time

_MODEL = {
    "name": "m",
    "versions": ["1"],
    "platform": "bench",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
}


class Sick:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.chance = random.Random(1)
        self.asked: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((line for line in head.lower().split("\r\n") if line.startswith("content-length:")), ":0")
                body = await reader.readexactly(int(length.partition(":")[2]))
                status, answer = await self.answer(head.split(" ")[1], body)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/asked":
            return 200, json.dumps(self.asked).encode()
        if not path.endswith("/infer"):
            return 200, json.dumps({"name": "sick", "version": "1"} if path == "/v2" else _MODEL).encode()
        self.asked.append(time.time())
        draw = self.chance.random()
        if draw < self.options.hangs:
            await asyncio.sleep(self.options.seconds)
        await asyncio.sleep(self.options.takes)
        if self.options.hangs <= draw < self.options.hangs + self.options.errors:
            return self.options.status, b'{"error": "sick"}'
        rows = json.loads(body)["inputs"][0]["data"]
        output = {"name": "y", "datatype": "FP32", "shape": [len(rows), 1], "data": [2 * one for one in rows]}
        return 200, json.dumps({"model_name": "m", "outputs": [output]}).encode()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.servers.sick")
    parser.add_argument("--errors", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=503)
    parser.add_argument("--hangs", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--takes", type=float, default=0.005)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    server = await asyncio.start_server(Sick(options).serve, "127.0.0.1", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
