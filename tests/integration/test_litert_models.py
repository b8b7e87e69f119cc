"""LiteRT on models that others trained, against what is known of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

interpreter = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install 'fairlead[litert]'"
)

from fairlead.adapters.runtimes.litert.runtime import LitertModel, LitertRuntime  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import Tensors  # noqa: E402
from fairlead.package.formats import sniff  # noqa: E402
from fairlead.testing import runtime_suite  # noqa: E402

NAMES = (
    "ad01_int8", "hello_world_float", "hello_world_int8", "kws_ref_model", "kws_ref_model_float32",
    "micro_speech_quantized", "pretrainedResnet", "pretrainedResnet_quant", "trained_lstm", "trained_lstm_int8",
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Path:
    found = os.environ.get("FAIRLEAD_DATA")
    if not found:
        pytest.skip("FAIRLEAD_DATA is not set")
    return Path(found)


def load(path: Path) -> LitertModel:
    return LitertRuntime().load(Artefact("litert", path), RuntimeOptions())


def noise(model: LitertModel, rows: int) -> Tensors:
    draw = np.random.default_rng(1)
    made = {}
    for spec in model.signature.inputs:
        shape = (rows, *spec.shape[1:])
        values = draw.random(shape) if spec.datatype.is_float else draw.integers(-128, 128, shape)
        made[spec.name] = values.astype(spec.datatype.numpy)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_model_passes_the_suite_and_answers_like_its_interpreter(data: Path, name: str, tmp_path: Path) -> None:
    path = data / "models-tflite" / f"{name}.tflite"
    assert sniff(path).runtime == "litert"
    model = load(path)
    assert model.traits.max_rows == (1 if name.startswith("trained_lstm") else 0)
    rows = noise(model, 4)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(path.read_bytes()[:-1000])
    sample = runtime_suite.Sample(Artefact("litert", path), rows, Artefact("litert", broken))
    for check in runtime_suite.CHECKS:
        check(LitertRuntime(), sample)
    (taken,), (given,) = model.signature.inputs, model.signature.outputs
    for row in range(4):
        bare: Any = interpreter.Interpreter(model_path=str(path))
        bare.allocate_tensors()
        bare.set_tensor(bare.get_input_details()[0]["index"], rows[taken.name][row : row + 1])
        bare.invoke()
        expected = bare.get_tensor(bare.get_output_details()[0]["index"])
        answer = model.predict({taken.name: rows[taken.name][row : row + 1]}, {})[given.name]
        assert np.allclose(answer, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "error"), [("hello_world_float", 0.03), ("hello_world_int8", 0.06)])
def test_hello_world_is_a_sine(data: Path, name: str, error: float) -> None:
    model = load(data / "models-tflite" / f"{name}.tflite")
    angles = np.linspace(0, 2 * np.pi, 50, dtype=np.float32).reshape(-1, 1)
    taken, given = angles, np.sin(angles)
    scale, zero = model.quantization.get("dense_input", (1.0, 0))
    if model.quantization:
        taken = np.clip(np.round(angles / scale) + zero, -128, 127).astype(np.int8)
    answer = model.predict({"dense_input": taken}, {})["dense_2"]
    scale, zero = model.quantization.get("dense_2", (1.0, 0))
    assert np.abs((answer.astype(float) - zero) * scale - given).mean() < error


@pytest.mark.parametrize("name", ["trained_lstm", "trained_lstm_int8"])
def test_an_lstm_reads_digits_in_whatever_order(data: Path, name: str) -> None:
    """It keeps its state from run to run; an answer must not depend on who was asked about before."""
    model = load(data / "models-tflite" / f"{name}.tflite")
    folder = data / "models-onnx-small" / "digits"
    images = [grey(folder / f"digit{digit}.png").astype(np.float32) / 255 for digit in range(10)]
    if model.quantization:
        scale, zero = model.quantization["fixed_input"]
        images = [np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8) for image in images]
    asked = [model.predict({"fixed_input": image[None]}, {})["sequential"] for image in images]
    again = [model.predict({"fixed_input": image[None]}, {})["sequential"] for image in reversed(images)]
    assert all(np.array_equal(one, other) for one, other in zip(asked, reversed(again), strict=True))
    assert sum(int(one.argmax()) == digit for digit, one in enumerate(asked)) >= 9


def grey(path: Path) -> np.ndarray[Any, Any]:
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as opened:
        return np.asarray(opened.convert("L"))
