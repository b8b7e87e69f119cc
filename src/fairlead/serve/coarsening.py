"""What callers get where an endpoint tells less than it knows: rounded numbers, only the likeliest classes.

It makes a model dearer to copy, and its training rows harder to find out. What is recorded stays whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.access import Action, Caller
from fairlead.contracts.types import Reply

Array = np.ndarray[Any, Any]

_SUM: Final = 0.01
"""How far from 1 the sum of a row of probabilities may be."""


@dataclass(frozen=True, slots=True)
class Coarsening:
    """``decimals``: that floats keep; None: all.  ``top``: of a row of probabilities only the ``top`` largest are kept,
    the others are 0; 0: all. Rows of probabilities are rows of two or more numbers, none negative, whose sum is 1.
    """

    decimals: int | None = None
    top: int = 0

    def applies(self, caller: Caller | None, endpoint: str, version: str) -> bool:
        """Whether this caller is told less: all are who have no scope ``ENDPOINT:detail``."""
        return caller is None or not caller.may(Action.DETAIL, endpoint, version)

    def reply(self, reply: Reply) -> Reply:
        """The answer as it is given out; the arrays of ``reply`` stay as they are."""
        return reply._replace(outputs={name: self.array(array) for name, array in reply.outputs.items()})

    def seen(self, reply: Reply, caller: Caller | None, endpoint: str, version: str) -> Reply:
        """The answer as this caller gets it."""
        return self.reply(reply) if self.applies(caller, endpoint, version) else reply

    def array(self, array: Array) -> Array:
        """One output. What holds no floats is left as it is."""
        if array.dtype.kind != "f" or not array.size:
            return array
        if self.top and array.ndim > 1 and array.shape[-1] > self.top:
            array = _largest(array, self.top)
        return array if self.decimals is None else np.round(array, self.decimals)

    def document(self, value: Any) -> Any:
        """Every float in a document of lists and dicts."""
        if isinstance(value, float):
            return value if self.decimals is None else round(value, self.decimals)
        if isinstance(value, dict):
            return {name: self.document(one) for name, one in value.items()}
        return [self.document(one) for one in value] if isinstance(value, list) else value


def _largest(array: Array, top: int) -> Array:
    rows = array.reshape(-1, array.shape[-1])
    with np.errstate(invalid="ignore"):
        probabilities = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) <= _SUM)
    order = np.argsort(-rows, axis=1, kind="stable")  # of equals the first is kept
    kept = np.zeros(rows.shape, bool)
    np.put_along_axis(kept, order[:, :top], values=True, axis=1)
    kept |= ~probabilities[:, np.newaxis]
    return np.where(kept, rows, rows.dtype.type(0)).reshape(array.shape)
