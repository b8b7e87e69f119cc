"""Files that several processes touch: an advisory lock, and writes that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_SAID = (
    *(os.strerror(number) for number in _NO_ROOM),
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
)


def unwritable(error: BaseException | None) -> str:
    """What a full or read-only disk said somewhere down the chain of ``error``; empty for every other error.

    Libraries wrap it, and some keep only the words (SQLite, MLflow's downloads): so words count too.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
        found = next((words for words in _SAID if words in str(error)), "")
        if found:
            return found
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return ""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` alone, over processes and threads. Waits; the system drops it with the process.

    Not reentrant. The lock file stays behind on purpose: removing it would let two holders in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """``locked`` for a folder itself, which it makes where it is missing: there is no file beside what lies in it."""
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Try to hold the lock file ``path`` alone without waiting: whether that went well. Children do not inherit it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def write_whole(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: a reader sees the old bytes or the new ones, also after a crash.

    A device or a pipe is written to, and stays: renaming over it would take it from the whole machine.
    """
    if path.parent == Path("/dev") or (path.exists() and not path.is_file()):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def stamp(path: str | Path) -> tuple[int, ...] | None:
    """Changes whenever the file does: written again, renamed over, or reached by another link. None: not there."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
