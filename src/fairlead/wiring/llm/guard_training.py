"""Trains the file of a detector from a file of examples."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead import __version__
from fairlead.contracts.errors import InputError
from fairlead.contracts.guardrail import Example
from fairlead.kit import plugins

GROUP: Final = "fairlead.guardrail_trainers"
MOST: Final = 2_000_000
"""Examples of one file."""


@dataclass(frozen=True, slots=True)
class Trained:
    file: bytes
    figures: Mapping[str, Any]


class _Line(msgspec.Struct):
    text: str
    label: str = ""
    group: str = ""
    source: str = ""
    held: bool | None = None


def train(detector: str, data: Path, note: str) -> Trained:
    """Raises InputError that names the line, UsageError, MissingExtra."""
    trainer = plugins.load(GROUP, detector)
    about = {"trained_with": f"fairlead {__version__}", "trained_on": _date(data), "note": note}
    file, figures = trainer(read(data), about)
    return Trained(file, figures)


def read(data: Path) -> Sequence[Example]:
    """Raises InputError."""
    told: list[Example] = []
    with data.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                one = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{data}:{number} is no example: {error}") from None
            told.append(Example(one.text, one.label, one.group, one.source, one.held))
            if len(told) > MOST:
                raise InputError(f"{data} has more than {MOST} examples; give fewer")
    return told


def _date(data: Path) -> str:
    """Of the examples, not of now: the same file gives the same classifier."""
    changed = dt.datetime.fromtimestamp(data.stat().st_mtime, dt.UTC)
    return changed.date().isoformat()
