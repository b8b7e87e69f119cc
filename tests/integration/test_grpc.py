"""gRPC as its clients speak it, on a real server: the same answers, errors and cancellations as over HTTP."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from running import Running, running
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec
from fairlead.serve.batcher import Policy
from fairlead.testing.models import EchoModel, Model

KINDS = [kind for kind in DataType if kind is not DataType.BF16]
EVERY = Signature(
    tuple(TensorSpec(kind.value, kind, (-1, 2), required=False, missing=Missing.FORBID) for kind in KINDS),
    tuple(TensorSpec(f"{kind.value}_back", kind, (-1, 2)) for kind in KINDS),
)


def back(inputs: Tensors) -> Tensors:
    rows = len(next(iter(inputs.values())))
    empty = {kind.value: np.zeros((rows, 2), kind.numpy) for kind in KINDS}
    return {f"{name}_back": array for name, array in {**empty, **inputs}.items()}


class Slow(Model):
    """Waits for ``go``, then echoes; ``asked`` is set when it was asked."""

    def __init__(self) -> None:
        self.go, self.asked = threading.Event(), threading.Event()
        super().__init__(self.wait)

    def wait(self, inputs: Tensors) -> Tensors:
        self.asked.set()
        self.go.wait(10)
        if (inputs["x"] == 13).any():
            raise RuntimeError("thirteen")
        return {"y": inputs["x"]}


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def server(slow: Slow) -> Iterator[Running]:
    slow.go.set()
    with running({"every": Model(back, EVERY), "slow": slow, "echo": EchoModel()}, grpc_port=0) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.channel) as made:
        yield made


def tensor(name: str, array: np.ndarray[Any, Any], kind: str = "FP64") -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array)
    return made


X = np.array([[1.0, 2.0], [3.0, 4.0]])

VALUES: dict[DataType, list[Any]] = {
    DataType.BOOL: [[True, False]],
    DataType.BYTES: [["é", ""]],
    **{kind: [[0, 100]] for kind in KINDS if kind.value.startswith(("INT", "UINT"))},
    **{kind: [[-1.5, 0.25]] for kind in KINDS if kind.is_float},
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_every_datatype_comes_back_as_it_went(client: triton.InferenceServerClient, kind: DataType) -> None:
    array = np.array(VALUES[kind], object if kind is DataType.BYTES else kind.numpy)
    reply = client.infer("every", [tensor(kind.value, array, kind.value)], request_id="7")
    found = reply.as_numpy(f"{kind.value}_back")
    wanted = np.array([[b"\xc3\xa9", b""]], object) if kind is DataType.BYTES else array
    assert found.tolist() == wanted.tolist()
    assert (reply.get_response().id, reply.get_response().model_version) == ("7", "1")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not DataType.FP16], ids=lambda kind: kind.value)
def test_typed_contents_come_back_typed(server: Running, kind: DataType) -> None:
    fields = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}
    field = fields.get(kind.value, "uint" if kind.value.startswith("U") else "int") + "_contents"
    values = [value.encode() if isinstance(value, str) else value for value in VALUES[kind][0]]
    request = service_pb2.ModelInferRequest(model_name="every")
    getattr(request.inputs.add(name=kind.value, datatype=kind.value, shape=[1, 2]).contents, field).extend(values)
    request.outputs.add(name=f"{kind.value}_back")
    with grpc.insecure_channel(server.channel) as channel:
        (output,) = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request).outputs
    assert list(getattr(output.contents, field)) == values
    assert (output.datatype, list(output.shape)) == (kind.value, [1, 2])


def test_the_same_as_over_http(server: Running, client: triton.InferenceServerClient) -> None:
    reply = client.infer("echo", [tensor("x", X)]).as_numpy("y")
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2, 2], "data": X.ravel().tolist()}]}
    over_http = httpx.post(f"{server.url}/v2/models/echo/infer", json=body).json()["outputs"][0]
    assert reply.ravel().tolist() == over_http["data"]
    assert 'endpoint="echo"' in httpx.get(f"{server.url}/metrics").text


def status_of(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_what_is_wrong_has_a_status_and_a_sentence(client: triton.InferenceServerClient) -> None:
    fine = tensor("x", X)
    for call, code, words in (
        (lambda: client.infer("ecco", [fine]), "NOT_FOUND", "did you mean echo?"),
        (lambda: client.infer("echo", [fine], model_version="9"), "NOT_FOUND", "no version '9'"),
        (lambda: client.infer("echo", [tensor("z", X)]), "INVALID_ARGUMENT", "unknown input 'z'"),
        (lambda: client.infer("echo", [fine, fine]), "INVALID_ARGUMENT", "given twice"),
        (lambda: client.infer("echo", [tensor("x", X[0])]), "INVALID_ARGUMENT", "expected shape [-1, 2]"),
        (lambda: client.infer("echo", []), "INVALID_ARGUMENT", "missing input 'x'"),
        (lambda: client.infer("slow", [tensor("x", X * 0 + 13)]), "INTERNAL", "the model"),
        (
            lambda: client.infer("echo", [fine], outputs=[triton.InferRequestedOutput("yy")]),
            "INVALID_ARGUMENT",
            "did you mean y?",
        ),
        (
            lambda: client.infer("echo", [fine], outputs=[triton.InferRequestedOutput("y", class_count=2)]),
            "INVALID_ARGUMENT",
            "'classification' is not supported",
        ),
        (lambda: client.infer("echo", [tensor("x", np.zeros((200_000, 2)))]), "RESOURCE_EXHAUSTED", "the limit is"),
    ):
        found, told = status_of(call)
        assert (found, words in told) == (code, True), (found, told)


def test_priority_and_request_id_are_metadata(client: triton.InferenceServerClient) -> None:
    client.infer("echo", [tensor("x", X)], headers={"x-request-priority": "interactive"})
    code, told = status_of(lambda: client.infer("echo", [tensor("x", X)], headers={"x-request-priority": "vip"}))
    assert (code, "expected interactive, standard, batch" in told) == ("INVALID_ARGUMENT", True)


def test_raw_and_typed_are_not_mixed_and_counts_agree(server: Running) -> None:
    with grpc.insecure_channel(server.channel) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def told(**more: Any) -> str:
            request = service_pb2.ModelInferRequest(model_name="echo", **more)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert dict(caught.value.trailing_metadata())["fairlead-code"] == "invalid_tensor"
            return str(caught.value.details())

        contents = service_pb2.InferTensorContents(fp64_contents=[1.0, 2.0])
        item = service_pb2.ModelInferRequest.InferInputTensor
        typed = item(name="x", datatype="FP64", shape=[1, 2], contents=contents)
        assert "send one of them" in told(inputs=[typed], raw_input_contents=[b"a" * 16])
        assert "1 elements for 0 inputs" in told(raw_input_contents=[b"a"])
        short = item(name="x", datatype="FP64", shape=[2, 2], contents=contents)
        assert "[2, 2]" in told(inputs=[short])
        other = item(name="x", datatype="FP32", shape=[1, 2], contents=contents)
        assert "goes into fp32_contents, found fp64_contents" in told(inputs=[other])
        half = item(name="x", datatype="FP16", shape=[1, 2])
        assert "FP16 has no typed contents" in told(inputs=[half])
        assert "takes 16 bytes" in told(
            inputs=[item(name="x", datatype="FP64", shape=[1, 2])], raw_input_contents=[b"a"]
        )


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    assert status_of(lambda: client.is_model_ready("none"))[0] == "NOT_FOUND"
    assert client.get_server_metadata().name == "fairlead"
    told = client.get_model_metadata("echo", as_json=True)
    assert told["inputs"] == [{"name": "x", "datatype": "FP64", "shape": ["-1", "2"]}]
    assert [one.name for one in client.get_model_repository_index().models] == ["every", "slow", "echo"]
    code, words = status_of(client.get_log_settings)
    assert code == "UNIMPLEMENTED"
    assert "services: grpc.health.v1.Health" in words


def test_a_deadline_of_the_client_is_the_one_deadline(server: Running, slow: Slow) -> None:
    slow.go.clear()
    with triton.InferenceServerClient(server.channel) as client:
        began = time.monotonic()
        assert status_of(lambda: client.infer("slow", [tensor("x", X)], client_timeout=0.2))[0] == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 2
    ends = time.monotonic() + 5
    while server.pipeline.in_flight and time.monotonic() < ends:
        time.sleep(0.01)
    assert not server.pipeline.in_flight, "the server knows of it too"
    slow.go.set()


def test_who_hangs_up_cancels_only_itself(server: Running, slow: Slow) -> None:
    slow.go.clear()
    with grpc.insecure_channel(server.channel) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="slow", raw_input_contents=[X.tobytes()])
        request.inputs.add(name="x", datatype="FP64", shape=[2, 2])
        calls = [stub.ModelInfer.future(request) for _ in range(5)]
        assert slow.asked.wait(5)
        calls[2].cancel()
        time.sleep(0.1)
        slow.go.set()
        answers = [call.result(5).raw_output_contents[0] for place, call in enumerate(calls) if place != 2]
    assert answers == [X.tobytes()] * 4


def test_a_stream_answers_in_order_and_goes_on_after_an_error(client: triton.InferenceServerClient) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: told.put((result, error)))
    for number in range(50):
        client.async_stream_infer("echo" if number % 7 else "none", [tensor("x", X + number)], request_id=str(number))
    for number in range(50):
        result, error = told.get(timeout=5)
        if number % 7:
            assert error is None
            assert (result.get_response().id, result.as_numpy("y")[0, 0]) == (str(number), 1.0 + number)
        else:
            assert "there is no endpoint 'none'" in str(error)
    client.stop_stream()


def test_a_stream_that_is_cancelled_leaves_nothing(server: Running, slow: Slow) -> None:
    slow.go.clear()
    with triton.InferenceServerClient(server.channel) as client:
        client.start_stream(lambda result, error: None)
        for _ in range(20):
            client.async_stream_infer("slow", [tensor("x", X)])
        assert slow.asked.wait(5)
        client.stop_stream(cancel_requests=True)
    ends = time.monotonic() + 5
    while server.pipeline.in_flight and time.monotonic() < ends:
        time.sleep(0.01)
    assert not server.pipeline.in_flight
    slow.go.set()


def test_many_callers_at_once(server: Running) -> None:
    def work(number: int) -> bool:
        with triton.InferenceServerClient(server.channel) as client:
            rows = np.full((number % 5 + 1, 2), float(number))
            return all((client.infer("echo", [tensor("x", rows)]).as_numpy("y") == rows).all() for _ in range(40))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(work, range(12)))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: triton.InferenceServerClient, algorithm: str) -> None:
    rows = np.zeros((3000, 2))
    assert client.infer("echo", [tensor("x", rows)], compression_algorithm=algorithm).as_numpy("y").shape == (3000, 2)


def test_health_and_reflection(server: Running) -> None:
    with grpc.insecure_channel(server.channel) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService", "echo"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="echo"))
        assert next(watched).status == 1
        known = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in known.get_services()
        file = known.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert "ModelInfer" in [method.name for method in file.service[0].method]
        with pytest.raises(KeyError):
            known.FindFileContainingSymbol("no.such")
        server.stop()
        assert [one.status for one in watched] == [2]


def test_calls_in_flight_are_answered_before_the_server_ends(slow: Slow) -> None:
    with running({"slow": slow}, grpc_port=0) as server:
        channel = grpc.insecure_channel(server.channel)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="slow", raw_input_contents=[X.tobytes()])
        request.inputs.add(name="x", datatype="FP64", shape=[2, 2])
        call = stub.ModelInfer.future(request)
        assert slow.asked.wait(5)
        server.stop()
        time.sleep(0.3)
        slow.go.set()
        assert call.result(5).raw_output_contents[0] == X.tobytes()
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=2)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        channel.close()


def test_a_full_queue_is_said_so(slow: Slow) -> None:
    with (
        running({"slow": slow}, policy=Policy(queue_calls=2), grpc_port=0) as server,
        grpc.insecure_channel(server.channel) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="slow", raw_input_contents=[X.tobytes()])
        request.inputs.add(name="x", datatype="FP64", shape=[2, 2])
        calls = [stub.ModelInfer.future(request) for _ in range(8)]
        assert slow.asked.wait(5)
        time.sleep(0.1)
        slow.go.set()
        codes = [call.code() for call in calls]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 4
        refused = next(call for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert "retry-after" in dict(refused.trailing_metadata())


def test_who_speaks_http_is_told(server: Running) -> None:
    import http.client

    host, port = server.channel.split(":")
    link = http.client.HTTPConnection(host, int(port), timeout=5)
    link.request("GET", "/")
    with pytest.raises(http.client.HTTPException):
        link.getresponse()
    link.close()
