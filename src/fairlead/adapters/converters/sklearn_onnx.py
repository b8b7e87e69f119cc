"""Fitted scikit-learn estimator to ONNX: one tensor per column, plain probabilities, names of the signature.

The result is opset 21, IR 10: what every onnxruntime that Fairlead accepts (1.20 and later) can read. Numbers become
float32 tensors: trees and linear models of ONNX compute in float32, so a wider input would promise what it cannot keep.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import onnx
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit.sentences import cause

_OPSET = {"": 21, "ai.onnx.ml": 3}
_IR = 10


class SklearnToOnnx:
    """Entry point ``sklearn-onnx``. Writes ``model.onnx``."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:  # noqa: ARG002 - ONNX has no place for it
        """Raises BrokenModel that names the step of the pipeline for which there is no conversion."""
        if int(version("protobuf").partition(".")[0]) >= 7:
            raise BrokenModel(f"skl2onnx does not work with protobuf {version('protobuf')}: pip install 'protobuf<7'")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                inputs = _inputs(model, signature)
                graph = skl2onnx.convert_sklearn(
                    model,
                    initial_types=inputs,
                    target_opset={**_OPSET, "": min(_OPSET[""], skl2onnx.__max_supported_opset__)},
                    options={id(model): {"zipmap": False}} if hasattr(model, "classes_") else None,
                )
        except Exception as error:  # skl2onnx raises whatever its converters raise
            step = _step(model, error.__traceback__)
            raise BrokenModel(f"{step} cannot be converted to ONNX: {cause(error)}") from error
        graph.ir_version = min(graph.ir_version, _IR)
        _rename(graph, [name for name, _ in inputs], [spec.name for spec in signature.outputs])
        into.mkdir(parents=True, exist_ok=True)
        path = into / "model.onnx"
        onnx.save(graph, str(path))
        return path


def _inputs(model: Any, signature: Signature) -> list[tuple[str, Any]]:
    """One tensor per column, or one matrix for a model that does not tell columns apart (the runtime lays them side
    by side, in the order of the signature)."""
    specs = signature.inputs
    numbers = all(spec.datatype is not DataType.BYTES for spec in specs)
    if signature.tabular and numbers and len(specs) > 1 and not hasattr(_first(model), "transformers_"):
        name = "columns" if "columns" not in {spec.name for spec in specs} else "matrix of columns"
        return [(name, FloatTensorType([None, len(specs)]))]
    return [(spec.name, _tensor(spec)) for spec in specs]


def _first(model: Any) -> Any:
    steps = getattr(model, "steps", None)
    return _first(steps[0][1]) if steps else model


def _tensor(spec: TensorSpec) -> Any:
    shape = [None, *(None if size < 0 else size for size in spec.shape[1:])] if len(spec.shape) > 1 else [None, 1]
    return StringTensorType(shape) if spec.datatype is DataType.BYTES else FloatTensorType(shape)


def _rename(graph: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give inputs and outputs the names of the signature, in order; where one is taken, the graph's own names stay.

    skl2onnx turns a column ``it's`` into ``it_s``; ONNX itself takes any name.
    """
    nodes = graph.graph
    taken = {value.name for value in (*nodes.input, *nodes.initializer)}
    taken |= {name for node in nodes.node for name in (*node.input, *node.output)}
    new: dict[str, str] = {}
    for values, names in ((nodes.input, inputs), (nodes.output, outputs)):
        wanted = {value.name: name for value, name in zip(values, names, strict=False) if value.name != name}
        if len(values) == len(names) and not (taken | set(new.values())) & set(wanted.values()):
            new |= wanted
    for node in nodes.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*nodes.input, *nodes.output):
        value.name = new.get(value.name, value.name)


def _step(model: Any, traceback: TracebackType | None) -> str:
    """The estimator whose conversion raised: what skl2onnx had in hand, and where in the pipeline it stands."""
    estimator = model
    while traceback is not None:
        operator = traceback.tb_frame.f_locals.get("operator")
        estimator = getattr(operator, "raw_operator", None) or estimator
        traceback = traceback.tb_next
    place = _place(model, estimator)
    kind = type(estimator).__name__
    return f"the step {place} ({kind})" if place else f"the estimator {kind}"


def _place(model: Any, wanted: Any) -> str:
    """``preprocess / text / imputer``: names of the steps on the way to ``wanted``; empty when it is not on one."""
    parts = getattr(model, "steps", None) or [row[:2] for row in getattr(model, "transformers_", ())]
    for name, part in parts:
        if part is wanted:
            return str(name)
        inner = _place(part, wanted)
        if inner:
            return f"{name} / {inner}"
    return ""
