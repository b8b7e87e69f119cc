"""What files and batches share on the disk: owners, whole writes, and errors of a full disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from fairlead.contracts.errors import RateLimited, StateError, StorageFull
from fairlead.kit.files import unwritable

DAYS: Final = 30
"""That files, and batches that are over, are kept."""
ORPHAN: Final = 3600.0
"""Seconds after which what a crash left half done is removed."""

T = TypeVar("T")


def owner_of(caller: str) -> str:
    """The folder of a caller."""
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@contextmanager
def writing() -> Iterator[None]:
    """Raises StorageFull for a disk that takes nothing."""
    try:
        yield
    except OSError as error:
        if not unwritable(error):
            raise
        raise StorageFull(f"files and batches cannot be written: {error.strerror}; try again later") from error


def sync(folder: Path) -> None:
    """What was made in it, or renamed, stays."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def over(why: str) -> RateLimited:
    """What is told of a bound of what is kept."""
    error = RateLimited(why)
    error.kind = "quota"
    return error


def read(path: Path, kind: type[T]) -> T | None:
    """None where there is none. Raises StateError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read ({error}); remove it") from error


def old(path: Path, now: float) -> bool:
    """Whether a crash must have left it. ``now``: Unix seconds."""
    with suppress(FileNotFoundError):
        return now - path.stat().st_mtime > ORPHAN
    return False
