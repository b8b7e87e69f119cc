"""Does a converted model answer what its original answers? Pure numpy.

Two predict functions are run on named sets of rows. Defaults of ``Limits``, and why:

- **flips 0**: a label, a cluster number or a string that differs is a different decision; none is acceptable unseen.
- **error 1e-5 of the scale**: converted models compute in float32, whose steps are 6e-8 of the value; a few hundred
  additions (trees, matrix products) stay under 1e-6 of the scale, and a sum that went another way (a wrong branch of a
  tree, a category read as a number) is 1e-3 and more. 1e-5 lies between. The scale of an output is its largest absolute
  value over the rows, so that probabilities and house prices are measured alike.
- **alone 1e-5 of the scale**: the converted model must give a row the same answer alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fairlead.contracts.types import Tensors
from fairlead.kit.sentences import cause

_Array = np.ndarray[Any, Any]
Predict = Callable[[Tensors], Tensors]

_ALONE = 32
_SHOWN = 20
_LARGEST = 1e300  # stands for infinity, which JSON lacks


@dataclass(frozen=True, slots=True)
class Limits:
    """``error``, ``alone``: largest absolute difference, as a share of the output's scale.  ``flips``: a count."""

    error: float = 1e-5
    alone: float = 1e-5
    flips: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One output on one set of rows.

    Numbers: ``largest``, ``p99`` and ``mean`` absolute error over all values; ``relative``: the largest error as a
    share of ``scale``, the output's largest absolute value; ``nans``: values that are NaN on one side only.
    Labels: ``flips`` and the first ``flipped`` row numbers.
    ``alone``: largest difference (labels: count) of the converted model's own answers, one row alone against many.
    """

    case: str
    output: str
    rows: int
    largest: float = 0.0
    p99: float = 0.0
    mean: float = 0.0
    relative: float = 0.0
    scale: float = 1.0
    nans: int = 0
    flips: int = 0
    flipped: tuple[int, ...] = ()
    alone: float = 0.0

    def as_row(self) -> tuple[str, ...]:
        largest, p99, mean, alone = (f"{value:.1e}" for value in (self.largest, self.p99, self.mean, self.alone))
        return (self.case, str(self.rows), self.output, largest, p99, mean, str(self.flips), alone)


@dataclass(frozen=True, slots=True)
class ParityReport:
    """``agrees``: every difference is within ``limits``.  ``reasons``: one sentence for each that is not.

    ``refused``: the sets of rows that both models refuse.
    """

    agrees: bool
    reasons: tuple[str, ...]
    limits: Limits
    differences: tuple[Difference, ...]
    refused: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and the manifest."""
        return asdict(self)

    def as_table(self) -> str:
        """One line for each output and set of rows."""
        head = ("rows", "", "output", "largest", "p99", "mean", "flips", "alone")
        lines = [head, *(one.as_row() for one in self.differences)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def compare(
    original: Predict, converted: Predict, cases: Mapping[str, Tensors], limits: Limits | None = None
) -> ParityReport:
    """Run both on every case (name to rows on axis 0) and compare output by output.

    The original decides what there is to compare: its outputs, and whether rows are refused. A converted model that
    answers rows which its original refuses does not agree.
    """
    limits = limits or Limits()
    differences: list[Difference] = []
    reasons: list[str] = []
    refused: list[str] = []
    for case, rows in cases.items():
        count = len(next(iter(rows.values())))
        if not count:
            continue
        expected, refusal = _attempt(original, rows)
        found, failure = _attempt(converted, rows)
        if expected is None:
            if found is None:
                refused.append(case)
            else:
                reasons.append(f"{case}: the original refuses these rows ({refusal}), the converted model answers them")
            continue
        alone, failure_alone = _attempt(lambda some: _one_by_one(converted, some), rows)
        if found is None or alone is None:
            reasons.append(f"{case}: the converted model fails ({failure or failure_alone})")
            continue
        for output, values in expected.items():
            problem = _shape_problem(values, found.get(output))
            if problem:
                reasons.append(f"{case}: output {output!r} {problem}")
                continue
            difference = _difference(case, output, values, found[output], alone[output])
            differences.append(difference)
            reasons += _reasons(difference, limits)
    if not differences and not reasons:
        reasons.append("there were no rows to compare")
    return ParityReport(not reasons, tuple(reasons), limits, tuple(differences), tuple(refused))


def _attempt(predict: Predict, rows: Tensors) -> tuple[Tensors | None, str]:
    try:
        with np.errstate(all="ignore"):  # rows far outside overflow float32 on purpose
            return predict(rows), ""
    except Exception as error:  # noqa: BLE001 - a model may raise anything; that it does is the finding
        return None, cause(error)


def _one_by_one(predict: Predict, rows: Tensors) -> Tensors:
    count = min(len(next(iter(rows.values()))), _ALONE)
    answers = [predict({name: array[i : i + 1] for name, array in rows.items()}) for i in range(count)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _shape_problem(expected: _Array, found: _Array | None) -> str:
    if found is None:
        return "is not there in the converted model"
    if expected.shape != found.shape:
        return f"has shape {list(found.shape)} in the converted model, {list(expected.shape)} in the original"
    return ""


def _difference(case: str, output: str, expected: _Array, found: _Array, alone: _Array) -> Difference:
    rows = len(expected)
    together = found[: len(alone)]
    if expected.dtype.kind != "f":
        differs = (expected != found).reshape(rows, -1).any(axis=1)
        flipped = tuple(int(row) for row in np.flatnonzero(differs)[:_SHOWN])
        changed = float(np.count_nonzero(together != alone))
        return Difference(case, output, rows, flips=int(differs.sum()), flipped=flipped, alone=changed)
    error, nans = _errors(expected, found)
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))) or 1.0
    apart, apart_nans = _errors(together, alone)
    return Difference(
        case,
        output,
        rows,
        largest=float(error.max(initial=0.0)),
        p99=float(np.quantile(error, 0.99)) if error.size else 0.0,
        mean=float(error.mean()) if error.size else 0.0,
        relative=float(error.max(initial=0.0)) / scale,
        scale=scale,
        nans=nans,
        alone=float(apart.max(initial=scale if apart_nans else 0.0)),
    )


def _errors(expected: _Array, found: _Array) -> tuple[_Array, int]:
    """Absolute errors where neither is NaN, and the number of values where one is and the other is not."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    nan = np.isnan(a) | np.isnan(b)
    with np.errstate(invalid="ignore"):
        error = np.asarray(np.where(a == b, 0.0, np.minimum(np.abs(a - b), _LARGEST)))
    return error[~nan], int(np.count_nonzero(np.isnan(a) != np.isnan(b)))


def _reasons(one: Difference, limits: Limits) -> list[str]:
    where = f"{one.case}: output {one.output!r}"
    found = []
    if one.flips > limits.flips:
        found.append(f"{where} differs in {one.flips} of {one.rows} rows ({limits.flips} allowed)")
    if one.nans:
        found.append(f"{where} is NaN on one side only in {one.nans} values")
    if one.relative > limits.error:
        found.append(
            f"{where} is off by up to {one.largest:.2g}, {one.relative:.2g} of its scale ({limits.error:g} allowed)"
        )
    if one.alone > limits.alone * one.scale:
        found.append(f"{where} of a row changes by {one.alone:.2g} when the row is alone")
    return found
