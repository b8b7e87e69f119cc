"""What gRPC costs in Python before anything is done: grpc.aio, raw bytes in, constant bytes out, no protobuf.

usage: python -m bench.servers.floor_grpc FILE PORT; FILE holds the answer.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop


async def main(answer: bytes) -> None:
    async def infer(_: bytes, __: Any) -> bytes:
        return answer

    handler = grpc.unary_unary_rpc_method_handler(infer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]).read_bytes()))
