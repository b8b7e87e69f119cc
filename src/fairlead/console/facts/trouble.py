"""What cannot be shown, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """``code``: of ``contracts/errors.py``.  ``text``: one sentence with the remedy, without secrets."""

    code: str
    text: str
