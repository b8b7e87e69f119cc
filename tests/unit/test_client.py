from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from fairlead import AsyncClient, Client
from fairlead.client import refusal
from fairlead.contracts import errors
from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    InvalidTensor,
    MalformedBody,
    ModelFailed,
    NotFound,
    QueueFull,
    Unavailable,
    UsageError,
)
from fairlead.contracts.types import DataType, Missing, Reply, Signature, TensorSpec
from fairlead.serve.edges import metadata
from fairlead.serve.edges.v2 import V2

CITIES = TensorSpec("city", DataType.BYTES, (-1, 1), column=True, missing=Missing.VALUE, missing_value="unknown")
TABLE = Signature(
    (TensorSpec("age", DataType.FP32, (-1, 1), column=True), CITIES), (TensorSpec("y", DataType.FP32, (-1,)),)
)
MATRIX = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),), (TensorSpec("y", DataType.FP32, (-1, 2)),))
SIGNATURES = {"table": TABLE, "matrix": MATRIX, "a b/c": MATRIX}


class FakeServer:
    """The V2 edge behind httpx's mock transport; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.inputs: list[dict[str, Any]] = []
        self.error: FairleadError | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        path = request.url.path
        if path == "/v2/health/ready":
            return httpx.Response(200, json={"ready": True})
        if path == "/v1/models":
            return httpx.Response(200, json=metadata.v1_models(SIGNATURES, 0))
        edge = V2()
        name = path.removeprefix("/v2/models/").removesuffix("/infer").removesuffix("/versions/2")
        try:
            if name not in SIGNATURES:
                raise NotFound(f"there is no endpoint {name!r}")
            signature = SIGNATURES[name]
            if request.method == "GET":
                return httpx.Response(200, json=metadata.model(name, ["1"], "", signature))
            if self.error:
                raise self.error
            headers = {key.lower(): value for key, value in request.headers.raw}
            asked = edge.read(request.content, headers, signature)
            self.inputs.append(asked.inputs)
            first = next(iter(asked.inputs.values()))
            answer = edge.write(Reply({"y": first * 2}, name, "7"), asked, signature)
        except FairleadError as error:
            answer = edge.refuse(error, "r-9")
        more = [(b"x-request-id", b"r-9"), (b"server-timing", b"queue;dur=0.5, compute;dur=2")]
        return httpx.Response(answer.status, headers=[*answer.headers, *more], content=answer.body)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> Client:
    return Client("http://host/", headers={"authorization": "Bearer k"}, transport=httpx.MockTransport(server))


def test_an_array(client: Client, server: FakeServer) -> None:
    answer = client.predict("matrix", np.array([[1.0, 2.0]]))
    assert answer["y"].tolist() == [[2.0, 4.0]]
    assert answer["y"].dtype == np.float32
    assert np.asarray(answer).tolist() == answer.only.tolist()
    assert (answer.endpoint, answer.version, answer.id) == ("matrix", "7", "r-9")
    assert answer.timing == {"queue": 0.5, "compute": 2.0}
    assert dict(answer).keys() == {"y"}
    assert repr(answer) == "<Prediction of matrix version 7: y: float32[1, 2]>"
    assert "inference-header-content-length" in server.seen[-1].headers
    assert all(request.headers["authorization"] == "Bearer k" for request in server.seen)


def test_metadata_is_asked_once(client: Client, server: FakeServer) -> None:
    for _ in range(3):
        client.predict("matrix", [[1, 2]])
    assert [request.method for request in server.seen] == ["GET", "POST", "POST", "POST"]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"age": [1.0, 2.0], "city": ["Oslo", None]}),
        {"age": [1, 2], "city": ["Oslo", None]},
        {"age": np.array([1, 2]), "city": pd.Series(["Oslo", None])},
        [{"age": 1, "city": "Oslo"}, {"age": 2}],
    ],
    ids=["frame", "lists", "arrays", "rows"],
)
def test_tables(client: Client, server: FakeServer, data: Any) -> None:
    answer = client.predict("table", data)
    assert answer["y"].ravel().tolist() == [2.0, 4.0]
    assert server.inputs[0]["city"].ravel().tolist() == ["Oslo", "unknown"]


def test_what_is_asked_for(client: Client, server: FakeServer) -> None:
    client.predict("matrix", [[1, 2]], version="2", outputs=["y"], parameters={"k": 3}, timeout=1.5)
    post = server.seen[-1]
    assert post.url.path == "/v2/models/matrix/versions/2/infer"
    head = json.loads(post.content[: int(post.headers["inference-header-content-length"])])
    assert head["outputs"] == [{"name": "y"}]
    assert head["parameters"] == {"binary_data_output": True, "k": 3}
    assert post.headers["x-request-timeout-ms"] == "1500"
    assert post.extensions["timeout"]["read"] == 1.5


def test_names_are_quoted(client: Client, server: FakeServer) -> None:
    client.predict("a b/c", [[1, 2]])
    assert server.seen[-1].url.raw_path == b"/v2/models/a%20b%2Fc/infer"


@pytest.mark.parametrize(
    "error", [QueueFull("full"), ModelFailed("oops"), DeadlineExceeded("late"), InvalidTensor("bad")]
)
def test_errors_keep_their_class(client: Client, server: FakeServer, error: FairleadError) -> None:
    server.error = error
    with pytest.raises(type(error), match=str(error)):
        client.predict("matrix", [[1, 2]])


def test_metadata_is_asked_again_after_a_refusal(client: Client, server: FakeServer) -> None:
    with pytest.raises(InvalidTensor, match=r"'x': expected shape \[-1, 2\], found \[1, 3\]"):
        client.predict("matrix", [[1, 2, 3]])
    client.predict("matrix", [[1, 2]])
    assert [request.method for request in server.seen] == ["GET", "POST", "GET", "POST"]


def test_every_code_has_its_class() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FairleadError)]
    for kind in kinds:
        assert type(refusal(httpx.Response(500, json={"error": "x", "code": kind.code}))) is kind


@pytest.mark.parametrize(
    ("response", "kind", "words", "after"),
    [
        (httpx.Response(502, text="<html>"), Unavailable, "answered 502", None),
        (httpx.Response(404, json=[]), NotFound, "answered 404", None),
        (httpx.Response(418, json={"message": "tea"}), FairleadError, "tea", None),
        (
            httpx.Response(429, json={"error": "x", "code": "queue_full"}, headers={"retry-after": "3"}),
            QueueFull,
            "x",
            3.0,
        ),
    ],
)
def test_refusals_of_others(response: httpx.Response, kind: type, words: str, after: float | None) -> None:
    error = refusal(response)
    assert type(error) is kind
    assert words in str(error)
    assert error.retry_after == after


def test_endpoints_and_ready(client: Client) -> None:
    assert client.endpoints() == list(SIGNATURES)
    assert client.ready()
    assert client.metadata("table")["inputs"][0]["name"] == "age"


def broken(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error

    return handle


def test_nobody_there() -> None:
    with Client("http://host", transport=httpx.MockTransport(broken(httpx.ConnectError("refused")))) as client:
        assert not client.ready()
        with pytest.raises(Unavailable, match="http://host cannot be reached: refused"):
            client.predict("m", [1])


def test_too_slow() -> None:
    with Client("http://host", timeout=2, transport=httpx.MockTransport(broken(httpx.ReadTimeout("slow")))) as client:
        assert not client.ready()
        with pytest.raises(DeadlineExceeded, match="within 2 s"):
            client.metadata("m")


def test_some_other_server() -> None:
    handler = httpx.MockTransport(lambda request: httpx.Response(200, json=[1]))
    with Client("http://host", transport=handler) as client, pytest.raises(MalformedBody, match="Fairlead server"):
        client.metadata("m")


def test_one_array_of_several() -> None:
    from fairlead.client import Prediction

    prediction = Prediction({"a": np.zeros(1), "b": np.zeros(1)}, "m", "1", "", {})
    with pytest.raises(ValueError, match="a, b"):
        _ = prediction.only


async def test_async(server: FakeServer) -> None:
    async with AsyncClient("http://host", transport=httpx.MockTransport(server)) as client:
        answer = await client.predict("matrix", [[1, 2]])
        assert answer.only.tolist() == [[2, 4]]
        assert await client.endpoints() == list(SIGNATURES)
        assert await client.ready()
        with pytest.raises(NotFound, match="'nope'"):
            await client.predict("nope", [[1, 2]])


async def test_async_nobody_there() -> None:
    handler = httpx.MockTransport(broken(httpx.ConnectError("refused")))
    async with AsyncClient("http://host", transport=handler) as client:
        assert not await client.ready()
        with pytest.raises(Unavailable):
            await client.predict("m", [1])


@pytest.mark.parametrize(
    ("url", "timeout", "words"),
    [
        ("localhost:8080", 1, "'localhost:8080' is no URL; give one like http"),
        ("", 1, "is no URL"),
        ("http://x", 0, "timeout is 0; expected seconds, above 0"),
        ("http://x", float("nan"), "timeout is nan"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_wrong_use_is_told_when_a_client_is_made(kind: type, url: str, timeout: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kind(url, timeout=timeout)
