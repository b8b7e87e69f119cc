"""Rows as explanations see them: columns that are exchanged one by one, and the number that is explained. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import InvalidParameter, InvalidTensor, ModelFailed
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.config import nearest
from fairlead.serve.explain.shapley import Design

Array = np.ndarray[Any, Any]

MOST_COLUMNS: Final = 512


@dataclass(frozen=True, slots=True)
class Table:
    """``names``: of the columns.  ``places``: the input of each, and where in it (None: all of its row)."""

    names: tuple[str, ...]
    places: tuple[tuple[str, int | None], ...]

    @classmethod
    def of(cls, signature: Signature, inputs: Tensors) -> Table:
        """Raises InvalidTensor for an endpoint that is no table."""
        names: list[str] = []
        places: list[tuple[str, int | None]] = []
        for name, array in inputs.items():
            width = array.shape[1] if array.ndim == 2 else 1 if array.ndim == 1 else 0
            if not signature.batched or not width:
                raise InvalidTensor(
                    f"explanations are of tables: columns, or one number a row and column; {name!r} has shape "
                    f"{list(array.shape)}"
                )
            if width == 1:
                names.append(name)
                places.append((name, None))
            else:
                names += [f"{name}[{at}]" for at in range(width)]
                places += [(name, at) for at in range(width)]
        if len(names) > MOST_COLUMNS:
            raise InvalidTensor(f"the endpoint takes {len(names)} columns; at most {MOST_COLUMNS} are explained")
        return cls(tuple(names), tuple(places))

    def questions(self, row: Tensors, background: Tensors, design: Design, start: int, rows: int) -> Tensors:
        """So many of the rows that the design asks about: background rows with columns of ``row`` (one row)."""
        chunk = slice(start, start + rows)
        made: Tensors = {name: array[design.rows[chunk]] for name, array in background.items()}
        for column, (name, at) in enumerate(self.places):
            own = design.own[chunk, column]
            if at is None:
                made[name][own] = row[name][0]
            else:
                made[name][own, at] = row[name][0, at]
        return made


@dataclass(frozen=True, slots=True)
class Target:
    """The number that is explained: an output, and its column (None where it has none)."""

    output: str
    column: int | None

    def of(self, outputs: Tensors) -> Array:
        """It, for each row."""
        array = outputs[self.output]
        picked = array[:, self.column] if self.column is not None else array.reshape(len(array))
        return np.asarray(picked, np.float64)


def target(outputs: Tensors, signature: Signature, output: str = "", column: int | None = None) -> Target:
    """What is explained of an answer to one row. Raises InvalidParameter naming what there is to choose from."""
    chosen = output or _scores(outputs, signature)
    array = outputs.get(chosen)
    if array is None:
        raise InvalidParameter(f"there is no output {chosen!r}{nearest(chosen, list(outputs))} ({', '.join(outputs)})")
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array[0].size:
        raise InvalidParameter(f"output {chosen!r} is {array.dtype} {list(array.shape)}; explained are numbers a row")
    width = array.shape[1] if array.ndim == 2 else 0
    if column is not None and column >= max(width, 1):
        raise InvalidParameter(f"column is {column}, and output {chosen!r} has {max(width, 1)}")
    if width <= 1:
        return Target(chosen, None)
    if column is None:
        column = 1 if width == 2 else int(array[0].argmax())
    return Target(chosen, column)


def joined(pieces: Sequence[Tensors], wanted: Target) -> Array:
    """The number for every row of several answers. Raises ModelFailed where one is not a number."""
    found = np.concatenate([wanted.of(piece) for piece in pieces])
    if not np.isfinite(found).all():
        raise ModelFailed(f"output {wanted.output!r} is not finite for some rows, which nothing can be said about")
    return found


def _scores(outputs: Tensors, signature: Signature) -> str:
    floats = [name for name, array in outputs.items() if array.dtype.kind == "f"]
    numbers = [name for name, array in outputs.items() if array.dtype.kind in "fiub"]
    for among in ([name for name in floats if name in signature.prediction], floats, numbers):
        if len(among) == 1:
            return among[0]
    names = ", ".join(floats or numbers) or "none of numbers"
    raise InvalidParameter(f"say which output is explained (explain.output in the spec, or parameters.output): {names}")
