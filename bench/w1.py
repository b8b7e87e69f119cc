"""W1: one row of 20 floats through 100 gradient-boosted trees as ONNX; at some 7 us a row it measures the server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.load import post, store
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit import plugins

ROWS = 4_000


def make(folder: Path) -> Path:
    """The model; beside it thousands of different requests, and the probabilities that each must be answered with.

    ``v2`` holds them in the Open Inference Protocol, ``plain`` as ``{"data": [row]}`` to ``/predict``.
    """
    x, y = make_classification(n_samples=16_000 + ROWS, n_features=20, n_informative=12, random_state=7)
    x = np.round(x, 4).astype(np.float32)
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=7).fit(x[:16_000], y[:16_000])
    signature = Signature(
        inputs=(TensorSpec("X", DataType.FP32, (-1, 20)),),
        outputs=(TensorSpec("label", DataType.INT64, (-1,)), TensorSpec("probabilities", DataType.FP32, (-1, 2))),
    )
    path = plugins.load("fairlead.converters", "sklearn-onnx")().convert(trees, signature, folder)
    rows = x[16_000:]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.save(folder / "expected.npy", session.run(None, {"X": rows})[1])
    numbers = [[round(float(value), 4) for value in row] for row in rows]
    store(folder / "v2.requests", [post("/v2/models/w1/infer", _packed(v2(row))) for row in numbers])
    store(folder / "plain.requests", [post("/predict", _packed({"data": [row]})) for row in numbers])
    return path


def v2(row: list[float]) -> dict[str, object]:
    return {"inputs": [{"name": "X", "shape": [1, 20], "datatype": "FP32", "data": row}]}


def _packed(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
