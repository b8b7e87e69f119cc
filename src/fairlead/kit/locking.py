"""A lock on a file that several processes share, asked for without waiting long: the event loop may ask."""

from __future__ import annotations

import fcntl
import time


def taken(file: int, tries: int, spins: int, pause: float) -> bool:
    """Whether it is ours now. ``tries``: how often it is asked for, the first ``spins`` of them without a ``pause``."""
    for tried in range(tries):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if tried >= spins:
                time.sleep(pause)
        else:
            return True
    return False
