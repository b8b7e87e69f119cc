"""The ONNX runtime on models that others exported, against answers that others computed."""

from __future__ import annotations

import os
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.adapters.runtimes.onnx.runtime import OnnxModel, OnnxRuntime
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, TensorSpec


@pytest.fixture(scope="module")
def data() -> Path:
    found = os.environ.get("FAIRLEAD_DATA")
    if not found:
        pytest.skip("FAIRLEAD_DATA is not set")
    return Path(found)


def load(path: Path, signature: Signature | None = None) -> OnnxModel:
    return OnnxRuntime().load(Artefact("onnx", path, signature=signature), RuntimeOptions())


@pytest.mark.parametrize("name", ["lgbm_classifier_tensor", "lgbm_regressor_tensor", "xgboost_classifier_tree"])
def test_tabular_models_give_the_expected_answers(data: Path, name: str) -> None:
    folder = data / "models-onnx-tabular" / name
    model = load(folder / "model.onnx")
    io = np.load(folder / "io.npz")
    answer = model.predict({"input": io["input"]}, {})
    assert model.signature.batched
    assert model.traits.max_rows == 0
    for output in set(io.files) - {"input"}:
        assert answer[output].ravel() == pytest.approx(io[output].ravel(), abs=2e-7)


def test_a_matrix_model_takes_thirteen_columns(data: Path) -> None:
    folder = data / "models-onnx-tabular" / "xgboost_classifier_tree"
    columns = tuple(TensorSpec(f"f{at}", DataType.FP64, (-1, 1), column=True) for at in range(13))
    model = load(folder / "model.onnx", Signature(columns))
    io = np.load(folder / "io.npz")
    rows = {f"f{at}": io["input"][:, at : at + 1].astype(np.float64) for at in range(13)}
    assert model.predict(rows, {})["probabilities"] == pytest.approx(io["probabilities"], abs=2e-7)


def test_digits_are_read_by_a_graph_frozen_to_one_row(data: Path) -> None:
    folder = data / "models-onnx-small"
    model = load(folder / "mnist.onnx")
    assert model.signature.batched
    assert model.traits.max_rows == 1
    for digit in range(10):
        image = grey(folder / "digits" / f"digit{digit}.png").astype(np.float32).reshape(1, 1, 28, 28)
        assert int(model.predict({"Input3": image}, {})["Plus214_Output_0"].argmax()) == digit


def test_a_graph_with_state_is_run_call_by_call(data: Path) -> None:
    folder = data / "models-silero-vad"
    model = load(folder / "silero_vad.onnx")
    assert not model.signature.batched
    assert {spec.name: spec.shape for spec in model.signature.inputs}["sr"] == ()
    with wave.open(str(folder / "test.wav")) as sound:
        samples = np.frombuffer(sound.readframes(16_000 * 5), np.int16).astype(np.float32) / 32768
    state, context, speech = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    rate = np.array(16_000, np.int64)
    for at in range(0, len(samples) - 511, 512):
        piece = samples[at : at + 512]
        frame = np.concatenate([context, piece])[None]
        answer = model.predict({"input": frame, "state": state, "sr": rate}, {})
        state, context = answer["stateN"], piece[-64:]
        speech.append(float(answer["output"][0, 0]))
    assert 0.3 < np.mean(np.array(speech) > 0.5) < 1.0


def grey(path: Path) -> np.ndarray[Any, Any]:
    """The pixels of an 8-bit PNG without interlacing, first channel only."""
    raw, at, content, head = path.read_bytes(), 8, b"", (0, 0, 0, 0)
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            head = struct.unpack(">IIBB", body[:10])
        content += body if kind == b"IDAT" else b""
        at += size + 12
    width, height, depth, colour = head
    assert depth == 8
    step = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(content), np.uint8).reshape(height, 1 + width * step).astype(int)
    image = np.zeros((height, width * step), int)
    for y in range(height):
        for x in range(width * step):
            left = image[y, x - step] if x >= step else 0
            up = image[y - 1, x] if y else 0
            corner = image[y - 1, x - step] if y and x >= step else 0
            image[y, x] = (lines[y, 1 + x] + predicted(lines[y, 0], left, up, corner)) % 256
    return image[:, ::step]


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    """PNG's filters: none, left, up, average, Paeth."""
    guess = left + up - corner
    paeth = min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2, paeth)[kind]
