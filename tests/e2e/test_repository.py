"""Loading and unloading by name, as Triton's own clients ask for it: over HTTP and gRPC, in every worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

sys.path.insert(0, str(Path(__file__).parent))
from crowd import until

SOURCE = """
class Double:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)),)

    def predict(self, inputs):
        return {"y": inputs["x"] * 2}
"""


def infer(client: Any, module: Any, name: str) -> float:
    asked = module.InferInput("x", [1, 1], "FP64")
    asked.set_data_from_numpy(np.array([[4.0]]))
    return float(client.infer(name, [asked]).as_numpy("y")[0, 0])


@pytest.fixture
def clients(start, tmp_path: Path):
    """A server of ``a`` and ``b``; gives the process and one client of each protocol."""
    (tmp_path / "mine.py").write_text(SOURCE)

    def begin(*words: str):
        process = start("serve", "a=mine:Double", "b=mine:Double", "--port", "0", "--grpc-port", "0", *words)
        port = int(process.url().rpartition(":")[2])
        return process, triton_http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=1), port

    return begin


def states(client: Any) -> dict[str, str]:
    return {one["name"]: one["state"] for one in client.get_model_repository_index()}


def ready(port: int, name: str) -> float:
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    (found,) = (line for line in lines if line.startswith(f'fairlead_endpoint_ready{{endpoint="{name}"'))
    return float(found.rpartition(" ")[2])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unloaded_and_loaded_again_in_every_worker(clients, workers: str) -> None:
    _, client, port = clients("--workers", workers)
    client.unload_model("a")
    for _ in range(6):  # connections are spread over the workers
        other = triton_http.InferenceServerClient(f"127.0.0.1:{port}")
        with pytest.raises(InferenceServerException, match="'a' is unloaded; load it"):
            infer(other, triton_http, "a")
        assert infer(other, triton_http, "b") == 8
        assert states(other) == {"a": "UNAVAILABLE", "b": "READY"}
        assert other.is_server_ready()
        assert not other.is_model_ready("a")
        other.close()
    assert ready(port, "a") == 0
    client.load_model("a")
    assert ready(port, "a") == 1
    for _ in range(4):
        other = triton_http.InferenceServerClient(f"127.0.0.1:{port}")
        assert infer(other, triton_http, "a") == 8
        other.close()
    with pytest.raises(InferenceServerException, match="there is no endpoint 'c'"):
        client.load_model("c")
    with pytest.raises(InferenceServerException, match="'config' cannot be honoured"):
        client.load_model("a", config="{}")


def test_a_worker_that_comes_later_knows_what_was_unloaded(clients) -> None:
    process, client, port = clients("--workers", "2")
    client.unload_model("b")
    started = [int(event["pid"]) for event in process.events if event["event"] == "worker started"]
    os.kill(started[0], signal.SIGKILL)
    for event, why in (("worker started", "no other worker"), ("unloaded", "it was not told")):
        until(lambda event=event: sum(one["event"] == event for one in process.events) == 3, why)
    for _ in range(6):
        answer = httpx.get(f"http://127.0.0.1:{port}/v2/models/b/ready")
        assert answer.status_code == 503


def test_over_grpc(start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start("serve", "a=mine:Double", "--port", "0", "--grpc-port", str(port)).url()
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{port}")
    deadline = time.monotonic() + 20
    while not client.is_server_live() and time.monotonic() < deadline:
        time.sleep(0.05)
    client.unload_model("a")
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        infer(client, triton_grpc, "a")
    (one,) = client.get_model_repository_index().models
    assert (one.name, one.state, one.reason) == ("a", "UNAVAILABLE", "unloaded")
    client.load_model("a")
    assert infer(client, triton_grpc, "a") == 8
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.unload_model("z")
    with pytest.raises(InferenceServerException, match="INVALID_ARGUMENT"):
        client.load_model("a", config="{}")


def test_where_it_is_not_allowed_it_is_refused(clients) -> None:
    _, client, port = clients("--no-model-control")
    with pytest.raises(InferenceServerException, match="without --model-control"):
        client.unload_model("a")
    assert httpx.post(f"http://127.0.0.1:{port}/v2/repository/models/a/load").status_code == 403
    assert infer(client, triton_http, "a") == 8
