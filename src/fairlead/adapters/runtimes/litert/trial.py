"""Does the first dimension of a ``.tflite`` graph count rows? Run made-up rows, alone and together, and see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.adapters.runtimes.litert.graph import Array, Graph
from fairlead.contracts.types import DataType, Tensors, TensorSpec

_MIXING = 0.01
"""Of an output's scale (one step, for integers): rows that answer this differently together are not independent."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the graph did.

    ``batched``, ``max_rows``: as in Signature and Traits.  ``shapes``: of the outputs for one row; empty when made-up
    values did not run.
    """

    batched: bool
    max_rows: int
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, fresh: Callable[[], Graph]) -> Trial:
        """``fresh`` opens the graph: one whose tensors could not be resized is of no use afterwards."""
        graph = fresh()
        try:
            first = graph.run(_made_up(graph, (0,)))
        except Exception:  # noqa: BLE001 - made-up values may be outside what the graph takes: believe what it declares
            one = graph.ones and all(spec.shape[:1] in ((1,), (-1,)) for spec in graph.outputs)
            return cls(one, int(one), {})
        shapes = {name: array.shape for name, array in first.items()}
        if not graph.ones or any(shape[:1] != (1,) for shape in shapes.values()):
            return cls(False, 0, shapes)
        try:
            second = graph.run(_made_up(graph, (1,)))
            together = graph.run(_made_up(graph, (1, 0, 1)))
        except Exception:  # noqa: BLE001 - LiteRT refuses to resize what a node has fixed, each in its own words
            return cls(True, 1, shapes)
        return cls(True, 0 if _independent(first, second, together) else 1, shapes)


def _made_up(graph: Graph, rows: tuple[int, ...]) -> Tensors:
    """Values for tensors nobody gave us. Row 0: zeros, empty strings; row 1: noise, ones, letters."""
    return {spec.name: _values(spec, rows if graph.ones else ()) for spec in graph.inputs}


def _values(spec: TensorSpec, rows: tuple[int, ...]) -> Array:
    shape = tuple(max(size, 1) for size in spec.shape)
    dtype = spec.datatype.numpy
    if spec.datatype is DataType.BYTES:
        kinds = [np.full(shape[1:], "", dtype), np.full(shape[1:], "a", dtype)]
    else:
        noise = np.random.default_rng(7).random(shape[1:]) if spec.datatype.is_float else np.ones(shape[1:])
        kinds = [np.zeros(shape[1:], dtype), np.asarray(noise, dtype)]
    if rows:
        return np.stack([kinds[row] for row in rows])
    return np.full(shape, "" if spec.datatype is DataType.BYTES else 0, dtype)


def _independent(first: Tensors, second: Tensors, together: Tensors) -> bool:
    """The second, first and second row together answer what they answer alone."""
    for name, three in together.items():
        if (len(first[name]), len(second[name]), len(three)) != (1, 1, 3):
            return False
        alone = np.concatenate([second[name], first[name], second[name]])
        if alone.shape != three.shape:
            return False
        if alone.dtype.kind in "fiu":
            step = _MIXING * float(np.nanmax(np.abs(alone), initial=1e-6)) if alone.dtype.kind == "f" else 1.0
            same = np.allclose(alone.astype(np.float64), three.astype(np.float64), rtol=0, atol=step, equal_nan=True)
        else:
            same = np.array_equal(alone, three)
        if not same:
            return False
    return True
