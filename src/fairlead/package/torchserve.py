"""A TorchServe archive (``.mar``): what it holds, and whether that can be served without running its handler."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, UnknownFormat

MANIFEST = "MAR-INF/MANIFEST.json"
_PLAIN = "base_handler"
"""The handler that hands tensors to the model and its answer back."""
_LARGEST = 1 << 20
_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, RecursionError, zipfile.BadZipFile, zlib.error),
    *(RuntimeError, NotImplementedError),  # encrypted, unknown compression
)


def read(path: Path) -> str:
    """The name of the TorchScript program in the archive, which is served on raw tensors.

    Raises BrokenModel for an archive without a manifest that can be read. Raises UnknownFormat, in one sentence that
    says what is in it and how to go on, where the model is something else, or its handler does more than
    ``base_handler``: such code is never run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path)
            file = str(manifest.get("serializedFile", ""))
            names = archive.namelist()
            code = _is_script(archive, file) if file in names else False
    except _UNREADABLE as error:
        raise BrokenModel(f"{path} is a TorchServe archive that cannot be read: {error}; archive it again") from error
    handler, source = str(manifest.get("handler", "")), str(manifest.get("modelFile", ""))
    if not file:
        raise UnknownFormat(f"{path} is a TorchServe archive without a serializedFile; {_advice(handler)}")
    if file not in names:
        raise BrokenModel(f"{path} names the serializedFile {file!r} and does not hold it; archive it again")
    if not code:
        built = f", for the class in {source}" if source else ""
        raise UnknownFormat(
            f"{path} is a TorchServe archive whose {file} is a pickled checkpoint{built}; save its weights with "
            "safetensors.torch.save_model and serve package.module:Class@FILE"
        )
    if handler.partition(":")[0].removesuffix(".py") != _PLAIN or handler.partition(":")[0] in names:
        raise UnknownFormat(
            f"{path} is a TorchServe archive with the TorchScript program {file} and the handler {handler!r}, which "
            f"{_advice(handler)}"
        )
    return file


def _advice(handler: str) -> str:
    act = "is code that is not run here" if handler.endswith(".py") or ":" in handler else "is not kept here"
    return f"{act}; unpack the archive, serve the model in it, and do in the client what the handler does"


def _manifest(archive: zipfile.ZipFile, path: Path) -> Mapping[str, Any]:
    if archive.getinfo(MANIFEST).file_size > _LARGEST:
        raise BrokenModel(f"{path}: its {MANIFEST} unpacks to over {_LARGEST} bytes")
    document = json.loads(archive.read(MANIFEST))
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise BrokenModel(f"{path}: its {MANIFEST} names no model; archive it again")
    return model


def _is_script(archive: zipfile.ZipFile, file: str) -> bool:
    """Whether a member is a TorchScript file: a zip with code and constants in it."""
    with archive.open(file) as member:
        if not zipfile.is_zipfile(member):
            return False
        member.seek(0)
        with zipfile.ZipFile(member) as inner:
            tails = {name.partition("/")[2] for name in inner.namelist()}
    return {"data.pkl", "constants.pkl"} <= tails and any(tail.startswith("code/") for tail in tails)
