"""W1: one row of 20 floats through 100 gradient-boosted trees as ONNX; at some 7 us a row it measures the server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit import plugins

ROWS = 4_000


def make(folder: Path) -> tuple[Path, list[bytes], np.ndarray]:
    """The model file, thousands of different request bodies, and the probabilities that each must be answered with."""
    x, y = make_classification(n_samples=16_000 + ROWS, n_features=20, n_informative=12, random_state=7)
    x = np.round(x, 4).astype(np.float32)
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=7).fit(x[:16_000], y[:16_000])
    signature = Signature(
        inputs=(TensorSpec("X", DataType.FP32, (-1, 20)),),
        outputs=(TensorSpec("label", DataType.INT64, (-1,)), TensorSpec("probabilities", DataType.FP32, (-1, 2))),
    )
    path = plugins.load("fairlead.converters", "sklearn-onnx")().convert(trees, signature, folder)
    rows = x[16_000:]
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"X": rows})[1]
    bodies = [
        json.dumps(
            {
                "inputs": [
                    {"name": "X", "shape": [1, 20], "datatype": "FP32", "data": [round(float(v), 4) for v in row]}
                ]
            },
            separators=(",", ":"),
        ).encode()
        for row in rows
    ]
    return path, bodies, expected
