"""What Prometheus cannot be asked for: an error that names the line of the spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile

UNBOUNDED: Final = "no bound of the histogram that measures it"


def refuse(file: SpecFile, path: tuple[str, ...], why: str, given_ms: float, bounds: Sequence[float]) -> NoReturn:
    """Raises UsageError with the bounds beside what was given."""
    under = [1000 * one for one in bounds if 1000 * one < given_ms]
    over = [1000 * one for one in bounds if 1000 * one > given_ms]
    near = " or ".join(f"{one:g}" for one in (*under[-1:], *over[:1]))
    raise UsageError(f"{file.at(*path)} is {given_ms:g}, {why}; take {near}")
