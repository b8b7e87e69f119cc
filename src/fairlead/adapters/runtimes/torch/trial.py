"""Does the first dimension of a program count rows? Run made-up rows, alone and together, and see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fairlead.adapters.runtimes.torch.program import Program
from fairlead.adapters.runtimes.torch.tensors import arrays, tensor
from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Tensors, TensorSpec

_Array = np.ndarray[Any, Any]
_Specs = tuple[TensorSpec, ...]

_MIXING = 0.01
"""Of an output's scale (one step, for integers): rows that answer this differently together are not independent."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the program did.

    ``batched``, ``max_rows``: as in Signature and Traits.  ``inputs``: as the program proved to take them.
    ``outputs``: what it gave, -1 for what a run of another size changed; what it declares when it never ran.
    ``seconds``: the second run of one row; 0 when it never ran.
    """

    batched: bool
    max_rows: int
    inputs: _Specs
    outputs: _Specs
    seconds: float = 0.0

    @classmethod
    def of(cls, program: Program, inputs: _Specs) -> Trial:
        """``inputs``: one for each argument, in its order. Raises BrokenModel for an output that nobody can carry."""
        if not inputs:
            return cls(False, 0, (), program.outputs)
        free = all(spec.shape[:1] == (-1,) for spec in inputs)
        if program.guessed or free:
            tried = _together(program, _freed(inputs))
            if tried is not None:
                return tried
        return _as_it_is(program, inputs, free and not program.guessed)


def _together(program: Program, inputs: _Specs) -> Trial | None:
    """The trial of a program whose rows are independent; None when they are not, or made-up values did not run."""
    try:
        first = _answers(program, inputs, (0,))
        started = time.perf_counter()
        _answers(program, inputs, (0,))
        seconds = time.perf_counter() - started
        together = _answers(program, inputs, (1, 0, 1))
        same = _independent(first, _answers(program, inputs, (1,)), together)
    except Exception:  # noqa: BLE001 - made-up values may be outside what the program takes
        return None
    if not same:
        return None
    outputs = _seen(program, first, _wider(program, inputs, (0, 0)), counted=True)
    return Trial(True, program.max_rows, inputs, outputs, seconds)


def _as_it_is(program: Program, inputs: _Specs, free: bool) -> Trial:
    """A program of a fixed number of rows, or one whose rows hang together. One row: still a batch of one at most."""
    one = all(spec.shape[:1] == (1,) for spec in inputs)
    try:
        first = _answers(program, inputs, (0,))
        started = time.perf_counter()
        _answers(program, inputs, (0,))
        seconds = time.perf_counter() - started
    except Exception:  # noqa: BLE001 - made-up values may be outside what the program takes: believe what it declares
        rows = [spec.shape[:1] for spec in program.outputs]
        counts = bool(rows) and ((free and set(rows) == {(-1,)}) or (one and set(rows) == {(1,)}))
        most = 1 if one else program.max_rows
        shown = _freed(inputs) if counts else inputs
        return Trial(counts, most if counts else 0, shown, _freed(program.outputs) if counts else program.outputs)
    batched = one and all(array.shape[:1] == (1,) for array in first.values())
    outputs = _seen(program, first, _wider(program, inputs, (0, 0)), counted=batched)
    return Trial(batched, int(batched), _freed(inputs) if batched else inputs, outputs, seconds)


def _freed(specs: _Specs) -> _Specs:
    return tuple(TensorSpec(one.name, one.datatype, (-1, *one.shape[1:])) if one.shape else one for one in specs)


def _answers(program: Program, inputs: _Specs, rows: tuple[int, ...], more: int = 0) -> Tensors:
    """``more``: how much larger the free dimensions behind the first are made."""
    feed = {
        argument: tensor(_made_up(program, argument, spec, rows, more), spec.datatype, program.device)
        for argument, spec in zip(program.arguments, inputs, strict=True)
    }
    with torch.inference_mode():
        return arrays(program.run(feed))


def _wider(program: Program, inputs: _Specs, rows: tuple[int, ...]) -> Tensors:
    """The answer to larger tensors, where a dimension is free; empty where that does not run."""
    if not any(-1 in spec.shape for spec in inputs):
        return {}
    try:
        return _answers(program, inputs, rows, 1)
    except Exception:  # noqa: BLE001 - what is declared free need not be so
        return {}


def _made_up(program: Program, argument: str, spec: TensorSpec, rows: tuple[int, ...], more: int) -> _Array:
    """Values for a tensor nobody gave us. Row 0: zeros; row 1: noise, ones."""
    known = program.example[argument].shape if program.example else (1,) * len(spec.shape)
    shape = tuple(seen + more if size < 0 else size for size, seen in zip(spec.shape, known, strict=True))
    dtype = spec.datatype.numpy
    if spec.shape[:1] != (-1,):
        return np.zeros(shape, dtype)
    noise = np.random.default_rng(7).random(shape[1:]) if spec.datatype.is_float else np.ones(shape[1:])
    kinds = [np.zeros(shape[1:], dtype), np.asarray(noise).astype(dtype)]
    return np.stack([kinds[row] for row in rows])


def _seen(program: Program, first: Tensors, wider: Tensors, *, counted: bool) -> _Specs:
    said = {spec.name: spec.shape for spec in program.outputs}
    found = []
    for name, array in first.items():
        shape = array.shape
        other = wider[name].shape if name in wider else shape
        if len(other) == len(shape):
            shape = tuple(size if size == more else -1 for size, more in zip(shape, other, strict=True))
        if len(said.get(name, ())) == len(shape):
            shape = tuple(-1 if open_ == -1 else size for size, open_ in zip(shape, said[name], strict=True))
        try:
            datatype = DataType.of(array.dtype)
        except ValueError as error:
            raise BrokenModel(f"{program.file} gives {name!r}, which no protocol can carry: {error}") from error
        found.append(TensorSpec(name, datatype, (-1, *shape[1:]) if counted else shape))
    return tuple(found)


def _independent(first: Tensors, second: Tensors, together: Tensors) -> bool:
    """The second, first and second row together answer what they answer alone."""
    for name, three in together.items():
        if three.ndim == 0 or (len(first[name]), len(second[name]), len(three)) != (1, 1, 3):
            return False
        alone = np.concatenate([second[name], first[name], second[name]])
        if alone.shape != three.shape:
            return False
        step = _MIXING * float(np.nanmax(np.abs(alone), initial=1e-6)) if alone.dtype.kind == "f" else 1.0
        if not np.allclose(alone.astype(np.float64), three.astype(np.float64), rtol=0, atol=step, equal_nan=True):
            return False
    return bool(together)
