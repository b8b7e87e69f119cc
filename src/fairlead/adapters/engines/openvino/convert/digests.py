"""The digest of a model's files: by content, and not read again while a file has not changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fairlead.kit.files import stamp, write_whole

_FILE = "digests.json"
_KEPT = 512


class Digests:
    """SHA-256 by path, kept in a folder together with what the system says of each file (size, times, inode)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._known = self._read()

    def of(self, path: Path) -> str:
        """Raises OSError."""
        place, now = str(path.resolve()), list(stamp(path) or ())
        known = self._known.get(place)
        if known is not None and known[0] == now:
            return str(known[1])
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if now == list(stamp(path) or ()):
            self._known.pop(place, None)
            self._known[place] = [now, found]
        return found

    def keep(self) -> None:
        """Write down what is known. Raises OSError."""
        latest = dict(list(self._known.items())[-_KEPT:])
        write_whole(self._path, json.dumps(latest).encode())

    def _read(self) -> dict[str, list[Any]]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        fine = isinstance(found, dict) and all(isinstance(one, list) and len(one) == 2 for one in found.values())
        return found if fine else {}
