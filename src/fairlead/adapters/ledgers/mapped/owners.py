"""Which process has which reservations, and whether it still runs.

A process holds the lock of a file of its own as long as it lives. So its end is seen at once, whatever ended it, also
from another container that shares the folder, and no later process of the same number is taken for it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import StorageFull

_NUMBERS: Final = 2**62


class Owner:
    """This process. ``number``: not 0. Raises StorageFull."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.number = secrets.randbelow(_NUMBERS) + 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path(self.number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageFull(
                f"the ledger cannot be kept in {folder}: {error.strerror}; choose another --home"
            ) from None

    def lives(self, number: int) -> bool:
        """Whether the process of this number does."""
        if number == self.number:
            return True
        try:
            file = os.open(self._path(number), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody knows: what it has stays its own
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(file)

    def forget(self, number: int) -> None:
        """Of one that has ended and left nothing."""
        self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        """It is as if the process had ended. Once or often."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016x}"
