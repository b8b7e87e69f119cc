"""Does the first dimension of a signature count rows? Run made-up rows, alone and together, and see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.adapters.runtimes.tensorflow.graph import Array, Specs
from fairlead.contracts.types import DataType, Tensors, TensorSpec

_MIXING = 0.01
"""Of an output's scale (one step, for integers): rows that answer this differently together are not independent."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the signature did.

    ``batched``, ``max_rows``: as in Signature and Traits.  ``shapes``: of the outputs, -1 for what a run of another
    size changed; empty when made-up values did not run.
    """

    batched: bool
    max_rows: int
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, inputs: Specs, outputs: Specs, run: Callable[[Tensors], Tensors]) -> Trial:
        free = all(spec.shape[:1] == (-1,) for spec in inputs)
        one = all(spec.shape[:1] == (1,) for spec in inputs)
        try:
            first = run(_made_up(inputs, (0,)))
        except Exception:  # noqa: BLE001 - made-up values may be outside what it takes: believe what it declares
            rows = {spec.shape[:1] for spec in outputs}
            counts = (free and rows == {(-1,)}) or (one and rows == {(1,)})
            return cls(counts, int(one and counts), {})
        shapes = _shapes(inputs, run, first)
        single = all(array.shape[:1] == (1,) for array in first.values())
        if free and single:
            try:
                second, together = run(_made_up(inputs, (1,))), run(_made_up(inputs, (1, 0, 1)))
            except Exception:  # noqa: BLE001 - declared free, and fixed inside all the same
                return cls(True, 1, shapes)
            if _independent(first, second, together):
                return cls(True, 0, shapes)
            return cls(True, 1, shapes)
        return cls(one and single, int(one and single), shapes)


def _shapes(inputs: Specs, run: Callable[[Tensors], Tensors], first: Tensors) -> dict[str, tuple[int, ...]]:
    """What the answers measured, -1 where larger tensors made them larger."""
    if not any(-1 in spec.shape for spec in inputs):
        return {name: array.shape for name, array in first.items()}
    try:
        wider = run(_made_up(inputs, (0, 0), 1))
    except Exception:  # noqa: BLE001 - what is declared free need not be so
        return {name: array.shape for name, array in first.items()}
    return {
        name: tuple(size if size == more else -1 for size, more in zip(array.shape, wider[name].shape, strict=True))
        if array.ndim == wider[name].ndim
        else array.shape
        for name, array in first.items()
    }


def _made_up(inputs: Specs, rows: tuple[int, ...], more: int = 0) -> Tensors:
    """Values nobody gave us. Row 0: zeros, empty strings; row 1: noise, ones, letters.  ``more``: for free sizes."""
    return {spec.name: _values(spec, rows, more) for spec in inputs}


def _values(spec: TensorSpec, rows: tuple[int, ...], more: int) -> Array:
    shape = tuple(1 + more if size < 0 else size for size in spec.shape)
    dtype = spec.datatype.numpy
    if spec.shape[:1] not in ((-1,), (1,)) or (spec.shape[:1] == (1,) and len(rows) > 1):
        return np.full(shape, "" if spec.datatype is DataType.BYTES else 0, dtype)
    if spec.datatype is DataType.BYTES:
        kinds = [np.full(shape[1:], "", dtype), np.full(shape[1:], "a", dtype)]
    else:
        noise = np.random.default_rng(7).random(shape[1:]) if spec.datatype.is_float else np.ones(shape[1:])
        kinds = [np.zeros(shape[1:], dtype), np.asarray(noise).astype(dtype)]
    return np.stack([kinds[row] for row in rows])


def _independent(first: Tensors, second: Tensors, together: Tensors) -> bool:
    """The second, first and second row together answer what they answer alone."""
    for name, three in together.items():
        if three.ndim == 0 or (len(first[name]), len(second[name]), len(three)) != (1, 1, 3):
            return False
        if not first[name].shape == second[name].shape == (1, *three.shape[1:]):
            return False
        alone = np.concatenate([second[name], first[name], second[name]])
        if alone.dtype.kind in "fiu":
            step = _MIXING * float(np.nanmax(np.abs(alone), initial=1e-6)) if alone.dtype.kind == "f" else 1.0
            same = np.allclose(alone.astype(np.float64), three.astype(np.float64), rtol=0, atol=step, equal_nan=True)
        else:
            same = np.array_equal(alone, three)
        if not same:
            return False
    return True
