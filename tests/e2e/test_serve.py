"""``fairlead serve`` as a process: what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import fairlead

PREDICTOR = """
import numpy as np

class Predictor:
    inputs = [("x", "FP64", [-1, 2])]
    outputs = [("sum", "FP64", [-1])]

    def load(self, path):
        self.weights = np.array([1.0, 10.0])

    def predict(self, inputs):
        return {"sum": inputs["x"] @ self.weights}
"""


def test_serves_files_and_classes_and_ends_with_zero(start, doubler: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PREDICTOR)
    process = start("serve", f"twice={doubler}", "mine:Predictor", "--port", "0")
    with fairlead.Client(process.url()) as client:
        assert sorted(client.endpoints()) == ["predictor", "twice"]
        answer = client.predict("twice", {"x": np.array([[1, 2], [3, 4]], np.float32)})
        assert answer["y"].tolist() == [[2, 4], [6, 8]]
        assert client.predict("predictor", np.array([[1.0, 2.0]])).only.tolist() == [21.0]
    assert process.stop() == 0
    assert any(event["event"] == "draining" for event in process.events)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_accepted_request_goes_without_an_answer(start, doubler: Path, number: int) -> None:
    """Eight callers on keep-alive connections, each as fast as it can, while the signal comes.

    A caller may find the door closed (no connection, or one that says close); it may never see a request vanish that it
    sent on an open connection.
    """
    process = start("serve", str(doubler), "--port", "0")
    url = process.url()
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    answered, lost = [0] * 8, []
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
    request = b"POST /v2/models/doubler/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def caller(index: int) -> None:
        while True:
            try:
                link = socket.create_connection(address, timeout=10)
            except OSError:
                return  # the door is closed
            with link:
                closing = False
                while not closing:
                    try:
                        link.sendall(request)
                        answer = whole_answer(link)
                    except OSError as error:
                        lost.append(repr(error))
                        return
                    if not answer.startswith(b"HTTP/1.1 200"):
                        lost.append(answer[:60])
                        return
                    answered[index] += 1
                    closing = b"connection: close" in answer.lower()

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
    for thread in callers:
        thread.start()
    time.sleep(0.6)
    assert process.stop(number) == 0
    for thread in callers:
        thread.join(15)
        assert not thread.is_alive()
    assert min(answered) > 0
    assert lost == []


def whole_answer(link: socket.socket) -> bytes:
    answer = b""
    while chunk := link.recv(65536):
        answer += chunk
        head, separator, body = answer.partition(b"\r\n\r\n")
        if separator and len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0]):
            break
    return answer


def test_the_port_is_taken(start, run, doubler: Path) -> None:
    port = start("serve", str(doubler), "--port", "0").url().rpartition(":")[2]
    result = run("serve", str(doubler), "--port", port)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        f"fairlead: 127.0.0.1:{port} is in use by another process; stop it or choose another --port"
    )


def test_what_cannot_be_served_is_one_sentence(run, doubler: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(doubler.read_bytes()[:60])
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    cases = [
        (["./absent.onnx"], 1, "no such file"),
        ([str(cut)], 1, "broken or cut short"),
        (["models:/churn@champion"], 1, "churn"),
        (["models:/churn"], 2, "@"),
        (["nopkg:Thing"], 1, "no module named 'nopkg'"),
        (["broken:Thing"], 1, "nothing_of_that_name"),
        ([str(doubler), str(doubler)], 2, "two models would be endpoint 'doubler'"),
        ([str(doubler), "--port", "99999"], 2, "expected 0 to 65535"),
        ([str(doubler), "--host", "192.0.2.1"], 2, "nobody is asked who they are: give --access"),
        ([str(doubler), "--host", "192.0.2.1", "--insecure"], 2, "cannot bind 192.0.2.1"),
        ([str(doubler), "--log-level", "loud"], 2, "expected debug, info, warning or error"),
        ([str(doubler), "--runtime", "nope"], 2, "no plugin named 'nope'"),
        ([str(cut), "--runtime", "nope"], 2, "no plugin named 'nope'"),
        ([str(doubler), "--max-body-mb", "inf"], 2, "max body, bytes is -1; expected 1 to"),
        ([f"my model=models:/{doubler.stem}@champion"], 2, "endpoint name 'my model' cannot be used"),
    ]
    for words, code, sentence in cases:
        result = run("serve", *words, *([] if "--port" in words else ["--port", "0"]))
        told = [line for line in result.stderr.splitlines() if not line.startswith("{")]
        assert len(told) == 1, (words, result.stderr)
        assert sentence in told[0], (words, told)
        assert result.returncode == code, (words, told)


def test_where_is_what_as_one_document(environment: dict[str, str], doubler: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "serve", str(doubler), "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout
        lines = iter(process.stdout)
        told = next(lines)
        while not told.endswith("\n}\n"):
            told += next(lines)
        document = json.loads(told)
        assert httpx.get(document["url"] + "/readyz").status_code == 200
        assert document["endpoints"] == [{"name": "doubler", "version": "1"}]
        process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_a_wrong_variable_is_named(run, doubler: Path) -> None:
    result = run("serve", str(doubler), FAIRLEAD_HOM="x")
    assert result.returncode == 2
    assert "unknown environment variable FAIRLEAD_HOM; did you mean FAIRLEAD_HOME?" in result.stderr


def test_the_log_is_json_off_a_terminal(start, doubler: Path) -> None:
    process = start("serve", str(doubler), "--port", "0")
    with httpx.Client(base_url=process.url()) as client:
        client.get("/readyz")
    assert process.stop() == 0
    assert all(line.startswith("{") for line in process.lines), process.lines
    loaded = next(event for event in process.events if event["event"] == "loaded")
    assert loaded["endpoint"] == "doubler"
    assert loaded["inline"] is True


def test_a_type_that_nobody_knows_is_refused_with_the_words_to_decide(run, tmp_path: Path) -> None:
    code = "from sklearn.base import BaseEstimator\nclass Own(BaseEstimator):\n    def predict(self, x): return x\n"
    (tmp_path / "own_estimator.py").write_text(code)
    write = "import own_estimator, skops.io as sio; sio.dump(own_estimator.Own(), 'model.skops')"
    subprocess.run([sys.executable, "-c", write], cwd=tmp_path, check=True)
    result = run("serve", str(tmp_path / "model.skops"), "--port", "0")
    assert result.returncode == 1
    assert "own_estimator.Own, which is not on the list of harmless types" in result.stderr
    assert "if you vouch for it, add --trust-pickle" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--idle-ttl", "5"), "give --replicas MIN..MAX too"),
        (("--target-concurrency", "2"), "give --replicas MIN..MAX too"),
        (("--replicas", "²"), "expected MIN..MAX"),
        (("--executor", "process"), "executor is decided by the servers that run the model"),
        (("--replicas", "0..2"), "replicas is decided by the servers that run the model"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(run, words: tuple[str, ...], told: str) -> None:
    result = run("serve", "x=oip+http://127.0.0.1:1/x", "--port", "0", *words)
    assert (result.returncode, told in result.stderr) == (2, True), result.stderr
