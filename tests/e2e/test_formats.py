"""Models of many formats behind one server: the same rows give the same answers whichever way they come."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import skops.io
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from redis import Redis
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

import services

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

X, Y = datasets.load_iris(return_X_y=True)
ROWS = X[::10].astype(np.float32)
PYTHON = """
class Halves:
    inputs = (("x", "FP32", (-1, 4)),)
    outputs = (("half", "FP32", (-1, 4)),)

    def predict(self, inputs):
        return {"half": inputs["x"] / 2}
"""


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """ONNX, skops, XGBoost, LightGBM, LiteRT and a class."""
    linear = LogisticRegression(max_iter=500).fit(X, Y)
    (tmp_path / "a.onnx").write_bytes(to_onnx(linear, X[:1].astype(np.float32)).SerializeToString())
    skops.io.dump(linear, tmp_path / "b.skops")
    xgboost.XGBClassifier(n_estimators=5).fit(X, Y).save_model(tmp_path / "c.ubj")
    lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, Y).booster_.save_model(tmp_path / "d.txt")
    (tmp_path / "halves.py").write_text(PYTHON)
    found = ["./a.onnx", "./b.skops", "./c.ubj", "./d.txt", "f=halves:Halves"]
    try:
        from tflite_files import exponential
    except ImportError:
        return found
    exponential(tmp_path / "e.tflite")
    return [*found, "./e.tflite"]


def inputs(module: Any, name: str, specs: list[dict[str, Any]]) -> list[Any]:
    """The rows as the model takes them: a column each, or a tensor of as many as it has room for."""
    asked = []
    for number, spec in enumerate(specs):
        values = ROWS[:, [number]] if spec["shape"][1:] == [1] else ROWS[:, : spec["shape"][1]]
        values = values.astype(np.float64 if spec["datatype"] == "FP64" else np.float32)
        made = module.InferInput(spec["name"], list(values.shape), spec["datatype"])
        made.set_data_from_numpy(values)
        asked.append(made)
    return asked


def answers(client: Any, module: Any, name: str, specs: list[dict[str, Any]], outputs: list[str]) -> dict[str, Any]:
    result = client.infer(name, inputs(module, name, specs))
    return {output: result.as_numpy(output).tolist() for output in outputs}


def alike(found: list[Any], wanted: list[Any]) -> bool:
    """The same numbers, to the last bit of what the model gave; labels may be text."""
    one, other = np.asarray(found), np.asarray(wanted)
    if one.dtype.kind == "f" or other.dtype.kind == "f":
        return np.array_equal(one.astype(np.float32).reshape(other.shape), other.astype(np.float32))
    return np.array_equal(one.astype(str).ravel(), other.astype(str).ravel())


def batched(run: Any, model: str, specs: list[dict[str, Any]], folder: Path) -> dict[str, list[Any]]:
    """What ``fairlead batch`` writes for the same rows."""
    rows = ROWS.tolist()
    lines = [
        {
            spec["name"]: row[at] if spec["shape"][1:] == [1] else row[: spec["shape"][1]]
            for at, spec in enumerate(specs)
        }
        for row in rows
    ]
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    out = folder / f"{model.rpartition('/')[2]}.parquet"
    ran = run("batch", model, "--input", str(folder / "in.jsonl"), "--output", str(out))
    assert ran.returncode == 0, ran.stderr
    return {name: column.to_pylist() for name, column in zip(*_columns(out), strict=True)}


def _columns(path: Path) -> tuple[list[str], list[Any]]:
    table = pq.read_table(path)
    return table.column_names, table.columns


def streamed(
    client: Redis, port: int, model: str, http: Any, name: str, environment: dict[str, str]
) -> dict[str, list[Any]]:
    """What ``fairlead stream`` answers to one message with all the rows."""
    client.flushall()
    made = inputs(triton_http, name, http.get_model_metadata(name)["inputs"])
    body = [{"name": one.name(), "shape": one.shape(), "datatype": one.datatype(), "data": data(one)} for one in made]
    client.xadd("in", {"body": json.dumps({"inputs": body})})
    place = f"redis://127.0.0.1:{port}"
    words = ["stream", model, "--input", f"{place}/in", "--output", f"{place}/out", "--dead-letter", f"{place}/dead"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", *words], stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        ends = time.monotonic() + 30
        while not client.xlen("out") and time.monotonic() < ends:
            assert not client.xlen("dead"), client.xrange("dead")
            time.sleep(0.02)
        ((_, fields),) = client.xrange("out")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    return {one["name"]: one["data"] for one in json.loads(fields[b"body"])["outputs"]}


def data(made: Any) -> list[float]:
    dtype = np.float64 if made.datatype() == "FP64" else np.float32
    return np.frombuffer(made._get_binary_data(), dtype).tolist()


def test_rest_grpc_batch_and_stream_answer_alike(
    start, run, models: list[str], environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        grpc_port = probe.getsockname()[1]
    process = start("serve", *models, "--port", "0", "--grpc-port", str(grpc_port))
    http = triton_http.InferenceServerClient(process.url().removeprefix("http://"))
    grpc = triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}")
    names = [one["name"] for one in http.get_model_repository_index()]
    assert len(names) == len(models) >= 5
    with services.redis() as server, Redis(port=server.port) as client:
        for model, name in zip(models, names, strict=True):
            described = http.get_model_metadata(name)
            specs, outputs = described["inputs"], [one["name"] for one in described["outputs"]]
            rest = answers(http, triton_http, name, specs, outputs)
            uri = model.partition("=")[2] or model
            found = {
                "grpc": answers(grpc, triton_grpc, name, specs, outputs),
                "batch": batched(run, uri, specs, tmp_path),
                "stream": streamed(client, server.port, uri, http, name, environment),
            }
            for way, answer in found.items():
                for output in outputs:
                    assert alike(answer[output], rest[output]), (name, way, output, answer[output], rest[output])
