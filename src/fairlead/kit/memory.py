"""How much memory a process has, and giving back what it does not need."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path


def of_text(text: str) -> int:
    """Bytes that Python keeps a text in, at most: one a letter of ASCII, up to four of another."""
    return len(text) if text.isascii() else 4 * len(text)


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process has now; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory of this process to the system, where the C library can (glibc)."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def available() -> int:
    """Bytes of memory that a process could take now, in this container too; 0 where the system does not say."""
    free = _meminfo("MemAvailable:")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    return min(free, max(0, limit - used)) if limit else free


def _meminfo(name: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def _number(path: str) -> int:
    """What a file of the control group says; 0 for no limit."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0
