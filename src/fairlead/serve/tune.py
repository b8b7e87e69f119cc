"""Measure a model at load and decide how to batch it. Pure but for the clock it is given.

The latency-against-rows curve t(n) is measured at n = 1, 2, 4, ... Batching pays when some n gives clearly more rows a
second than n = 1; the batch is then as large as throughput still grows, and no larger. A model whose largest batch is
shorter than a hand-over to a thread runs inline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec

PAYS = 1.15
"""Rows a second at the best n over rows a second alone: less than this and calls run one by one."""
FLAT = 0.95
"""The smallest batch with this share of the best throughput is taken."""
INLINE = 0.0005
"""Seconds: a batch that takes longer leaves the event loop."""
ISOLATE = 0.002
"""Seconds: a batch that takes longer and holds the GIL leaves the process."""
HANDOVER = 0.0001
"""Seconds that a batch takes to another process and back."""
BUDGET = 1.0
"""Seconds spent measuring, at most (one run of each size is always made until a run takes a quarter of it)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """``rows`` and ``seconds``: best of the runs at each size. ``problem``: why there is no curve, if there is none."""

    rows: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a model: ``max_rows`` in a batch, whether calls ``coalesce``, and where: ``inline``, isolated in a
    process of its own, or in a thread.
    """

    max_rows: int
    coalesce: bool
    inline: bool
    isolate: bool = False


def example(signature: Signature, given: Tensors | None) -> Tensors | None:
    """One row to warm up with: the first of the example, or neutral values when every shape is known."""
    if given:
        return {name: array[:1] for name, array in given.items()} if signature.batched else dict(given)
    if not signature.inputs:
        return None
    return {spec.name: _neutral(spec) for spec in signature.inputs}


def warm_up(model: LoadedModel, row: Tensors | None) -> None:
    """Run one row, where there is one, before anybody waits for it; what fails then is told where it fails a call."""
    if row is not None:
        with contextlib.suppress(Exception):
            model.predict(row, {})


def measure(model: LoadedModel, row: Tensors | None, limit: int, now: Callable[[], float]) -> Curve:
    """Warm up and time the model on 1, 2, 4, ... ``limit`` copies of ``row``."""
    if row is None:
        return Curve(problem="no input example and no input signature: the batch curve is not known")
    rows: list[int] = []
    seconds: list[float] = []
    began = now()
    size = 1
    try:
        model.predict(row, {})
        while True:
            taken = _best(model, _repeat(row, size), now, began)
            rows.append(size)
            seconds.append(taken)
            if size >= limit or not model.signature.batched or taken > BUDGET / 4 or now() - began > BUDGET:
                break
            size = min(size * 2, limit)
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        if not rows:
            return Curve(problem=f"the model fails on its example row: {type(error).__name__}: {_first_line(error)}")
        return Curve(
            tuple(rows), tuple(seconds), problem=f"the model fails on {size} rows at once: {_first_line(error)}"
        )
    return Curve(tuple(rows), tuple(seconds))


def handed_over(curve: Curve) -> Curve:
    """The curve as it looks from another process: batches that take no time themselves pay there too."""
    return Curve(curve.rows, tuple(taken + HANDOVER for taken in curve.seconds), curve.problem)


def decide(curve: Curve, limit: int, *, batched: bool, chosen_rows: int = 0, releases_gil: bool = True) -> Plan:
    """``limit``: most rows the runtime takes.  ``chosen_rows``: what the user asked for (0: what the curve says)."""
    if not curve.rows:
        return Plan(max_rows=chosen_rows or limit, coalesce=batched and limit > 1, inline=False)
    speed = [n / t for n, t in zip(curve.rows, curve.seconds, strict=True)]
    best = max(speed)
    measured_all = not curve.problem
    top = next(n for n, s in zip(curve.rows, speed, strict=True) if s >= FLAT * best)
    pays = batched and best >= PAYS * speed[0] and top > 1
    largest = chosen_rows or (top if pays else limit if measured_all else curve.rows[-1])
    at = max(i for i, n in enumerate(curve.rows) if n <= max(largest, 1)) if pays else 0
    taken = curve.seconds[at]
    return Plan(max(1, largest), pays, inline=taken <= INLINE, isolate=taken > ISOLATE and not releases_gil)


def _best(model: LoadedModel, inputs: Tensors, now: Callable[[], float], began: float) -> float:
    best = float("inf")
    for _ in range(5):
        start = now()
        model.predict(inputs, {})
        best = min(best, now() - start)
        if now() - began > BUDGET:
            break
    return max(best, 1e-9)


def _repeat(row: Tensors, size: int) -> Tensors:
    return row if size == 1 else {name: np.repeat(array, size, axis=0) for name, array in row.items()}


def _neutral(spec: TensorSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    if spec.datatype is DataType.BYTES:
        token = spec.missing_value if isinstance(spec.missing_value, str) else ""
        return np.full(shape, token, dtype=object)
    return np.zeros(shape, spec.datatype.numpy)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
