"""A file that several processes map into their memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path


def mapped(path: Path, size: int) -> tuple[int, mmap.mmap]:
    """Its descriptor, and ``size`` bytes of it; made where it is not there, for its owner alone. Raises OSError.

    All of it is taken now, where the system can: a disk that is full later would end the process, not a call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
        return file, mmap.mmap(file, size)
    except BaseException:
        os.close(file)
        raise
