"""The HTTP front over a real socket: limits, headers, disconnects, draining."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from running import Running, running

from fairlead.serve.batcher import Policy
from fairlead.testing.models import EchoModel, FailingModel, SlowModel

INFER = "/v2/models/echo/infer"


def body(*rows: tuple[float, float]) -> dict[str, object]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), 2], "datatype": "FP64", "data": flat}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running({"echo": EchoModel(), "other": FailingModel()}, max_body=4096) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as made:
        yield made


def test_a_call_is_answered_with_its_headers(client: httpx.Client) -> None:
    reply = client.post(INFER, json={**body((1, 2)), "id": "mine"}, headers={"x-request-id": "abc-1"})
    assert reply.status_code == 200
    assert reply.json()["id"] == "mine"
    assert reply.json()["outputs"][0]["data"] == [1, 2]
    assert reply.headers["x-request-id"] == "abc-1"
    assert reply.headers["fairlead-version"] == "1"
    assert 'batch;desc="1 rows"' in reply.headers["server-timing"]


@pytest.mark.parametrize("given", ["", "x" * 129, "caf\u00e9"])
def test_a_request_id_that_cannot_be_echoed_is_replaced(client: httpx.Client, given: str) -> None:
    headers = [(b"x-request-id", given.encode())]
    reply = client.post(INFER, json=body((1, 2)), headers=headers)
    assert reply.headers["x-request-id"] not in ("", given)


def test_health_metadata_metrics_and_docs(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version", "/docs"):
        assert client.get(path).status_code == 200, path
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/models/echo").json()["versions"] == ["1"]
    assert client.get("/v2/models/echo/versions/1/ready").json() == {"name": "echo", "ready": True}
    assert client.get("/v1/models").json()["models"] == ["echo", "other"]
    assert client.get("/v1/models/echo").json()["id"] == "echo"
    index = client.post("/v2/repository/index").json()
    assert {"name": "echo", "version": "1", "state": "READY"} in index
    client.post(INFER, json=body((1, 2)))
    text = client.get("/metrics").text
    assert 'fairlead_requests_total{code="ok",endpoint="echo",version="1"}' in text
    assert 'fairlead_queue_rows{endpoint="echo",version="1"} 0.0' in text


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v2/models/ehco", 404, "did you mean echo?"),
        ("GET", "/v2/models/echo/versions/7", 404, "live versions: 1"),
        ("POST", "/v2/models/ehco/infer", 404, "did you mean echo?"),
        ("POST", "/v2/models/echo/versions/7/infer", 404, "live versions: 1"),
        ("POST", "/v1/models/ehco:predict", 404, "did you mean echo?"),
        ("POST", "/invocations", 404, "names no endpoint and 2 are live"),
        ("POST", "/serving-endpoints/nope/invocations", 404, "no endpoint 'nope'"),
        ("GET", "/v2/model/echo", 404, "no route"),
        ("DELETE", INFER, 405, "takes POST"),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, status: int, words: str) -> None:
    reply = client.request(method, path, json=body((1, 2)) if method == "POST" else None)
    assert reply.status_code == status
    assert words in (reply.json().get("error") or reply.json()["message"])


def test_a_body_over_the_limit_is_refused_before_it_is_read(server: Running) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n".encode()
    with server.send(head) as link:
        answer = link.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"the limit is 4096 bytes" in answer


def test_a_chunked_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    reply = client.post(INFER, content=iter([b" " * 3000, b" " * 3000]))
    assert reply.status_code == 413


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies(client: httpx.Client, encoding: str, pack: object) -> None:
    packed = pack(json.dumps(body((3, 4))).encode())  # type: ignore[operator]
    reply = client.post(INFER, content=packed, headers={"content-encoding": encoding})
    assert reply.json()["outputs"][0]["data"] == [3, 4]
    bomb = pack(b" " * 10_000_000)  # type: ignore[operator]
    assert client.post(INFER, content=bomb[:4000], headers={"content-encoding": encoding}).status_code == 413
    assert client.post(INFER, content=packed[:-5], headers={"content-encoding": encoding}).status_code == 400
    assert client.post(INFER, content=b"plain", headers={"content-encoding": encoding}).status_code == 400


def test_an_unknown_encoding_and_a_broken_time_out_are_named(client: httpx.Client) -> None:
    reply = client.post(INFER, content=b"x", headers={"content-encoding": "br"})
    assert reply.status_code == 400
    assert "send identity, gzip or deflate" in reply.json()["error"]
    reply = client.post(INFER, json=body((1, 2)), headers={"x-request-timeout-ms": "soon"})
    assert reply.status_code == 400
    assert "x-request-timeout-ms" in reply.json()["error"]


def test_a_model_that_raises_is_a_500_with_the_request_id_and_no_cause(server: Running, client: httpx.Client) -> None:
    reply = client.post("/v2/models/other/infer", json=body((-1, 0)), headers={"x-request-id": "find-me"})
    assert reply.status_code == 500
    assert "ValueError" in reply.json()["error"]
    assert "marked" not in reply.text, "the cause belongs in the log"
    assert reply.headers["x-request-id"] == "find-me"
    assert client.post("/v2/models/other/infer", json=body((1, 0))).status_code == 200


def test_many_connections_many_different_rows_no_wrong_answer() -> None:
    wrong: list[object] = []

    def caller(number: int, url: str) -> None:
        rng = np.random.default_rng(number)
        with httpx.Client(base_url=url) as client:
            for _ in range(25):
                rows = [tuple(row) for row in rng.normal(size=(int(rng.integers(1, 5)), 2))]
                reply = client.post(INFER, json=body(*rows)).json()
                if not np.allclose(reply["outputs"][0]["data"], np.array(rows).ravel()):
                    wrong.append((rows, reply))

    with running({"echo": EchoModel()}, policy=Policy(max_rows=8)) as server:
        threads = [threading.Thread(target=caller, args=(i, server.url)) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.pipeline.in_flight == 0
    assert wrong == []


def test_a_client_that_hangs_up_cancels_its_call_and_nobody_elses() -> None:
    model = SlowModel()
    with running({"echo": model}, policy=Policy(max_rows=1)) as server:
        request = request_bytes(server, body((7, 7)))
        first = server.send(request_bytes(server, body((1, 1))))
        assert model.entered.wait(5)
        gone = server.send(request)
        stays = server.send(request_bytes(server, body((2, 2))))
        until(lambda: server.pipeline.in_flight == 3)
        gone.close()
        until(lambda: server.pipeline.in_flight == 2)
        model.release.set()
        assert b"200 OK" in first.recv(65536)
        assert b"200 OK" in stays.recv(65536)
        first.close()
        stays.close()
    assert [batch["x"][0, 0] for batch in model.batches] == [1.0, 2.0], "the row of the one who left was run"


def test_a_deadline_passes_while_the_model_is_busy() -> None:
    model = SlowModel()
    with running({"echo": model}, policy=Policy(max_rows=1)) as server, httpx.Client(base_url=server.url) as client:
        first = server.send(request_bytes(server, body((1, 1))))
        assert model.entered.wait(5)
        reply = client.post(INFER, json=body((2, 2)), headers={"x-request-timeout-ms": "30"})
        assert reply.status_code == 504
        assert "deadline of 30 ms passed while it waited" in reply.json()["error"]
        model.release.set()
        assert b"200 OK" in first.recv(65536)
        first.close()
    assert len(model.batches) == 1


def test_a_full_queue_is_a_429_with_a_time_to_come_back() -> None:
    model = SlowModel()
    policy = Policy(max_rows=1, queue_calls=1)
    with running({"echo": model}, policy=policy) as server, httpx.Client(base_url=server.url) as client:
        waiting = [server.send(request_bytes(server, body((1, 1))))]
        assert model.entered.wait(5)
        waiting.append(server.send(request_bytes(server, body((2, 2)))))
        until(lambda: server.pipeline.in_flight == 2)
        reply = client.post(INFER, json=body((3, 3)))
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        model.release.set()
        for link in waiting:
            assert b"200 OK" in link.recv(65536)
            link.close()


def test_draining_answers_what_was_accepted_and_says_close() -> None:
    model = SlowModel()
    with running({"echo": model}) as server:
        link = server.send(request_bytes(server, body((1, 1))))
        assert model.entered.wait(5)
        idle = socket.create_connection(("127.0.0.1", server.port))
        server.stop()
        until(lambda: server.server.draining)
        idle.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = idle.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in answer.lower()
        model.release.set()
        answer = link.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        link.close()
        idle.close()
        until(lambda: refused(server.port))


def test_calls_that_outlast_the_grace_time_are_abandoned_and_the_server_still_ends() -> None:
    model = SlowModel()
    began = time.monotonic()
    with running({"echo": model}, grace=0.3) as server:
        link = server.send(request_bytes(server, body((1, 1))))
        assert model.entered.wait(5)
        server.stop()
        until(lambda: refused(server.port))
    model.release.set()
    link.close()
    assert time.monotonic() - began < 8


def request_bytes(server: Running, document: dict[str, object]) -> bytes:
    text = json.dumps(document).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (INFER.encode(), len(text), text)


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def until(condition: object, seconds: float = 8.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "it did not come to that in time"
        time.sleep(0.005)
