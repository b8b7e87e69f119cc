"""``fairlead serve --tls-cert --tls-key``, with a certificate that ``openssl`` made as the documentation says."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_https_and_what_is_wrong_with_a_certificate(start, run, doubler: Path, tmp_path: Path) -> None:
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    for name in ("mine", "other"):
        words = [*make.split(), "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([str(OPENSSL), *words], cwd=tmp_path, check=True, capture_output=True)
    command = ("serve", str(doubler), "--port", "0", "--tls-cert", "mine.pem", "--tls-key")
    for key, words in (("other.key", "does not belong"), ("none.key", "cannot read none.key"), ("mine.pem", "be PEM")):
        told = run(*command, key)
        assert told.returncode == 2
        assert words in told.stderr
        assert "Traceback" not in told.stderr
    process = start(*command, "mine.key")
    assert process.url().startswith("https://")
    trust = ssl.create_default_context(cafile=str(tmp_path / "mine.pem"))
    with httpx.Client(base_url=process.url(), verify=trust) as client:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        for _ in range(2):
            reply = client.post("/v2/models/doubler/infer", json={"inputs": [tensor]})
            assert reply.json()["outputs"][0]["data"] == [2, 4]
    assert process.stop() == 0
