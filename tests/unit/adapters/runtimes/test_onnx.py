from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from fairlead.adapters.runtimes.onnx.runtime import OnnxModel, OnnxRuntime
from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, TensorSpec


def write(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], *, opset: int = 18, constants: Any = ()
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), str(path))
    return path


def tensor(name: str, kind: int, shape: list[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def identity(path: Path, kind: int, shape: list[Any] | None = None) -> Path:
    shape = shape or ["n", 2]
    return write(
        path, [helper.make_node("Identity", ["x"], ["y"])], [tensor("x", kind, shape)], [tensor("y", kind, shape)]
    )


def load(path: Path, signature: Signature | None = None, **options: Any) -> OnnxModel:
    return OnnxRuntime().load(Artefact("onnx", path, signature=signature), RuntimeOptions(**options))


@pytest.mark.parametrize(
    ("kind", "datatype", "values"),
    [
        (TensorProto.FLOAT, DataType.FP32, [[1.5, -2]]),
        (TensorProto.DOUBLE, DataType.FP64, [[1.5, -2]]),
        (TensorProto.FLOAT16, DataType.FP16, [[1.5, -2]]),
        (TensorProto.BFLOAT16, DataType.BF16, [[1.5, -2]]),
        (TensorProto.INT8, DataType.INT8, [[1, -2]]),
        (TensorProto.INT64, DataType.INT64, [[1, -2]]),
        (TensorProto.UINT16, DataType.UINT16, [[1, 65535]]),
        (TensorProto.BOOL, DataType.BOOL, [[True, False]]),
        (TensorProto.STRING, DataType.BYTES, [["a", "é\0"]]),
    ],
)
def test_every_datatype_goes_through(tmp_path: Path, kind: int, datatype: DataType, values: Any) -> None:
    model = load(identity(tmp_path / "m.onnx", kind))
    given = np.array(values, datatype.numpy)
    answer = model.predict({"x": given}, {})["y"]
    assert model.signature.inputs == (TensorSpec("x", datatype, (-1, 2)),)
    assert answer.dtype == given.dtype
    assert answer.tolist() == given.tolist()


def test_bfloat16_rounds_to_nearest_even(tmp_path: Path) -> None:
    model = load(identity(tmp_path / "m.onnx", TensorProto.BFLOAT16))
    answer = model.predict({"x": np.array([[1 + 2**-9, 1 + 3 * 2**-9], [np.nan, np.inf]], np.float32)}, {})["y"]
    assert answer[0].tolist() == [1.0, 1.0 + 2**-7]
    assert np.isnan(answer[1, 0])
    assert answer[1, 1] == np.inf


def test_a_graph_frozen_to_one_row_takes_one_row(tmp_path: Path) -> None:
    model = load(identity(tmp_path / "m.onnx", TensorProto.FLOAT, [1, 2]))
    assert model.signature.batched
    assert model.traits.max_rows == 1
    assert model.signature.inputs[0].shape == (-1, 2)


def test_a_graph_of_scalars_is_not_batched(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    path = write(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", TensorProto.FLOAT, ["n"]), tensor("k", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, ["n"])],
    )
    model = load(path)
    assert not model.signature.batched
    assert model.signature.inputs[1].shape == ()
    assert model.predict({"x": np.ones(3, np.float32), "k": np.array(2, np.float32)}, {})["y"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("reverse", [0, 1])
def test_a_graph_that_mixes_rows_is_not_batched(tmp_path: Path, reverse: int) -> None:
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"], reverse=reverse)]
    axis = helper.make_tensor("axis", TensorProto.INT64, [], [0])
    shape = ["n", 2]
    path = write(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", TensorProto.FLOAT, shape)],
        [tensor("y", TensorProto.FLOAT, shape)],
        constants=[axis],
    )
    assert not load(path).signature.batched


def test_a_shape_that_the_graph_does_not_declare_is_seen(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    path = write(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", TensorProto.FLOAT, ["n", 3])],
        [tensor("y", TensorProto.FLOAT, None)],
        constants=[axes],
    )
    model = load(path)
    assert model.signature.batched
    assert model.signature.outputs[0].shape == (-1, 1)


@pytest.fixture(scope="module")
def zipmap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], np.float32)
    graph = to_onnx(LogisticRegression().fit(x, ["b", "a", "c"]), x, target_opset=18)
    path = tmp_path_factory.mktemp("zipmap") / "m.onnx"
    path.write_bytes(graph.SerializeToString())
    return path


def test_zipmap_becomes_a_matrix(zipmap: Path) -> None:
    model = load(zipmap)
    answer = model.predict({"X": np.zeros((2, 2), np.float32)}, {})
    assert [spec.name for spec in model.signature.outputs] == ["output_label", "probabilities"]
    assert model.signature.outputs[1].shape == (-1, -1)
    assert answer["probabilities"].shape == (2, 3)
    assert answer["probabilities"].dtype == np.float32
    assert answer["probabilities"].sum(axis=1) == pytest.approx([1, 1])
    assert answer["output_label"].dtype == object


def columns(*names: str, datatype: DataType = DataType.FP64) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, datatype, (-1, 1), column=True) for name in names)


def test_columns_are_laid_side_by_side(zipmap: Path) -> None:
    label = TensorSpec("label", DataType.BYTES, (-1,))
    chances = TensorSpec("chances", DataType.FP64, (-1, 3))
    public = Signature(columns("first", "second"), (label, chances), prediction=("label",))
    model = load(zipmap, public)
    answer = model.predict({"first": np.array([[2.0]]), "second": np.array([[2.0]])}, {})
    assert model.signature == public
    assert answer["label"].tolist() == ["c"]
    assert answer["chances"].dtype == np.float64


def test_outputs_that_cannot_be_matched_are_the_graphs_own(zipmap: Path) -> None:
    public = Signature(columns("a", "b"), (TensorSpec("output", DataType.FP64, (-1,)),), prediction=("output",))
    model = load(zipmap, public)
    assert [spec.name for spec in model.signature.outputs] == ["output_label", "probabilities"]
    assert model.signature.prediction == ()


def test_public_columns_reach_the_graph_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["b", "a"], ["y"])]
    path = write(
        tmp_path / "m.onnx",
        nodes,
        [tensor("b", TensorProto.FLOAT, ["n"]), tensor("a", TensorProto.FLOAT, ["n"])],
        [tensor("y", TensorProto.FLOAT, ["n"])],
    )
    unused = columns("a", "b", "unused")
    model = load(path, Signature(unused, (TensorSpec("sum", DataType.FP64, (-1, 1)),)))
    rows = {name: np.array([[value], [2 * value]]) for name, value in (("a", 1.0), ("b", 10.0), ("unused", 5.0))}
    assert model.predict(rows, {})["sum"].tolist() == [[11.0], [22.0]]


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (columns("a", "b", "c"), "takes 2 columns in 'x', the signature has 3"),
        (columns("x", datatype=DataType.BYTES), r"takes 'x' as FP32 \[-1, 2\], the signature says BYTES \[-1, 1\]"),
        ((TensorSpec("z", DataType.FP32, (-1, 5)),), "the input 'x', which the signature does not name"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(tmp_path: Path, public: Any, said: str) -> None:
    path = identity(tmp_path / "m.onnx", TensorProto.FLOAT)
    with pytest.raises(BrokenModel, match=said):
        load(path, Signature(public))


def test_broken_graphs_are_told_in_one_sentence(tmp_path: Path) -> None:
    good = identity(tmp_path / "good.onnx", TensorProto.FLOAT).read_bytes()
    bad = tmp_path / "bad.onnx"
    model = onnx.load_from_string(good)
    cases: dict[str, bytes] = {"not an ONNX file, or is cut short": good[:-15], "is not an ONNX file": b"hello world"}
    model.opset_import[0].version = 999
    cases["uses opset 999 of ai.onnx; onnxruntime [0-9.]+ reads up to"] = model.SerializeToString()
    model.opset_import[0].version = 18
    model.ir_version = 99
    cases["has IR version 99"] = model.SerializeToString()
    model.ir_version = 9
    model.graph.node[0].op_type = "Frobnicate"
    cases["uses the operator Frobnicate"] = model.SerializeToString()
    for said, content in cases.items():
        bad.write_bytes(content)
        with pytest.raises(BrokenModel, match=said) as caught:
            load(bad)
        assert "\n" not in str(caught.value)


def test_types_that_no_protocol_carries_are_refused(tmp_path: Path) -> None:
    path = identity(tmp_path / "m.onnx", TensorProto.COMPLEX64)
    with pytest.raises(BrokenModel, match="complex64|cannot be loaded"):
        load(path)


def test_a_folder_needs_exactly_one_graph(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="found 0"):
        load(tmp_path)
    identity(tmp_path / "m.onnx", TensorProto.FLOAT)
    assert load(tmp_path).signature.inputs[0].name == "x"


def test_providers_are_chosen_by_name(tmp_path: Path) -> None:
    path = identity(tmp_path / "m.onnx", TensorProto.FLOAT)
    assert load(path, providers=("cpu",)).signature.batched
    with pytest.raises(MissingExtra, match="no execution provider 'abacus'"):
        load(path, providers=("abacus",))


def test_a_closed_model_does_not_answer(tmp_path: Path) -> None:
    model = load(identity(tmp_path / "m.onnx", TensorProto.FLOAT), threads=1)
    model.close()
    with pytest.raises(ModelFailed, match="closed"):
        model.predict({"x": np.zeros((1, 2), np.float32)}, {})
