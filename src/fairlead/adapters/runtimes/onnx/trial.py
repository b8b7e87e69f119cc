"""Does the first dimension of a graph count rows? Run made-up rows, alone and together, and see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.adapters.runtimes.onnx.graph import Graph
from fairlead.contracts.types import DataType, TensorSpec

_Array = np.ndarray[Any, Any]

_MIXING = 0.1
"""Of an output's scale. Rows that answer this differently together are not independent; less than that is what kernels
that depend on the batch size and dynamically quantised weights do."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the graph did.

    ``batched``, ``max_rows``: as in Signature and Traits.  ``seconds``: the second run of one row; 0 when it never ran.
    ``shapes``: of the outputs, -1 where rows are counted; None when it never ran.
    """

    batched: bool
    max_rows: int
    seconds: float = 0.0
    shapes: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(cls, graph: Graph) -> Trial:
        firsts = {spec.shape[:1] for spec in graph.inputs}
        declared = firsts | {spec.shape[:1] for spec in graph.outputs}
        frozen = declared == {(1,)}
        try:
            first = _answers(graph, (0,))
            started = time.perf_counter()
            _answers(graph, (0,))
            seconds = time.perf_counter() - started
            together = firsts == {(-1,)} and _independent(first, _answers(graph, (1,)), _answers(graph, (1, 0, 1)))
        except Exception:  # noqa: BLE001 - made-up values may be outside what the graph takes: believe what it declares
            return cls(frozen or declared == {(-1,)}, int(frozen))
        batched = frozen or together
        shapes = tuple((-1, *array.shape[1:]) if batched else array.shape for array in first)
        return cls(batched, int(frozen), seconds, shapes)


def _answers(graph: Graph, rows: tuple[int, ...]) -> list[_Array]:
    raw = graph.run(list(graph.names), {spec.name: _made_up(spec, rows) for spec in graph.inputs})
    return [unzip(array) if unzip else array for array, unzip in zip(raw, graph.unzips, strict=True)]


def _made_up(spec: TensorSpec, rows: tuple[int, ...]) -> _Array:
    """Values for a tensor nobody gave us. Row 0: zeros, empty strings; row 1: noise, ones, letters."""
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    dtype = spec.datatype.numpy
    if spec.datatype is DataType.BYTES:
        kinds = [np.full(shape[1:], "", dtype), np.full(shape[1:], "a", dtype)]
    else:
        noise = np.random.default_rng(7).random(shape[1:]) if spec.datatype.is_float else np.ones(shape[1:])
        kinds = [np.zeros(shape[1:], dtype), noise.astype(dtype)]
    if spec.shape[:1] == (-1,):
        return np.stack([kinds[row] for row in rows])
    return np.full(shape, "" if spec.datatype is DataType.BYTES else 0, dtype)


def _independent(first: list[_Array], second: list[_Array], together: list[_Array]) -> bool:
    """The second, first and second row together answer what they answer alone."""
    for one, other, three in zip(first, second, together, strict=True):
        if three.ndim == 0 or (len(one), len(other), len(three)) != (1, 1, 3):
            return False
        alone = np.concatenate([other, one, other])
        if alone.dtype.kind != "f":
            same = np.array_equal(alone, three)
        else:
            scale = float(np.nanmax(np.abs(alone), initial=1e-6))
            same = np.allclose(alone, three, rtol=0, atol=_MIXING * scale, equal_nan=True)
        if not same:
            return False
    return True
