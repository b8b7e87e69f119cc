"""What a look at a rollout sees: counts of both arms since the step began, merged over all windows and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def _nothing() -> Array:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and variance of a metric's values (feedback on the calls of one arm)."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Arm:
    """``calls`` that ended, ``errors`` among them, and of those that answered: ``latency`` ``[bins]`` counts over
    ``Observed.edges``, ``scores`` counts on one grid for both arms (empty: the endpoint has no score), and the
    ``means`` of metrics by name."""

    calls: int = 0
    errors: int = 0
    latency: Array = field(default_factory=_nothing)
    scores: Array = field(default_factory=_nothing)
    means: Mapping[str, Moments] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """``edges`` ``[bins + 1]``: of the latency, in seconds.  ``pairs``: calls that both versions answered (shadow),
    with ``flips`` decisions that differ.

    ``champion`` is the concurrent control; where a step leaves the champion no calls, it is what the champion did
    between ``Rollout.control_since_ms`` and ``control_until_ms``.

    ``ended``: calls of both arms that arrived so long ago that all have ended, also those whose caller hung up: only
    of these can it be said that one is missing. None: the ``calls`` of the arms.
    """

    champion: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    edges: Array = field(default_factory=_nothing)
    pairs: int = 0
    flips: int = 0
    ended: tuple[int, int] | None = None
