"""Small ``.tflite`` files, written with LiteRT's own schema: every test that needs one makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

FLOAT32, INT8, STRING = schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.STRING


def tensor(name: str, shape: list[int], kind: int = FLOAT32, free: bool = True, scale: float = 0.0) -> Any:
    """``free``: the first dimension is open.  ``scale``: quantised, with the zero point -3."""
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, 0
    made.shapeSignature = [-1, *shape[1:]] if free else shape
    if scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [-3]
    return made


def write(
    path: Path,
    tensors: list[Any],
    operator: int,
    inputs: list[int],
    outputs: list[int],
    signature: dict[str, int] | None = None,
    options: Any = None,
) -> Path:
    """A graph of one operator. ``inputs``, ``outputs``: places in ``tensors``.  ``signature``: names to such places."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, min(operator, 127), 1
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, inputs, outputs
    if options:
        node.builtinOptionsType, node.builtinOptions = options
    graph = schema.SubGraphT()
    graph.tensors, graph.outputs, graph.operators = tensors, outputs, [node]
    graph.inputs = list(dict.fromkeys(inputs))
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    if signature:
        named = schema.SignatureDefT()
        named.signatureKey, named.subgraphIndex = b"serving_default", 0
        named.inputs = [_named(name, at) for name, at in signature.items() if at in inputs]
        named.outputs = [_named(name, at) for name, at in signature.items() if at in outputs]
        model.signatureDefs = [named]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def exponential(path: Path, free: bool = True) -> Path:
    """``y = exp(x)`` of [1, 2] rows."""
    return write(path, [tensor("x", [1, 2], free=free), tensor("y", [1, 2], free=free)], 47, [0], [1])


def _named(name: str, at: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), at
    return made
