"""``fairlead serve --grpc-port``: plain, over TLS with certificates both ways, and from several workers."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

OPENSSL = shutil.which("openssl")
X = np.array([[1, 2]], np.float32)


def doubled(client: triton.InferenceServerClient) -> list[list[float]]:
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(X)
    reply = client.infer("doubler", [tensor], client_timeout=10)
    return reply.as_numpy(reply.get_response().outputs[0].name).tolist()


def address(process: Any) -> str:
    process.url()
    return str(next(event["address"] for event in process.events if event["event"] == "grpc"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_on_a_port_of_its_own(start: Any, run: Any, doubler: Path) -> None:
    process = start("serve", str(doubler), "--port", "0", "--grpc-port", "0", "--record")
    with triton.InferenceServerClient(address(process)) as client:
        assert doubled(client) == [[2, 4]]
        tensor = triton.InferInput("x", [1, 2], "FP32")
        tensor.set_data_from_numpy(X)
        assert "prediction_id" in client.infer("doubler", [tensor]).get_response().parameters
    taken = address(process).rpartition(":")[2]
    told = run("serve", str(doubler), "--port", "0", "--grpc-port", taken)
    assert (told.returncode, "choose another --grpc-port" in told.stderr) == (1, True)
    assert "Traceback" not in told.stderr
    assert process.stop() == 0
    told = run("serve", str(doubler), "--port", "7000", "--grpc-port", "7000")
    assert (told.returncode, "give each a port of its own" in told.stderr) == (2, True)


@pytest.mark.slow
def test_from_several_workers(start: Any, doubler: Path) -> None:
    port = free_port()
    process = start("serve", str(doubler), "--port", "0", "--grpc-port", str(port), "--workers", "2")
    process.url()
    for _ in range(6):  # a channel each
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert doubled(client) == [[2, 4]]
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_certificates_both_ways(start: Any, run: Any, doubler: Path, tmp_path: Path) -> None:
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    for name in ("server", "caller", "stranger"):
        words = [*make.split(), "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([str(OPENSSL), *words], cwd=tmp_path, check=True, capture_output=True)
    certificate = ("--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca")
    command = ("serve", str(doubler), "--port", "0", "--grpc-port", "0")
    told = run(*command, *certificate, "server.key")
    assert (told.returncode, "no certificate of an authority" in told.stderr) == (2, True)
    assert run(*command, "--tls-client-ca", "caller.pem").returncode == 2
    process = start(*command, *certificate, "caller.pem")
    target = address(process)

    def client(name: str = "") -> triton.InferenceServerClient:
        keys = {"private_key": f"{tmp_path}/{name}.key", "certificate_chain": f"{tmp_path}/{name}.pem"} if name else {}
        return triton.InferenceServerClient(target, ssl=True, root_certificates=f"{tmp_path}/server.pem", **keys)

    with client("caller") as known:
        assert doubled(known) == [[2, 4]]
    for name in ("", "stranger"):
        with client(name) as unknown, pytest.raises(InferenceServerException):
            doubled(unknown)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    trust = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
    with httpx.Client(base_url=process.url(), verify=trust) as http, pytest.raises(httpx.HTTPError):
        http.post("/v2/models/doubler/infer", json=body)
    trust.load_cert_chain(str(tmp_path / "caller.pem"), str(tmp_path / "caller.key"))
    with httpx.Client(base_url=process.url(), verify=trust) as http:
        assert http.post("/v2/models/doubler/infer", json=body).json()["outputs"][0]["data"] == [2, 4]
    assert process.stop() == 0
