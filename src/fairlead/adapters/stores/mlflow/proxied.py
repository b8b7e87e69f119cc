"""Artefacts that an MLflow server hands out itself (``mlflow-artifacts:``), file by file.

MLflow's own download begins again from nothing when the connection breaks. This one goes on: within a call as long as
bytes come, and in a later call with what an earlier one left in the same folder. A file under its own name is whole;
what is not yet has ``.part`` behind it. Servers that know no ranges (RFC 9110, 14.2) send a file from its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fairlead.adapters.stores.mlflow.connection import augmented_raise_for_status, creds, http_request, requests

# isort: split
# The connection sets MLflow's environment, so it comes first.
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from fairlead.contracts.errors import RegistryError

_PIECE: Final = 2**16
"""Bytes; a piece that the connection breaks in is asked for again whole."""
_PART: Final = ".part"


def fetched(location: str, into: Path, uri: str) -> Path | None:
    """Bring what lies at ``location`` under ``into``: its folder or file. None where the server does not hand it out
    itself. Raises RegistryError for a file that is shorter than the listing says, and what MLflow (also for a listing
    that leads out of its folder) and requests raise."""
    repository = get_artifact_repository(location, tracking_uri=uri, registry_uri=uri)
    if not isinstance(repository, HttpArtifactRepository):
        return None
    name = PurePosixPath(location).name
    files = [*_files(repository, "")]
    if not files:  # one file, or nothing: the server says which
        _file(repository.artifact_uri, "", into / name, None)
        return into / name
    root = into / name
    for path, size in files:
        _file(repository.artifact_uri, path, root / path, size)
    return root


def _files(repository: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    """Relative path and size in bytes of every file."""
    for one in repository.list_artifacts(folder or None):
        if one.is_dir:
            yield from _files(repository, one.path)
        else:
            yield one.path, one.file_size


def _file(root: str, path: str, target: Path, size: int | None) -> None:
    if target.is_file() and (size is None or target.stat().st_size == size):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + _PART)
    whole = False  # whether all that is here came in this call
    while True:
        had = part.stat().st_size if part.exists() else 0
        if size is not None and had > size:  # of something else
            part.unlink()
            had = 0
        if size is not None and had == size > 0:
            break
        whole = whole or not had
        try:
            more = _piece(root, path, part, had)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
            if not part.exists() or part.stat().st_size <= had:  # nothing came: the server is away
                raise
            continue
        if not more and not whole:  # of another file, or killed before it had its name
            part.unlink()
            continue
        got = part.stat().st_size
        if size is None or got == size:
            break
        if got <= had:
            raise RegistryError(
                f"the server ends {path or root.rpartition('/')[2]} after {got} bytes, and its listing says {size}; "
                "look at the artefact there"
            )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(target)


def _piece(root: str, path: str, part: Path, had: int) -> bool:
    """Append what is missing, or begin again where the server has no ranges. False: it has not so much as is here."""
    endpoint = f"/{path}" if path else ""
    asked = {"Range": f"bytes={had}-", "Accept-Encoding": "identity"} if had else {"Accept-Encoding": "identity"}
    with http_request(creds(root), endpoint, "GET", stream=True, extra_headers=asked) as answer:
        if had and answer.status_code == 416:
            return False
        augmented_raise_for_status(answer)
        goes_on = answer.status_code == 206 and answer.headers.get("content-range", "").startswith(f"bytes {had}-")
        with part.open("ab" if goes_on else "wb") as file:
            for piece in answer.iter_content(_PIECE):
                file.write(piece)
    return True
