"""Between numpy and torch: datatypes, devices, and the flat names of what a program answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed
from fairlead.contracts.types import DataType, Tensors, TensorSpec
from fairlead.kit.sentences import cause

_DTYPES: dict[DataType, Any] = {
    DataType.BOOL: torch.bool,
    DataType.UINT8: torch.uint8,
    DataType.UINT16: torch.uint16,
    DataType.UINT32: torch.uint32,
    DataType.UINT64: torch.uint64,
    DataType.INT8: torch.int8,
    DataType.INT16: torch.int16,
    DataType.INT32: torch.int32,
    DataType.INT64: torch.int64,
    DataType.FP16: torch.float16,
    DataType.FP32: torch.float32,
    DataType.FP64: torch.float64,
    DataType.BF16: torch.bfloat16,
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}


def device_of(names: tuple[str, ...]) -> torch.device:
    """The device that ``RuntimeOptions.providers`` names (``cuda``, ``cuda:1``, ``mps``); the CPU when it names none.

    Raises MissingExtra for one that is not there: never a silent fall back to the CPU.
    """
    name = (names[0] if names else "cpu").lower().removesuffix("executionprovider")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:
        raise MissingExtra(
            f"this PyTorch ({torch.__version__}) has no device {name!r} here ({cause(error)}); "
            "name one that it has, or none for the CPU"
        ) from error
    return device


def spec_of(name: str, dtype: Any, shape: tuple[int, ...], file: str) -> TensorSpec:
    """Raises BrokenModel for a dtype that no protocol can carry."""
    datatype = _DATATYPES.get(dtype)
    if datatype is None:
        raise BrokenModel(f"{file} takes {name!r} as {dtype}, which no protocol can carry")
    return TensorSpec(name, datatype, shape)


def tensor(array: np.ndarray[Any, Any], datatype: DataType | None, device: torch.device) -> Any:
    """A copy, on the device: a program may write into what it is given. ``datatype`` None keeps that of the array."""
    if array.dtype.kind not in "biuf":
        raise ModelFailed(f"PyTorch has no tensors of {array.dtype.name}; send numbers or booleans")
    dtype = array.dtype if datatype is None else datatype.numpy
    made = torch.from_numpy(np.array(array, dtype, order="C"))
    if datatype is DataType.BF16:
        made = made.to(torch.bfloat16)
    return made if device.type == "cpu" else made.to(device)


def arrays(answer: Any) -> Tensors:
    """Every tensor in an answer: ``output`` for a single one, ``output_0`` and so on for a tuple or a list, the keys
    of a dict, the fields of a named tuple; joined by a dot where they are nested. None is left out."""
    return {name or "output": _array(value) for name, value in _walk(answer, "")}


def declared(answer: Any, file: str) -> tuple[TensorSpec, ...]:
    """The same names, for an answer of ``(dtype, shape)`` pairs that were traced and never computed."""
    return tuple(
        TensorSpec(name or "output", _given(value.dtype, name, file), _shape(value.shape))
        for name, value in _walk(answer, "")
    )


def _given(dtype: Any, name: str, file: str) -> DataType:
    datatype = DataType.FP32 if dtype is torch.bfloat16 else _DATATYPES.get(dtype)
    if datatype is None:
        raise BrokenModel(f"{file} gives {name or 'output'!r} as {dtype}, which no protocol can carry")
    return datatype


def _shape(sizes: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in sizes)


def _walk(answer: Any, name: str) -> Iterator[tuple[str, Any]]:
    if answer is None:
        return
    if isinstance(answer, Mapping):
        parts = [(str(key), value) for key, value in answer.items()]
    elif isinstance(answer, tuple) and hasattr(answer, "_fields"):
        parts = list(zip(answer._fields, answer, strict=True))
    elif isinstance(answer, tuple | list):
        parts = [(str(index) if name else f"output_{index}", value) for index, value in enumerate(answer)]
    else:
        yield name, answer
        return
    for part, value in parts:
        yield from _walk(value, f"{name}.{part}" if name else part)


def _array(value: Any) -> np.ndarray[Any, Any]:
    """An array of its own in row-major order; bfloat16, which numpy lacks, is widened to float32."""
    if not isinstance(value, torch.Tensor):
        if isinstance(value, bool | int | float):
            return np.asarray(value)
        raise ModelFailed(f"the program gave a {type(value).__name__} where a tensor was expected")
    found = value.detach().cpu()
    if found.dtype is torch.bfloat16:
        found = found.float()
    return np.ascontiguousarray(found.resolve_conj().numpy()).reshape(found.shape)
