"""``fairlead audit`` over a server that is called, refused, killed and changed; answers that tell less."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

SPEC = """
server: {port: 0, grpc_port: 0, workers: WORKERS, grace: 5s}
access: {required: true}
audit: {payloads: true}
endpoints:
  pair:
    model: ./doubler.onnx
    access: {coarsen: {round: 1, top: 1}}
    record: {sample: 1.0}
"""
ASKED = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.1234, 0.3766]}]}


def key(run: Any, name: str, *scopes: str) -> dict[str, str]:
    words = [word for scope in scopes for word in ("--scope", scope)]
    made = run("keys", "create", "--name", name, *words, "--json")
    assert made.returncode == 0, made.stderr
    return {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}


def entries(run: Any) -> list[dict[str, Any]]:
    told = run("audit", "tail", "-n", "1000", "--json")
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def up(start: Any, folder: Path, workers: int) -> Any:
    (folder / "fairlead.yaml").write_text(SPEC.replace("WORKERS", str(workers)))
    return start("up", "fairlead.yaml")


def test_who_did_what_is_there_and_proved(start: Any, run: Any, doubler: Path, tmp_path: Path) -> None:
    web, own = key(run, "web", "pair:predict"), key(run, "own", "pair:*")
    other = key(run, "none", "other:predict")
    process = up(start, tmp_path, 1)
    url = f"{process.url()}/v2/models/pair/infer"
    for _ in range(3):
        told = httpx.post(url, json=ASKED, headers=web).json()
    assert told["outputs"][0]["data"] == pytest.approx([0.0, 0.8])
    whole = httpx.post(url, json=ASKED, headers=own).json()["outputs"][0]["data"]
    assert whole == pytest.approx([0.2468, 0.7532])
    address = next(str(event["address"]) for event in process.events if event["event"] == "grpc")
    with triton.InferenceServerClient(address) as client:
        tensor = triton.InferInput("x", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[0.1234, 0.3766]], np.float32))
        reply = client.infer("pair", [tensor], headers=web)
        assert reply.as_numpy("y").tolist() == np.array([[0.0, 0.8]], np.float32).tolist()
    for _ in range(5):
        assert httpx.post(url, json=ASKED).status_code == 401
    assert httpx.post(url, json=ASKED, headers=other).status_code == 404
    assert run("keys", "revoke", "none").returncode == 0
    assert process.stop() == 0
    told = entries(run)
    by = {(one["actor"], one["action"], one["endpoint"], one["outcome"]): one for one in told}
    summed = sum(one["count"] for one in told if (one["actor"], one["action"]) == ("web", "predict"))
    assert summed == 4
    assert by["own", "predict", "pair", "allowed"]["count"] == 1
    for name in ("keys.create", "keys.revoke", "serve.start", "serve.stop"):
        assert ("local:tester", name, "", "allowed") in by, name
    assert sum(one["count"] for one in told if one["outcome"] == "unauthenticated") == 5
    sent = json.loads(by["web", "payload", "pair", "allowed"]["detail"]["inputs"])
    assert sent["x"][0] == pytest.approx([0.1234, 0.3766])
    proof = run("audit", "verify")
    assert (proof.returncode, "all there, as they were written" in proof.stdout) == (0, True), proof.stdout
    (path, *_) = sorted((tmp_path / "home" / "audit").glob("*.jsonl"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    proof = run("audit", "verify", "--json")
    (finding,) = json.loads(proof.stdout)["findings"]
    assert (proof.returncode, finding["file"]) == (1, path.name)
    assert finding["line"] == bytes(data[: len(data) // 2]).count(b"\n") + 1


def test_exports_and_wrong_use(run: Any, doubler: Path, tmp_path: Path) -> None:
    key(run, "web", "pair:predict")
    told = run("audit", "export", "--output", "out.csv", "--format", "csv", "--from", "1h", "--json")
    assert json.loads(told.stdout) == {"entries": 1, "output": "out.csv"}
    assert (tmp_path / "out.csv").read_text().count("keys.create") == 1
    told = run("audit", "export", "--output", "-")
    assert [json.loads(line)["action"] for line in told.stdout.splitlines()] == ["keys.create"]
    told = run("audit", "export", "--output", "-", "--from", "2020-01-01", "--to", "2020-01-02")
    assert (told.returncode, told.stdout) == (0, "")
    for words, code, said in (
        (("export", "--output", "x", "--format", "xml"), 2, "expected jsonl or csv"),
        (("export", "--output", "x", "--from", "1h", "--to", "2h"), 2, "is not after"),
        (("export", "--output", "no/such/folder"), 1, "No such file"),
        (("verify", "--key", "env:NOT_SET"), 2, "'NOT_SET' is not set, or empty"),
        (("verify", "--key", "the-secret-itself"), 2, "not the secret itself"),
    ):
        told = run("audit", *words)
        assert (told.returncode, said in told.stderr) == (code, True), (words, told.stderr)
        assert "the-secret" not in told.stderr


def test_a_sealed_log(start: Any, run: Any, doubler: Path, tmp_path: Path) -> None:
    (tmp_path / "seal").write_text("0123456789abcdef0123456789abcdef\n")
    spec = SPEC.replace("{payloads: true}", "{key: 'file:seal'}").replace("WORKERS", "1")
    (tmp_path / "fairlead.yaml").write_text(spec)
    process = start("up", "fairlead.yaml")
    process.url()
    assert process.stop() == 0
    proof = json.loads(run("audit", "verify", "--json").stdout)
    assert (proof["ok"], proof["keyed"]) == (True, 2)
    told = run("audit", "verify", "--key", "env:OTHER", OTHER="x" * 32)
    assert (told.returncode, "another key" in told.stderr) == (2, True)


@pytest.mark.slow
def test_killed_workers_leave_a_log_that_holds(start: Any, run: Any, doubler: Path, tmp_path: Path) -> None:
    web = key(run, "web", "pair:predict")
    process = up(start, tmp_path, 2)
    url = f"{process.url()}/v2/models/pair/infer"
    workers = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children")
    for _ in range(3):
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            try:
                httpx.post(url, json=ASKED, headers=web)
                httpx.post(url, json=ASKED)
            except httpx.HTTPError:
                continue
        for pid in map(int, workers.read_text().split()):
            if b"--worker-of" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                break
    time.sleep(3)
    assert run("audit", "verify").returncode == 0
    assert process.stop(signal.SIGINT) == 0
    proof = json.loads(run("audit", "verify", "--json").stdout)
    assert (proof["ok"], proof["findings"]) == (True, [])
    starts = sum(one["action"] == "serve.start" for one in entries(run))
    assert 3 <= starts <= 5  # one that is killed while it still loads has not begun
