"""What every state store keeps to, whatever it keeps it in: which labels and bodies are accepted, and their history."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import index
from typing import Any

from fairlead.contracts.errors import InvalidParameter, StateError, UsageError
from fairlead.contracts.events import Label

Value = float | str
History = list[tuple[int, Value]]
"""Values of one label with the Unix millisecond at which each became known, oldest first."""

_LATEST_MS = 1 << 53
_LAST_ROW = (1 << 31) - 1
_LONGEST_LEASE = 86_400.0 * 366


def to_text(body: dict[str, Any]) -> str:
    """A body as JSON in ASCII. Raises StateError for what is not JSON, such as NaN."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(
            f"a body cannot be kept as JSON: {error}; give strings, finite numbers, lists, dicts"
        ) from error


def from_text(text: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text)
    return body


def check_names(**names: str) -> None:
    """Raises StateError for a name that not every database can keep: with a NUL, or that is not Unicode."""
    for name, text in names.items():
        if not _keepable(text):
            raise StateError(f"{name} {text!r} cannot be kept: it has a NUL or half of a surrogate pair")


def lease_ms(seconds: float) -> int:
    """Milliseconds of a lease. Raises UsageError."""
    if not 0 < seconds <= _LONGEST_LEASE:  # False for NaN too
        raise UsageError(f"a lease of {seconds} seconds: give more than 0 and at most {_LONGEST_LEASE:.0f}")
    return max(1, round(seconds * 1000))


def checked(labels: Iterable[Label]) -> list[Label]:
    """Labels as they are kept: numbers as floats. Raises InvalidParameter that names the label; then none is kept."""
    return [_checked(label) for label in labels]


def learn(history: History, at_ms: int, value: Value) -> bool:
    """Put a value in its place in a history that is not empty; False when it says nothing new.

    Nothing new: the value that held at that time. So a file of labels and corrections may be loaded again, and labels
    may come in any order.
    """
    place = bisect_right(history, at_ms, key=lambda known: known[0])
    held = [known for known in history[:place] if known[0] == at_ms] or history[max(place - 1, 0) : max(place, 1)]
    if any(known[1] == value for known in held):
        return False
    history.insert(place, (at_ms, value))
    return True


def _checked(label: Label) -> Label:
    if (type(label.value), type(label.at_ms), type(label.row), type(label.by_key)) != (float, int, int, bool):
        label = _plain(label)
    value = label.value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameter(f"{_of(label)}: value {value} is not finite; leave the label out until it is known")
    texts: Sequence[str] = (label.endpoint, label.key, value) if isinstance(value, str) else (label.endpoint, label.key)
    if not all(map(_keepable, texts)):
        raise InvalidParameter(f"{_of(label)}: endpoint, key and value must be Unicode text without NUL")
    if not 0 <= label.at_ms < _LATEST_MS:
        raise InvalidParameter(f"{_of(label)}: at_ms {label.at_ms} is no Unix time in milliseconds")
    if not 0 <= label.row <= _LAST_ROW:
        raise InvalidParameter(f"{_of(label)}: row {label.row} is not between 0 and {_LAST_ROW}")
    return label


def _plain(label: Label) -> Label:
    """With numpy's numbers, and integers among the values, as Python's own."""
    value = label.value
    try:
        return replace(
            label,
            value=value if isinstance(value, str) else float(value),
            at_ms=index(label.at_ms),
            row=index(label.row),
            by_key=bool(label.by_key),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidParameter(
            f"{_of(label)}: {error}; value is a number or a string, at_ms and row integers"
        ) from None


def _of(label: Label) -> str:
    return f"label of {label.key!r} at endpoint {label.endpoint!r}"


def _keepable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
