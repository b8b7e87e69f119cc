"""Programs that are started here: where they are, and what else is said to them."""

from __future__ import annotations

import shutil
from typing import Any

from fairlead.contracts.errors import MissingExtra, UsageError


def found_program(binary: str, what: str, get: str) -> str:
    """Its path. ``get``: how to get it. Raises MissingExtra."""
    path = shutil.which(binary)
    if path is None:
        where = f"there is no program {binary}" if "/" in binary else f"there is no {binary} on PATH"
        raise MissingExtra(f"engine {what}: {where}; {get}, or name it by the option `binary`")
    return path


def arguments(given: Any, what: str) -> list[str]:
    """More words of a command line. Raises UsageError."""
    if not isinstance(given, list) or not all(isinstance(one, str | int | float) for one in given):
        raise UsageError(f"option 'arguments' of {what} is a list of words, as ['--flash-attn', 'on']")
    found = [str(one) for one in given]
    ours = [one for one in found if one in ("--port", "--host", "--api-key", "--api-key-file")]
    if ours:
        raise UsageError(f"option 'arguments' of {what} has {ours[0]}, which Fairlead sets itself; leave it out")
    return found
