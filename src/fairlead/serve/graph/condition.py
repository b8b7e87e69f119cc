"""The conditions of a step: which rows go there. Pure."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType

Array = np.ndarray[Any, Any]

_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARED: Final = re.compile(r"\s*(\S.*?)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*")
_NOT: Final = re.compile(r"\s*not\s+(\S+)\s*")
_TEXT: Final = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class Condition:
    """``value`` ``sign`` ``literal``, or the rows that do not go to the step ``unless``."""

    value: str = ""
    sign: str = ""
    literal: float | str | bool = 0.0
    unless: str = ""

    def holds(self, array: Array) -> Array:
        """For each row whether it does, [rows] of bool. NaN holds for ``!=`` alone."""
        found: Array = np.asarray(_OPERATORS[self.sign](array.reshape(len(array)), self.literal), bool)
        return found

    def fits(self, datatype: DataType) -> bool:
        """Whether such a value can be compared so."""
        kind = type(self.literal)
        if kind is float:
            return datatype not in (DataType.BYTES, DataType.BOOL)
        return self.sign in ("==", "!=") and datatype is (DataType.BYTES if kind is str else DataType.BOOL)


def parse(text: str) -> Condition:
    """``scored.p > 0.5``, ``lang.label == 'de'``, ``flag.on == true``, ``not STEP``. Raises UsageError."""
    if match := _NOT.fullmatch(text):
        return Condition(unless=match[1])
    match = _COMPARED.fullmatch(text)
    literal = None if match is None else _literal(match[3])
    if match is None or literal is None:
        raise UsageError(
            f"{text!r} is no condition; expected VALUE, one of {' '.join(_OPERATORS)}, and a number, 'text', true or "
            "false, as scored.p > 0.5, or: not STEP"
        )
    return Condition(match[1], match[2], literal)


def _literal(text: str) -> float | str | bool | None:
    if match := _TEXT.fullmatch(text):
        return match[1]
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if isinstance(found, bool | str):
        return found
    return float(found) if isinstance(found, int | float) and np.isfinite(found) else None
