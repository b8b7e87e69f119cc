"""How many replicas an endpoint has: what the user allows, and what decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Scaling:
    """``least`` to ``most`` replicas, each for ``target`` calls in flight on average.

    ``idle``: seconds without a call after which the last replica ends, where ``least`` is 0.
    ``wake``: seconds that a call may wait for the first one to come back, beside the call's own deadline.
    ``stable``, ``panic``: seconds over which calls in flight are averaged, in quiet and in a rush.
    """

    least: int = 1
    most: int = 1
    target: float = 8.0
    idle: float = 600.0
    wake: float = 5.0
    stable: float = 60.0
    panic: float = 6.0


class Autoscaler(Protocol):
    """Decides for one endpoint, again and again."""

    def decide(self, now: float, seconds: float, concurrency: float, replicas: int) -> int:
        """Replicas that there should be. ``concurrency``: calls in flight, averaged over the last ``seconds``.

        ``replicas``: those that answer now.
        """
