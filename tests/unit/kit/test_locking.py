"""A lock that is asked for a few times, and not waited for."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fairlead.kit.locking import taken


def test_it_is_taken_where_nobody_has_it_and_given_up_soon_where_somebody_has(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert taken(first, 1, 1, 0.0)
    assert not taken(second, 5, 2, 0.0)
    fcntl.flock(first, fcntl.LOCK_UN)
    assert taken(second, 1, 0, 0.0)
    os.close(first)
    os.close(second)
