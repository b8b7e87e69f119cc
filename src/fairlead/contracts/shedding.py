"""What an endpoint is told about shedding: refusing calls early because more come than it can answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shed:
    """``target``: seconds that a standard call may wait while a queue stands; 0: a share of what the call allows.

    ``interval``: seconds; a queue that was longer than that for so long stands.
    """

    target: float = 0.0
    interval: float = 0.1
