"""More calls than a server can answer, on real sockets: who is answered, who is refused, and who is not hurt."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from running import Running, running
from tritonclient.grpc import service_pb2, service_pb2_grpc

from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec
from fairlead.serve.batcher import Policy
from fairlead.testing.models import EchoModel

ROW, ALLOWED = 0.02, 0.4
SECONDS, TIMES = 2.0, 6
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [21.0]}]}).encode()


class Slow:
    """Takes 20 ms a row, alone or in a batch."""

    signature = Signature(
        inputs=(TensorSpec("x", DataType.FP64, (-1, 1)),), outputs=(TensorSpec("y", DataType.FP64, (-1, 1)),)
    )
    traits = Traits()

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        time.sleep(ROW * len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Seen:
    codes: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    later: list[int] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Running]:
    with running({"slow": Slow(), "echo": EchoModel()}, policy=Policy(coalesce=False), grpc_port=0) as found:
        yield found


async def ask(server: Running, headers: str = "", name: str = "slow", body: bytes = BODY) -> tuple[int, bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    found = await reader.readexactly(length)
    writer.close()
    return int(answer[9:12]), answer.lower(), found


async def crowd(server: Running, share: float = 0.0) -> dict[str, Seen]:
    """Calls that come by the clock, several times as many as can be answered; ``share`` of them interactive."""
    seen = {"standard": Seen(), "interactive": Seen()}
    rng = np.random.default_rng(4)

    async def one(due: float, lane: str) -> None:
        headers = f"x-request-timeout-ms: {ALLOWED * 1000:g}\r\nx-request-priority: {lane}\r\n"
        status, head, body = await ask(server, headers)
        seen[lane].took.append(time.monotonic() - due)
        seen[lane].codes["ok" if status == 200 else json.loads(body)["code"]] += 1
        if status == 503:
            seen[lane].later.append(int(head.partition(b"retry-after: ")[2].partition(b"\r")[0]))

    begun, tasks, due = time.monotonic(), [], 0.0
    while (due := due + float(rng.exponential(ROW / TIMES))) < SECONDS:
        await asyncio.sleep(max(0.0, begun + due - time.monotonic()))
        tasks.append(asyncio.create_task(one(time.monotonic(), "interactive" if rng.random() < share else "standard")))
    await asyncio.gather(*tasks)
    return seen


async def test_as_many_are_answered_in_time_as_can_be_and_the_others_are_told_when_to_come(server: Running) -> None:
    seen = (await crowd(server))["standard"]
    assert set(seen.codes) <= {"ok", "overloaded", "deadline_exceeded"}
    assert seen.codes["ok"] >= 0.7 * SECONDS / ROW
    assert seen.codes["overloaded"] > 5 * seen.codes["deadline_exceeded"]
    assert min(seen.later) >= 1
    assert max(seen.later) <= 2
    metrics = await asyncio.to_thread(lambda: urlopen(f"{server.url}/metrics").read().decode())
    shed = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("fairlead_shed_total{"))
    assert shed == seen.codes["overloaded"]
    assert 'fairlead_queue_delay_seconds{endpoint="slow",version="1"}' in metrics
    assert 'fairlead_concurrency_limit{endpoint="slow",version="1"} 1.0' in metrics


async def test_urgent_calls_hardly_notice(server: Running) -> None:
    seen = await crowd(server, share=0.05)
    urgent = seen["interactive"]
    assert urgent.codes["ok"] >= 0.9 * sum(urgent.codes.values())
    assert seen["standard"].codes["overloaded"] > seen["standard"].codes["ok"]


async def test_another_endpoint_is_neither_refused_nor_made_to_wait(server: Running) -> None:
    load = asyncio.create_task(crowd(server))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}).encode()
    took = []
    while not load.done():
        began = time.monotonic()
        status, _, _ = await ask(server, name="echo", body=body)
        assert status == 200
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    assert (await load)["standard"].codes["overloaded"]
    assert len(took) > 20
    assert np.median(took) < ROW  # it never waits for a batch of the other


async def test_in_overload_a_call_is_refused_before_it_is_read(server: Running) -> None:
    load = asyncio.create_task(crowd(server))
    await asyncio.sleep(SECONDS / 2)
    codes = Counter()
    for _ in range(20):
        status, _, body = await ask(server, "x-request-timeout-ms: 100\r\n", body=b"{no json at all")
        codes[json.loads(body)["code"]] += 1
    assert codes["overloaded"] > codes["malformed_body"]
    await load
    status, _, _ = await ask(server, body=b"{no json at all")
    assert status == 400


async def test_grpc_is_told_the_same(server: Running) -> None:
    load = asyncio.create_task(crowd(server))
    await asyncio.sleep(SECONDS / 2)
    found = await asyncio.to_thread(_over_grpc, server)
    await load
    assert found[0] is grpc.StatusCode.UNAVAILABLE
    assert found[1]["fairlead-code"] == "overloaded"
    assert int(found[1]["retry-after"]) >= 1


def _over_grpc(server: Running) -> tuple[grpc.StatusCode, dict[str, str]]:
    request = service_pb2.ModelInferRequest(model_name="slow")
    request.inputs.add(name="x", datatype="FP64", shape=[1, 1]).contents.fp64_contents.append(1.0)
    with grpc.insecure_channel(server.channel) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(20):
            try:
                stub.ModelInfer(request, metadata=[("x-request-timeout-ms", "100")], timeout=5)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return error.code(), dict(error.trailing_metadata())
    return grpc.StatusCode.OK, {}
