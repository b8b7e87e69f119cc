"""Every protocol over a real socket: the table of bad input, our client, and Triton's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import pytest
from running import Running, running

from fairlead import AsyncClient, Client
from fairlead.contracts.errors import InvalidTensor, NotFound
from fairlead.contracts.types import Tensors
from fairlead.testing.models import Model

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve"))
from error_cases import CASES, Case, path_of
from samples import SIGNATURES


def answer(inputs: Tensors) -> Tensors:
    """Row sums where there are numbers, so that every row has its own answer."""
    rows = len(next(iter(inputs.values())))
    total = np.zeros(rows)
    for array in inputs.values():
        if array.dtype.kind in "iuf":
            total += np.nan_to_num(array.reshape(rows, -1)).sum(axis=1)
    return {"label": total.astype(np.int64), "probabilities": np.stack([total, -total], axis=1).astype(np.float32)}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running({name: Model(answer, signature) for name, signature in SIGNATURES.items()}) as found:
        yield found


@pytest.fixture(scope="module")
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(http: httpx.Client, case: Case) -> None:
    response = http.post(path_of(case), content=case.body, headers=case.headers)
    body = response.json()
    message = body.get("message") or body["error"]
    assert (response.status_code, body["code"]) == (case.status, case.code), message
    assert [word for word in case.words if word not in message] == [], message
    assert body["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        b"null",
        b'{"parameters": 5}',
        b'{"parameters": "config"}',
        b'{"parameters": {"a": ' + b"[" * 10**5,
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_garbage_in_an_order_to_load_is_the_callers_error(http: httpx.Client, body: bytes) -> None:
    for verb in ("load", "unload"):
        response = http.post(f"/v2/repository/models/{next(iter(SIGNATURES))}/{verb}", content=body)
        assert (response.status_code, response.json()["code"]) == (400, "malformed_body")


def test_our_client(server: Running) -> None:
    with Client(server.url) as client:
        assert client.ready()
        assert client.endpoints() == list(SIGNATURES)
        reply = client.predict("matrix", [[1, 2, 3], [4, 5, 6]], outputs=["label"])
        assert reply["label"].tolist() == [6, 15]
        assert list(reply) == ["label"]
        assert reply.version == "1"
        assert reply.id
        assert reply.timing
        rows = [{"age": 1, "income": None, "city": "a", "member": True}, {"age": 2, "city": None, "member": False}]
        assert client.predict("table", rows)["label"].tolist() == [1, 2]
        with pytest.raises(NotFound, match="'matrx'.*matrix"):
            client.predict("matrx", [[1]])
        with pytest.raises(InvalidTensor, match="'x'"):
            client.predict("matrix", [[1]])


async def test_our_async_client(server: Running) -> None:
    async with AsyncClient(server.url) as client:
        assert (await client.predict("matrix", np.ones((2, 3))))["label"].tolist() == [3, 3]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_s_client(server: Running, binary_in: bool, binary_out: bool) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("matrix", "1")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("matrix")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        item = triton.InferInput("x", [2, 3], "FP32")
        item.set_data_from_numpy(np.array([[1, 2, 3], [4, 5, 6]], np.float32), binary_data=binary_in)
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
        result = client.infer("matrix", [item], outputs=wanted, request_id="t-1")
        assert result.as_numpy("probabilities").tolist() == [[6, -6], [15, -15]]
        assert result.get_response()["id"] == "t-1"
        text = triton.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array(["hü"], object), binary_data=binary_in)
        flag = triton.InferInput("flag", [1], "BOOL")
        flag.set_data_from_numpy(np.array([True]), binary_data=binary_in)
        assert client.infer("words", [text, flag]).as_numpy("label").tolist() == [0]
    finally:
        client.close()


def test_the_openapi_document_is_true(http: httpx.Client) -> None:
    """Every path answers what the document says; every example is taken."""
    document = http.get("/openapi.json").json()
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            response = http.request(method, path, json=content.get("example"))
            assert response.status_code == 200, (path, response.text)
            media, part = next(iter(operation["responses"]["200"]["content"].items()))
            assert response.headers["content-type"].partition(";")[0] == media, path
            if media == "application/json":
                schema = {**part["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(response.json())
            for header in operation["responses"]["200"].get("headers", {}):
                assert header in response.headers, (path, header)
            checked += 1
    assert checked > 30
    assert http.get("/docs").text.count('class="endpoint"') == len(SIGNATURES)
