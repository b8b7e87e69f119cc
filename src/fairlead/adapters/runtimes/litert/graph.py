"""A ``.tflite`` file, opened: one interpreter, and its tensors in our words."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Tensors, TensorSpec
from fairlead.kit.sentences import cause

Array = np.ndarray[Any, Any]
Specs = tuple[TensorSpec, ...]

_USUAL = "serving_default"
"""The signature that a converted Keras or SavedModel has."""


class Graph:
    """One interpreter with tensors for one shape at a time. Not thread-safe.

    ``inputs``, ``outputs``: by the names of the file's signature (``serving_default``, else the first), or those of the
    tensors where it has none. -1 is what the file leaves open.  ``quantization``: tensor name to scale and zero point.
    """

    def __init__(self, data: bytes, file: str, threads: int) -> None:
        """Raises BrokenModel for bytes that LiteRT cannot run."""
        try:
            self._interpreter = Interpreter(model_content=data, num_threads=threads)
            self._interpreter.allocate_tensors()
            runner = _runner(self._interpreter)
            takes = runner.get_input_details() if runner else _by_name(self._interpreter.get_input_details())
            gives = runner.get_output_details() if runner else _by_name(self._interpreter.get_output_details())
        except Exception as error:  # its errors share no base class
            raise BrokenModel(f"{file} cannot be run by LiteRT: {cause(error)}") from error
        self._runner = runner
        self._indices = {name: detail["index"] for name, detail in takes.items()}
        self._answers = {name: detail["index"] for name, detail in gives.items()}
        self._shapes = {name: tuple(map(int, detail["shape"])) for name, detail in takes.items()}
        self.inputs: Specs = tuple(_spec(name, detail, "input", file) for name, detail in takes.items())
        self.outputs: Specs = tuple(_spec(name, detail, "output", file) for name, detail in gives.items())
        self.quantization = {name: known for name, one in {**takes, **gives}.items() if (known := _quantized(one))}
        self.ones = all(shape[:1] == (1,) for shape in self._shapes.values())
        """The first dimension of every input is 1, or open."""

    def run(self, feed: Tensors) -> Tensors:
        """Every output, in arrays of their own. A state that the graph keeps (an LSTM's) begins anew with each run."""
        texts = {name: _encoded(array) if array.dtype.kind == "O" else array for name, array in feed.items()}
        self._interpreter.reset_all_variables()
        found = self._runner(**texts) if self._runner else self._direct(texts)
        return {
            name: _decoded(found[name]) if found[name].dtype.kind in "OS" else found[name] for name in self._answers
        }

    def _direct(self, feed: Tensors) -> Tensors:
        resized = False
        for name, array in feed.items():
            if array.shape != self._shapes[name]:
                self._interpreter.resize_tensor_input(self._indices[name], array.shape)
                self._shapes[name] = array.shape
                resized = True
        if resized:
            self._interpreter.allocate_tensors()
        for name, array in feed.items():
            self._interpreter.set_tensor(self._indices[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._answers.items()}


def _runner(interpreter: Any) -> Any:
    keys = list(interpreter.get_signature_list())
    if not keys:
        return None
    return interpreter.get_signature_runner(_USUAL if _USUAL in keys else keys[0])


def _by_name(details: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Names that stand twice get the number of their tensor."""
    names = [str(detail["name"]) for detail in details]
    return {
        name if names.count(name) == 1 else f"{name}_{detail['index']}": detail
        for name, detail in zip(names, details, strict=True)
    }


def _spec(name: str, detail: dict[str, Any], role: str, file: str) -> TensorSpec:
    try:
        datatype = DataType.of(np.dtype(detail["dtype"]))
    except (ValueError, TypeError) as error:
        raise BrokenModel(f"{file} has the {role} {name!r}, which no protocol can carry: {error}") from error
    shape = tuple(map(int, detail["shape_signature"])) or tuple(map(int, detail["shape"]))
    return TensorSpec(name, datatype, shape)


def _quantized(detail: dict[str, Any]) -> tuple[float, int] | None:
    scale, zero = detail["quantization"]
    return (float(scale), int(zero)) if scale else None


def _encoded(array: Array) -> Array:
    flat = [value.encode() if isinstance(value, str) else value for value in array.reshape(-1).tolist()]
    encoded = np.empty(len(flat), object)
    encoded[:] = flat
    return encoded.reshape(array.shape)


def _decoded(array: Array) -> Array:
    """Strings; bytes stay where they are not UTF-8."""
    decoded = np.empty(array.size, object)
    decoded[:] = [_text(value) for value in array.reshape(-1).tolist()]
    return decoded.reshape(array.shape)


def _text(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
