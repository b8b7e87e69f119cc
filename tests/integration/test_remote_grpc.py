"""A model on other servers over gRPC, and what both transports tell a Fairlead behind them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from running import Running, running
from test_remote import asking, until, values

from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    InputError,
    ModelFailed,
    Overloaded,
    QueueFull,
    SourceNotFound,
    Unavailable,
)
from fairlead.contracts.types import DataType, Reply, Signature, TensorSpec
from fairlead.contracts.upstream import Address, Garbled, Place, Unreached
from fairlead.kit import plugins
from fairlead.kit.codec.protos import InferRequest, InferResponse, message
from fairlead.testing import upstream_suite
from fairlead.testing.models import Model, RecordingModel, SlowModel

SIGNATURE = Signature((TensorSpec("x", DataType.FP32, (-1, 1)),), (TensorSpec("y", DataType.FP32, (-1, 1)),))
METADATA = message("inference.ModelMetadataResponse")
Answer = Callable[[Any, grpc.aio.ServicerContext], Awaitable[bytes]]


def typed(rows: int) -> bytes:
    response = InferResponse(model_name="m")
    response.outputs.add(name="y", datatype="FP32", shape=[rows, 1]).contents.fp32_contents.extend([7.0] * rows)
    return bytes(response.SerializeToString())


class Double:
    """A server of ``grpc.aio`` whose ``infer`` a test chooses."""

    def __init__(self) -> None:
        self.infer: Answer = self.right
        self.asked = 0
        self.url = ""

    async def right(self, request: Any, context: grpc.aio.ServicerContext) -> bytes:
        return typed(request.inputs[0].shape[0])

    async def start(self) -> grpc.aio.Server:
        async def infer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.asked += 1
            return await self.infer(InferRequest.FromString(data), context)

        async def metadata(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            found = METADATA(name="m", platform="test_double")
            found.inputs.add(name="x", datatype="FP32", shape=[-1, 1])
            found.outputs.add(name="y", datatype="FP32", shape=[-1, 1])
            return bytes(found.SerializeToString())

        methods = {"ModelInfer": infer, "ModelMetadata": metadata}
        handlers = {name: grpc.unary_unary_rpc_method_handler(one) for name, one in methods.items()}
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
        )
        self.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        return server


@asynccontextmanager
async def double() -> AsyncIterator[Double]:
    made = Double()
    server = await made.start()
    try:
        yield made
    finally:
        await server.stop(None)


async def test_typed_answers_are_read() -> None:
    async with double() as there, asking(there.url) as here:
        assert values(await here.ask(1.0, 2.0)) == [7.0, 7.0]


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        ("INVALID_ARGUMENT", InputError, "invalid"),
        ("INTERNAL", ModelFailed, "failed"),
        ("UNKNOWN", ModelFailed, "failed"),
        ("RESOURCE_EXHAUSTED", QueueFull, "refused"),
        ("DEADLINE_EXCEEDED", DeadlineExceeded, "timeout"),
        ("UNAVAILABLE", Unavailable, "unreached"),
        ("NOT_FOUND", Unavailable, "unreached"),
        ("PERMISSION_DENIED", Unavailable, "unreached"),
    ],
)
async def test_what_a_status_means(code: str, kind: type[FairleadError], outcome: str) -> None:
    async def refused(request: Any, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode[code], "no,\nnot now", (("retry-after", "9"),))
        raise AssertionError

    async with double() as there, asking(there.url, retries=0) as here:
        there.infer = refused
        found = await here.ask(1.0)
        assert type(found) is kind
        assert f"{code}: no, not now" in str(found)
        assert here.asked == {outcome: 1}
        if kind in (QueueFull, Unavailable):
            assert found.retry_after == 9


async def test_a_fairlead_that_sheds_load_is_full_and_not_away() -> None:
    async def refused(request: Any, context: grpc.aio.ServicerContext) -> bytes:
        trailers = (("fairlead-code", "overloaded"), ("retry-after", "2"))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "more calls come than can be answered", trailers)
        raise AssertionError

    async with double() as there, asking(there.url, retries=0) as here:
        there.infer = refused
        found = await here.ask(1.0)
        assert (type(found), found.retry_after) == (Overloaded, 2)
        assert here.asked == {"refused": 1}


async def no_message(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    return b"\xff\xff\xff"


async def fewer_values(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    response = InferResponse.FromString(typed(1))
    response.outputs[0].shape[0] = 2
    return bytes(response.SerializeToString())


async def short_bytes(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    response = InferResponse(raw_output_contents=[b"\0\0"])
    response.outputs.add(name="y", datatype="FP32", shape=[1, 1])
    return bytes(response.SerializeToString())


async def more_bytes_than_outputs(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    return bytes(InferResponse(raw_output_contents=[b"\0"]).SerializeToString())


async def typed_halves(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    response = InferResponse()
    response.outputs.add(name="y", datatype="FP16", shape=[1, 1])
    return bytes(response.SerializeToString())


async def small_integers(request: Any, context: grpc.aio.ServicerContext) -> bytes:
    response = InferResponse()
    response.outputs.add(name="y", datatype="INT8", shape=[1, 1]).contents.int_contents.append(300)
    return bytes(response.SerializeToString())


@pytest.mark.parametrize(
    "answering",
    [no_message, fewer_values, short_bytes, more_bytes_than_outputs, typed_halves, small_integers],
    ids=lambda one: one.__name__,
)
async def test_garbage_fails_the_call_and_names_the_address(answering: Answer) -> None:
    async with double() as there, asking(there.url, failures=1) as here:
        there.infer = answering
        outcome = await here.ask(1.0)
        assert isinstance(outcome, ModelFailed)
        assert f"{there.url} broke the protocol: its answer" in str(outcome)
        assert here.asked == {"garbled": 1}
        assert "is left out for" in here.live.executor.troubles()[0]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_an_answer_over_the_limit_is_not_read(scheme: str) -> None:
    wide = Model(lambda inputs: {"y": np.repeat(inputs["x"], 100_000, axis=0)}, SIGNATURE)
    with running({"m": wide}, grpc_port=0) as server:
        transport = plugins.load("fairlead.upstreams", scheme)(Place(address(server, scheme), "m", largest=100_000))
        await transport.describe()
        with pytest.raises((Garbled, ModelFailed)):  # its own check of rows may come first
            await transport.infer({"x": np.ones((1, 1), np.float32)}, {}, {}, 10.0)
        transport.close()
        await asyncio.sleep(0.01)


def address(server: Running, scheme: str) -> Address:
    return Address(scheme, "127.0.0.1", server.port if scheme == "http" else int(server.channel.rpartition(":")[2]))


both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@both
async def test_a_fairlead_behind_stops_working_for_callers_that_hang_up(scheme: str) -> None:
    slow = SlowModel(SIGNATURE)
    with running({"m": slow}, grpc_port=0) as server:
        async with asking(str(address(server, scheme))) as here:
            call, answered = here.begin(1.0)
            await until(lambda: server.pipeline.in_flight == 1)
            here.live.cancel(call)
            await until(lambda: server.pipeline.in_flight == 0)
            assert not slow.release.is_set()
            assert isinstance(await answered, FairleadError)
            slow.release.set()


@both
async def test_the_time_that_is_left_goes_with_the_request(scheme: str) -> None:
    slow = SlowModel(SIGNATURE)
    with running({"m": slow}, grpc_port=0) as server:
        async with asking(str(address(server, scheme))) as here:
            began = time.monotonic()
            first = here.begin(1.0, deadline=0.3)[1]
            assert isinstance(await first, DeadlineExceeded)
            await until(lambda: server.pipeline.in_flight == 0)
            assert time.monotonic() - began < 5
            slow.release.set()


@both
async def test_parameters_reach_the_model_and_calls_with_others_ride_alone(scheme: str) -> None:
    model = RecordingModel(SIGNATURE)
    given = {"flag": True, "count": 3, "share": 0.5, "name": "x"}
    with running({"m": model}, grpc_port=0) as server:
        async with asking(str(address(server, scheme))) as here:
            now = asyncio.get_running_loop().time()
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            inputs = {"x": np.ones((1, 1), np.float32)}
            done = lambda call: answered.set_result(call.outcome)  # noqa: E731 - as short as that
            here.live.submit(here.live.call(inputs, given, done, arrived=now))
            assert isinstance(await answered, Reply)
    assert model.parameters == [given]


@both
async def test_a_version_that_is_not_there_is_said_at_load(scheme: str) -> None:
    told = pytest.raises(SourceNotFound, match="name the model that is there")
    with running({"other": RecordingModel(SIGNATURE)}, grpc_port=0) as server, told:
        async with asking(str(address(server, scheme))):
            pass


async def test_every_datatype_survives_json_too() -> None:
    """For a server without raw tensors; bytes that are no text are refused."""
    with running(upstream_suite.MODELS, max_body=1 << 24) as server:
        transport = plugins.load("fairlead.upstreams", "http")(Place(address(server, "http"), "everything"))
        found = await transport.describe()
        transport._binary = False
        inputs, kinds = {}, {}
        for told in found.inputs:
            kind = DataType(told.datatype)
            values_ = np.array([["a"], ["\u00fc"]], object) if kind is DataType.BYTES else np.array([[0], [1]])
            inputs[told.name], kinds[told.name] = values_.astype(kind.numpy), kind
        outputs = await transport.infer(inputs, kinds, {}, 10.0)
        for name, array in inputs.items():
            back = outputs[name.replace("in_", "out_")]
            assert back.tolist() == array.tolist()
        with pytest.raises(InputError, match="not UTF-8"):
            await transport.infer({**inputs, "in_BYTES": np.array([[b"\xff"]] * 2, object)}, kinds, {}, 10.0)
        transport.close()


@both
async def test_a_machine_that_takes_no_connection_is_given_two_seconds(scheme: str) -> None:
    with ExitStack() as stack:
        deaf, *others = (stack.enter_context(socket.socket()) for _ in range(5))
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for other in others:  # they fill its queue, and the next one is not answered
            other.setblocking(False)
            other.connect_ex(deaf.getsockname())
        transport = plugins.load("fairlead.upstreams", scheme)(Place(Address(scheme, *deaf.getsockname()), "m"))
        began = time.monotonic()
        with pytest.raises(Unreached):
            await asyncio.wait_for(transport.describe(), 15)
        assert 1 < time.monotonic() - began < 10
        transport.close()
        await asyncio.sleep(0.01)
