"""Options of a plugin, as the spec gives them: checked once, an unknown one names the nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest


def given(options: Mapping[str, Any], known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """``known`` (names and what they are where nothing is said) with what is given.

    A value must be of the type of the one it replaces; an integer may stand for a float. Raises UsageError.
    """
    found = dict(known)
    for name, value in options.items():
        if name not in known:
            all_ = ", ".join(sorted(known)) or "none"
            raise UsageError(f"{what} has no option {name!r}{nearest(name, list(known))}; it has {all_}")
        kind = type(known[name])
        if kind is float and type(value) is int:
            value = float(value)  # noqa: PLW2901 - what YAML writes without a point
        if known[name] is not None and type(value) is not kind:
            raise UsageError(f"option {name!r} of {what} is {value!r}; expected {kind.__name__}")
        found[name] = value
    return found
