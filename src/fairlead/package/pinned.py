"""Bytes that a URI names by their digest: found in a cache by content, without asking anybody.

::

    FOLDER/sha256/DIGEST.json      where the bytes lie, relative to FOLDER, and what the registry said of the version
    FOLDER/...                     the bytes

FOLDER is the cache of the home, or the weights that an image brings. What is found is hashed before it counts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.contracts.stores import Registry, Version
from fairlead.kit.config import Home
from fairlead.kit.files import write_whole
from fairlead.package import sources, trust
from fairlead.package.manifest import tree_digest
from fairlead.package.sources import Found, Source


def bring(source: Source, registry: Callable[[], Registry], home: Home) -> Found:
    """``sources.fetch``; for a source with a digest by content first. Raises what it raises."""
    if not source.digest or source.path is not None:
        return sources.fetch(source, registry, home)
    for folder in (home.weights, home.cache):
        found = _kept(folder, source) if folder is not None else None
        if found is not None:
            return found
    found = sources.fetch(source, registry, home)
    keep(found, home.cache)
    return found


def keep(found: Found, folder: Path) -> None:
    """Note that the bytes of ``found`` lie in ``folder``. A version that somebody vouched for is asked for each time:
    what was vouched for can be taken back."""
    version = found.version
    if found.path is None or (version is not None and trust.TAG in version.tags):
        return
    document = {
        "path": found.path.relative_to(folder).as_posix(),
        "version": None if version is None else dataclasses.asdict(version),
    }
    write_whole(folder / "sha256" / f"{found.digest}.json", json.dumps(document, sort_keys=True).encode() + b"\n")


def _kept(folder: Path, source: Source) -> Found | None:
    try:
        document: Any = json.loads((folder / "sha256" / f"{source.digest}.json").read_bytes())
        path = folder / str(document["path"])
        version = _version(document["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not path.exists() or tree_digest(path) != source.digest:
        return None
    if version is not None and source.model != version.model:  # the same bytes under another name
        return None
    return Found(source, path, source.digest, version)


def _version(document: Any) -> Version | None:
    if document is None:
        return None
    return Version(**{**document, "aliases": tuple(document["aliases"])})
