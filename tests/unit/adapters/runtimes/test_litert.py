"""LiteRT on graphs of one operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="LiteRT is not installed: pip install 'fairlead[litert]'"
)

from fairlead.adapters.runtimes.litert.runtime import LitertModel, LitertRuntime  # noqa: E402
from fairlead.contracts.errors import BrokenModel, ModelFailed  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import DataType, Signature, TensorSpec  # noqa: E402
from tflite_files import INT8, STRING, exponential, tensor, write  # noqa: E402

OPERATOR, OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def load(path: Path, signature: Signature | None = None) -> LitertModel:
    return LitertRuntime().load(Artefact("litert", path, signature=signature), RuntimeOptions())


def adding(path: Path, signature: dict[str, int] | None) -> Path:
    tensors = [tensor("b:0", [1, 2]), tensor("a:0", [1, 2]), tensor("sum:0", [1, 2])]
    return write(path, tensors, OPERATOR.ADD, [0, 1], [2], signature, (OPTIONS.AddOptions, schema.AddOptionsT()))


@pytest.mark.parametrize("free", [True, False])
def test_a_graph_that_can_be_resized_takes_any_number_of_rows(tmp_path: Path, free: bool) -> None:
    model = load(exponential(tmp_path / "m.tflite", free))
    assert model.signature.inputs == (TensorSpec("x", DataType.FP32, (-1, 2)),)
    assert model.signature.batched
    assert model.traits.max_rows == 0
    rows = np.arange(14, dtype=np.float32).reshape(7, 2) / 7
    for some in (rows, rows[:3], rows[:1], rows):
        assert np.allclose(model.predict({"x": some}, {})["y"], np.exp(some), rtol=1e-6)


def test_rows_that_are_not_independent_run_alone(tmp_path: Path) -> None:
    options = schema.BatchMatMulOptionsT()
    options.adjY = True
    tensors = [tensor("x", [1, 2]), tensor("y", [1, 1])]
    options = (OPTIONS.BatchMatMulOptions, options)
    model = load(write(tmp_path / "m.tflite", tensors, OPERATOR.BATCH_MATMUL, [0, 0], [1], options=options))
    assert model.signature.batched
    assert model.traits.max_rows == 1
    assert model.predict({"x": np.array([[3, 4]], np.float32)}, {})["y"].tolist() == [[25]]


def test_a_graph_of_two_rows_is_run_as_it_is(tmp_path: Path) -> None:
    tensors = [tensor("x", [2, 2], free=False), tensor("y", [2, 2], free=False)]
    model = load(write(tmp_path / "m.tflite", tensors, OPERATOR.EXP, [0], [1]))
    assert not model.signature.batched
    assert model.signature.outputs == (TensorSpec("y", DataType.FP32, (2, 2)),)


def test_several_inputs_and_the_names_of_a_signature(tmp_path: Path) -> None:
    rows = {"left": np.ones((3, 2), np.float32), "right": np.eye(3, 2, dtype=np.float32)}
    model = load(adding(tmp_path / "m.tflite", {"right": 0, "left": 1, "total": 2}))
    assert {spec.name for spec in model.signature.inputs} == {"left", "right"}
    assert model.predict(rows, {})["total"].tolist() == [[2, 1], [1, 2], [1, 1]]
    bare = load(adding(tmp_path / "m.tflite", None))
    assert [spec.name for spec in bare.signature.inputs] == ["b:0", "a:0"]
    answer = bare.predict({"a:0": rows["left"], "b:0": rows["right"]}, {})
    assert answer["sum:0"].tolist() == [[2, 1], [1, 2], [1, 1]]


def test_quantised_tensors_stay_integers_and_their_scale_is_told(tmp_path: Path) -> None:
    tensors = [tensor("q", [1, 2], INT8, scale=0.5), tensor("f", [1, 2])]
    options = (OPTIONS.DequantizeOptions, schema.DequantizeOptionsT())
    model = load(write(tmp_path / "m.tflite", tensors, OPERATOR.DEQUANTIZE, [0], [1], options=options))
    assert model.signature.inputs == (TensorSpec("q", DataType.INT8, (-1, 2)),)
    assert model.quantization == {"q": (0.5, -3)}
    assert model.predict({"q": np.array([[1, -3]], np.int8)}, {})["f"].tolist() == [[2, 0]]


def test_strings(tmp_path: Path) -> None:
    shape = schema.ReshapeOptionsT()
    shape.newShape = [-1, 1]
    tensors = [tensor("s", [1, 1], STRING), tensor("t", [1, 1], STRING)]
    options = (OPTIONS.ReshapeOptions, shape)
    model = load(write(tmp_path / "m.tflite", tensors, OPERATOR.RESHAPE, [0], [1], options=options))
    texts = np.array([["hé"], ["a\0"], [""], [b"\xff"]], object)
    assert model.predict({"s": texts}, {})["t"].tolist() == texts.tolist()


def test_a_public_signature_must_name_the_same_tensors(tmp_path: Path) -> None:
    path = exponential(tmp_path / "m.tflite")
    wide = Signature((TensorSpec("x", DataType.FP64, (-1, 2)),), (TensorSpec("y", DataType.FP64, (-1, 2)),))
    assert load(path, wide).predict({"x": np.zeros((1, 2))}, {})["y"].dtype == np.float64
    with pytest.raises(BrokenModel, match="takes 'x' as FP32 .* the signature names z"):
        load(path, Signature((TensorSpec("z", DataType.FP32, (-1, 2)),)))
    with pytest.raises(BrokenModel, match=r"the signature says BYTES \[-1, 2\]"):
        load(path, Signature((TensorSpec("x", DataType.BYTES, (-1, 2)),)))


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    path = exponential(tmp_path / "m.tflite")
    whole = path.read_bytes()
    for size in range(8, len(whole), 23):
        path.write_bytes(whole[:size])
        with pytest.raises(BrokenModel, match=r"m\.tflite cannot be run by LiteRT"):
            load(path)
    write(path, [tensor("x", [1, 2]), tensor("y", [1, 2])], OPERATOR.CUSTOM, [0], [1])
    with pytest.raises(BrokenModel) as error:
        load(path)
    assert "\n" not in str(error.value)
    tensors: list[Any] = [tensor("x", [1, 2], schema.TensorType.COMPLEX64), tensor("y", [1, 2])]
    options = (OPTIONS.AbsOptions, schema.AbsOptionsT())
    write(path, tensors, OPERATOR.COMPLEX_ABS, [0], [1], options=options)
    with pytest.raises(BrokenModel, match="no protocol can carry|cannot be run by LiteRT"):
        load(path)


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = load(exponential(tmp_path / "m.tflite"))
    model.close()
    with pytest.raises(ModelFailed, match="was closed"):
        model.predict({"x": np.zeros((1, 2), np.float32)}, {})
