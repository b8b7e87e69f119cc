"""The manifest of a packaged model: what it is, why its runtime was chosen, and the SHA-256 of every file.

A folder without a manifest is fine: models from existing registries have none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fairlead.contracts.errors import BrokenModel, DigestMismatch, Untrusted
from fairlead.contracts.types import Signature
from fairlead.kit.files import write_whole
from fairlead.package import signature as signatures

SCHEMA = 1
PATH = "fairlead/manifest.json"
"""Where the manifest lies inside the model folder."""
TAG = "fairlead.manifest"
"""The version tag that holds the SHA-256 of the manifest file itself."""

_WRITTEN_BY_DOWNLOADERS = ("registered_model_meta",)  # MLflow adds it (name and version) to what it downloads


@dataclass(frozen=True, slots=True)
class Manifest:
    """``artefact``: path of what the runtime loads, relative to the folder (``.``: the folder itself).

    ``why``: one sentence on the choice of the runtime.  ``parity``: the report of the conversion, None without one.
    ``files``: relative POSIX path to SHA-256, for every file but the manifest.
    ``python``, ``libraries``: versions that made the model.  ``created_ms``: Unix time, milliseconds.
    """

    name: str
    signature: Signature
    runtime: str
    artefact: str
    why: str = ""
    parity: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file under ``folder``, write the manifest last and whole, and return it with ``files`` filled in."""
    files = {name: file_digest(path) for name, path in walk(folder) if name != PATH}
    complete = dataclasses.replace(manifest, files=files)
    document = {
        "schema": SCHEMA,
        **{part.name: getattr(complete, part.name) for part in dataclasses.fields(complete)},
        "signature": signatures.to_dict(complete.signature),
    }
    write_whole(folder / PATH, json.dumps(document, indent=1).encode() + b"\n")
    return complete


def read(folder: Path) -> Manifest | None:
    """The manifest of ``folder``, or None. Raises BrokenModel when it does not parse or names a path outside."""
    try:
        raw = (folder / PATH).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = json.loads(raw)
        schema = document.pop("schema")
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenModel(f"{PATH} does not parse ({error}); package the model again") from None
    if schema != SCHEMA:
        raise BrokenModel(f"{PATH} has schema {schema!r} and this Fairlead reads schema {SCHEMA}; upgrade Fairlead")
    return _checked(document)


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises DigestMismatch that names the first file that does not agree."""
    found = dict(walk(folder))
    for name in _WRITTEN_BY_DOWNLOADERS:
        if name not in manifest.files:
            found.pop(name, None)
    found.pop(PATH, None)
    for name, expected in manifest.files.items():
        if name not in found:
            raise DigestMismatch(
                f"{folder / name}: missing, and the manifest lists it; fetch or package the model again"
            )
        digest = file_digest(found.pop(name))
        if digest != expected:
            raise DigestMismatch(
                f"{folder / name}: changed since it was packaged (SHA-256 {digest[:12]}, the manifest says "
                f"{expected[:12]}); fetch or package the model again"
            )
    for name in found:
        raise DigestMismatch(f"{folder / name}: not in the manifest; remove it or package the model again")


def tree_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, or over the sorted relative paths and file digests of a folder."""
    if path.is_file():
        return file_digest(path)
    whole = hashlib.sha256()
    for name, file in walk(path):
        whole.update(f"{file_digest(file)}  {name}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative POSIX path and path of every file under ``folder``, sorted by relative path.

    Raises Untrusted for a symbolic link that leaves the folder, BrokenModel for what is neither file nor folder.
    """
    root = folder.resolve()
    names = []
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in links:
            raise Untrusted(
                f"{Path(parent) / name}: a linked folder inside a model is not read; copy it into the model"
            )
        names += [Path(parent) / name for name in files]
    for path in sorted(names, key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise Untrusted(f"{path}: a symbolic link that leaves the model folder is not read; copy the file into it")
        if not stat.S_ISREG(path.stat().st_mode):
            raise BrokenModel(f"{path}: neither a file nor a folder; remove it from the model")
        yield path.relative_to(folder).as_posix(), path


def _unreadable(error: OSError) -> None:
    raise BrokenModel(f"{error.filename}: {error.strerror}; make the model folder readable") from error


def inside(folder: Path, relative: str) -> Path:
    """``folder / relative``, a path that somebody else wrote. Raises Untrusted when it points outside the folder."""
    pure = PurePosixPath(relative)
    path = folder / pure
    if pure.is_absolute() or ".." in pure.parts or "\0" in relative or not _stays(folder, path):
        raise Untrusted(f"{folder}: the model names the path {relative!r}, which lies outside its own folder")
    return path


def _stays(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _checked(document: dict[str, Any]) -> Manifest:
    known = {part.name for part in dataclasses.fields(Manifest)}
    try:
        manifest = Manifest(
            **{key: value for key, value in document.items() if key in known and key != "signature"},
            signature=signatures.from_dict(document["signature"]),
        )
        texts = (manifest.name, manifest.runtime, manifest.artefact, *manifest.files, *manifest.files.values())
    except (TypeError, KeyError, AttributeError) as error:
        raise BrokenModel(f"{PATH} lacks or misnames a field ({error}); package the model again") from None
    if not all(isinstance(text, str) for text in texts) or not isinstance(manifest.libraries, dict):
        raise BrokenModel(f"{PATH} has a field of the wrong type; package the model again")
    return manifest
