"""What a stage needs of an event loop: to be called later. Passed in, so that tests own time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


Timers = Callable[[float, Callable[[], None]], Timer]
"""After so many seconds, call this."""


def looped(seconds: float, call: Callable[[], None]) -> Timer:
    """By the loop that runs."""
    return asyncio.get_running_loop().call_later(seconds, call)
