"""A file whose time says when a loop last went round: whoever asks from outside learns whether it hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

TURN: Final = "controller.turn"
"""That of the controller, in its home."""
_PAUSE: Final = 5.0


class Beat:
    """Called once a turn at least. ``now``: monotonic seconds. A disk that takes nothing is for others to tell."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path, self._now = path, now
        self._last: float | None = None

    def __call__(self) -> None:
        now = self._now()
        if self._last is not None and now - self._last < _PAUSE:
            return
        self._last = now
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
