"""An ONNX file, opened: its session, and its tensors in our words."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fairlead.adapters.runtimes.onnx.binding import Convert
from fairlead.contracts.errors import BrokenModel, MissingExtra
from fairlead.contracts.types import DataType, Tensors, TensorSpec

Run = Callable[[list[str], Tensors], Sequence[Any]]
"""``session.run``: names of outputs, inputs by name; the outputs in that order."""

_TENSOR = {
    "float": DataType.FP32,
    "double": DataType.FP64,
    "float16": DataType.FP16,
    "bfloat16": DataType.BF16,
    "string": DataType.BYTES,
    "bool": DataType.BOOL,
    **{f"{sign}int{bits}": DataType(f"{sign}int{bits}".upper()) for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""onnxruntime's name of an element type to ours. Anything else (complex, float8, int4, optional) is refused."""

_ZIPMAP = re.compile(r"seq\(map\((?:int64|string),tensor\((float|double)\)\)\)")
_ONNX_BFLOAT16 = 16  # TensorProto.BFLOAT16
_FATAL = 4  # the log level: everything below it reaches the caller as an exception

_REASONS = {
    r"Protobuf parsing failed|No graph was found": "is not an ONNX file, or is cut short",
    r"Opset (\d+) is under.*?for domain (\S+) is till opset (\d+)": (
        "uses opset {0} of {1}; onnxruntime {version} reads up to {2}: export it for an older opset"
    ),
    r"IR version: (\d+), max supported IR version: (\d+)": (
        "has IR version {0}; onnxruntime {version} reads up to {1}: export it for an older one"
    ),
    r"No Op registered for (\S+)|Fatal error: (\S+) is not a registered": (
        "uses the operator {0}, which onnxruntime {version} does not have"
    ),
    r"[Ee]xternal data": "keeps its weights in another file, which is not where the graph says",
}
"""What onnxruntime writes, to the end of a sentence that begins with the file's name."""


@dataclass(frozen=True, slots=True)
class Graph:
    """``names``: the outputs as the graph calls them.  ``unzips``: what makes an array of each (None: it is one)."""

    run: Run
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    names: tuple[str, ...]
    unzips: tuple[Convert | None, ...]
    file: str

    @classmethod
    def open(cls, path: Path, threads: int, providers: tuple[str, ...]) -> Graph:
        """Raises BrokenModel for a file that does not load, MissingExtra for a provider that is not there."""
        session = _session(path, threads, _providers(providers))
        nodes = session.get_outputs()
        names = tuple(node.name for node in nodes)
        zipped = [bool(_ZIPMAP.fullmatch(node.type)) for node in nodes]
        inputs = tuple(_spec(node, "input", path.name) for node in session.get_inputs())
        outputs = tuple(
            _unzipped_spec(node, names) if is_zipped else _spec(node, "output", path.name)
            for node, is_zipped in zip(nodes, zipped, strict=True)
        )
        unzips = tuple(
            _unzip(spec.datatype.numpy) if is_zipped else None for spec, is_zipped in zip(outputs, zipped, strict=True)
        )
        halves = any(spec.datatype is DataType.BF16 for spec in (*inputs, *outputs))
        return cls(_bfloat16_run(session) if halves else session.run, inputs, outputs, names, unzips, path.name)


def _session(path: Path, threads: int, providers: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # idle threads would eat the event loop's core
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base class
        raise BrokenModel(f"{path.name} {_reason(str(error))}") from error
    silent = [name for name in providers if name not in session.get_providers()]
    if silent:
        raise MissingExtra(f"the execution provider {silent[0]} did not come up; its libraries are missing")
    return session


def _providers(names: tuple[str, ...]) -> list[str]:
    available = onnxruntime.get_available_providers()
    known = {name.lower(): name for name in available}
    known |= {name.removesuffix("executionprovider"): full for name, full in known.items()}
    for name in names:
        if name.lower() not in known:
            listed = ", ".join(available)
            raise MissingExtra(f"this onnxruntime has no execution provider {name!r} (it has {listed})")
    return [known[name.lower()] for name in names or ("cpu",)]


def _reason(text: str) -> str:
    """The end of a sentence for a graph that does not load; never onnxruntime's own several lines."""
    for pattern, sentence in _REASONS.items():
        match = re.search(pattern, text, re.DOTALL)
        if match:
            found = [group for group in match.groups() if group]
            return sentence.format(*found, version=onnxruntime.__version__)
    first = re.sub(r"^.*?failed:\s*", "", text.strip(), flags=re.DOTALL).partition("\n")[0]
    return f"cannot be loaded: {first[:200]}"


def _spec(node: Any, role: str, file: str) -> TensorSpec:
    match = re.fullmatch(r"tensor\((\w+)\)", node.type)
    datatype = _TENSOR.get(match[1]) if match else None
    if datatype is None:
        raise BrokenModel(f"{file} has the {role} {node.name!r} of type {node.type}, which no protocol can carry")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape)


def _unzipped_spec(node: Any, names: tuple[str, ...]) -> TensorSpec:
    """ZipMap's list of dicts is served as one matrix, classes in order, under the name that everybody expects."""
    datatype = DataType.FP64 if "double" in node.type else DataType.FP32
    name = "probabilities" if "probabilities" not in names else node.name
    return TensorSpec(name, datatype, (-1, -1))


def _unzip(dtype: np.dtype[Any]) -> Convert:
    def convert(rows: list[dict[Any, float]]) -> np.ndarray[Any, Any]:
        classes = sorted(rows[0])
        return np.array([[row[label] for label in classes] for row in rows], dtype)

    return convert


def _bfloat16_run(session: onnxruntime.InferenceSession) -> Run:
    """``session.run`` for graphs with bfloat16 tensors, which numpy lacks: float32 outside, bit patterns inside."""
    halves = frozenset(node.name for node in session.get_inputs() if node.type == "tensor(bfloat16)")

    def run(names: list[str], feed: Tensors) -> Sequence[Any]:
        values = {name: _to_ort(array, name in halves) for name, array in feed.items()}
        return [_from_ort(value) for value in session.run_with_ort_values(names, values)]

    return run


def _to_ort(array: np.ndarray[Any, Any], half: bool) -> Any:
    if not half:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = bits + (0x7FFF + ((bits >> 16) & 1))  # to nearest, ties to even
    patterns = np.where(np.isnan(array), np.uint32(0x7FC00000), rounded) >> 16
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(patterns.astype(np.uint16), _ONNX_BFLOAT16)


def _from_ort(value: Any) -> np.ndarray[Any, Any]:
    if value.data_type() != "tensor(bfloat16)":
        array: np.ndarray[Any, Any] = value.numpy()
        return array
    shape = value.shape()
    data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
