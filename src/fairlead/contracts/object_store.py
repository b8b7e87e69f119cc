"""Plugin contract: an object store, where files go that stay on no disk of this machine.
Entry-point group ``fairlead.object_stores``.

A plugin is found by the scheme of the URL: ``s3``. The entry point is a class without constructor arguments; the
check-suite is ``fairlead.testing.object_store_suite``. Every method raises Unavailable when the store does not answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    def read(self, url: str) -> bytes | None:
        """A small file, whole; None where there is none."""

    def taken(self, url: str) -> bool:
        """Whether there is a file at the URL, or below it."""

    def put(self, path: Path, url: str) -> None:
        """Copy a file there: whole, or not at all. One that is there is replaced."""
