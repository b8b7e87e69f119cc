"""From a model as people have it to a file or folder that OpenVINO loads. Conversions are kept, by content.

A folder of the cache is named after the digest of everything that its content depends on: the source's files, the
precision, and the version of this converter. It is made under another name and renamed when it is whole, under a lock
that its digest names: of two at once one converts, and the other takes what it made. The cache is bounded: what was
used least lately goes. It can be deleted at any time while no engine starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from fairlead.adapters.engines.openvino.convert import families, fields, writing
from fairlead.adapters.engines.openvino.convert.checkpoint import Checkpoint, opened
from fairlead.adapters.engines.openvino.convert.constants import PRECISIONS, Constants
from fairlead.adapters.engines.openvino.convert.decoder import Decoder
from fairlead.adapters.engines.openvino.convert.digests import Digests
from fairlead.adapters.engines.openvino.convert.graph import Graph
from fairlead.contracts.errors import BrokenModel, SourceNotFound, StorageFull, UnknownFormat, UsageError
from fairlead.kit import gguf
from fairlead.kit.files import held, locked, unwritable

VERSION = 1
"""Of this converter: raised with every change of what it writes."""

LIMIT = 64 << 30
"""Bytes of the cache, at most."""

GGUF = ("llama", "qwen2", "qwen3")
"""Architectures that openvino-genai reads out of .gguf files."""

_SETTLED = 600.0
"""Seconds after which a folder that was not asked for again may go: until then an engine may be opening it."""

_BYTES = {"f16": 2.0, "bf16": 2.0, "int8": 1.01, "int4": 0.6}
"""Of a weight, about: to see beforehand whether there is room."""

_log = logging.getLogger("fairlead.engines")


def prepare(model: Path, cache: Path, precision: str, limit: int = LIMIT) -> Path:
    """What OpenVINO loads: ``model`` itself (a .gguf file, an IR folder), or the folder of its conversion.

    ``precision``: f16, bf16, int8 or int4, of a conversion.  ``limit``: bytes of the cache.

    Raises SourceNotFound, UnknownFormat (a family that is not converted), BrokenModel, UsageError, StorageFull (nothing
    stays behind).
    """
    if precision not in PRECISIONS:
        raise UsageError(f"the precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if not model.exists():
        raise SourceNotFound(f"{model}: no such file or folder")
    if model.is_file():
        return _gguf(model)
    if (model / writing.XML).is_file():
        return _ready(model)
    files = sorted(model.glob("*.gguf"))
    if not (model / "config.json").is_file() and len(files) == 1:
        return _gguf(files[0])
    with _room(cache):
        return _converted(model, cache, precision, limit)


def report(folder: Path) -> writing.Report | None:
    """What became of a model that ``prepare`` converted; None for what it took as it is."""
    return writing.read(folder) if folder.is_dir() else None


def context(made: Path) -> int:
    """Tokens of prompt and answer together that what ``prepare`` gave takes; 0 where it does not say."""
    if made.is_file():
        return gguf.head(made).context
    told = writing.read(made)
    if told is not None:
        return told.context
    if not (made / "config.json").is_file():
        return 0
    found = fields.read(made).any("max_position_embeddings")
    return found if type(found) is int and found > 0 else 0


def _gguf(path: Path) -> Path:
    with path.open("rb") as handle:
        if handle.read(4) != gguf.MAGIC:
            raise UnknownFormat(
                f"{path} is no .gguf file; give one, or the folder that save_pretrained wrote, or a folder with "
                f"{writing.XML}"
            )
    architecture = gguf.head(path).architecture
    if architecture not in GGUF:
        raise UnknownFormat(
            f"{path} is a GGUF model of the architecture {architecture!r}, of which the embedded engine reads only "
            f"{', '.join(GGUF)}; serve it by llama-server (engine: llama-server)"
        )
    return path


def _ready(folder: Path) -> Path:
    weights = folder / writing.BIN
    if not weights.is_file() or weights.stat().st_size == 0:
        raise BrokenModel(f"{folder} has {writing.XML}, and no {writing.BIN} with its weights; fetch it again")
    return folder


@contextlib.contextmanager
def _room(cache: Path) -> Iterator[None]:
    """Raises StorageFull where the cache cannot be written."""
    try:
        yield
    except OSError as error:
        said = unwritable(error)
        if said or isinstance(error, PermissionError | NotADirectoryError):
            raise StorageFull(
                f"the converted model cannot be written to {cache}: {said or error.strerror}; make room, or start with "
                "another --home"
            ) from error
        raise SourceNotFound(f"the model cannot be read: {error.strerror or error} ({error.filename})") from error


def _converted(model: Path, cache: Path, precision: str, limit: int) -> Path:
    decoder = families.decoder(fields.read(model))
    cache.mkdir(parents=True, exist_ok=True)
    with opened(model) as checkpoint:
        key = _key(model, checkpoint, cache, precision)
        folder = cache / key
        with locked(cache / f"{key}.lock"):
            if writing.read(folder) is None:
                _make(decoder, checkpoint, model, folder, precision)
            os.utime(folder / writing.REPORT)
    _bound(cache, key, limit)
    return folder


def _key(model: Path, checkpoint: Checkpoint, cache: Path, precision: str) -> str:
    digests = Digests(cache)
    whole = hashlib.sha256(f"{VERSION} {precision}\n".encode())
    for path in (*checkpoint.files, *writing.beside(model)):
        whole.update(f"{path.name} {digests.of(path)}\n".encode())
    digests.keep()
    return whole.hexdigest()[:40]


def _make(decoder: Decoder, checkpoint: Checkpoint, model: Path, folder: Path, precision: str) -> None:
    began = time.monotonic()
    making = folder.with_name(f".making-{folder.name}")
    _remove(making)
    _remove(folder)
    _enough(checkpoint, folder.parent, precision)
    making.mkdir()
    asked = {
        "model": str(model),
        "precision": precision,
        "megabytes": int(checkpoint.numbers * _BYTES[precision]) >> 20,
    }
    _log.info("converting", extra={"fields": asked})
    try:
        constants = Constants(checkpoint, precision)
        graph = Graph(decoder, checkpoint, constants).model()
        size = writing.write(graph, model, making)
        notes = (*decoder.notes, *constants.notes)
        told = writing.Report(VERSION, decoder.family, precision, decoder.context, size, str(model.absolute()), notes)
        writing.close(making, told)
        making.rename(folder)
    except BaseException:
        _remove(making)
        raise
    _log.info(
        "converted",
        extra={
            "fields": {
                "model": str(model),
                "family": decoder.family,
                "precision": precision,
                "megabytes": size >> 20,
                "seconds": round(time.monotonic() - began, 1),
                "notes": "; ".join(notes),
            }
        },
    )


def _enough(checkpoint: Checkpoint, cache: Path, precision: str) -> None:
    """Raises StorageFull where there is clearly no room, before the work rather than after it."""
    needed, free = int(checkpoint.numbers * _BYTES[precision]), shutil.disk_usage(cache).free
    if needed > free:
        raise StorageFull(
            f"the model takes {needed >> 20} MiB in {precision}, and {cache} has {free >> 20} MiB free; make room, or "
            "start with another --home"
        )


def _bound(cache: Path, keep: str, limit: int) -> None:
    """Remove what was used least lately, until the rest is within ``limit``, and what a crash left behind."""
    for path in cache.glob(".making-*"):
        with held(cache / f"{path.name.removeprefix('.making-')}.lock") as alone:
            if alone:
                _remove(path)
    kept = {path.parent: path.stat().st_mtime for path in cache.glob(f"*/{writing.REPORT}")}
    sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in kept}
    total = sum(sizes.values())
    for folder in sorted(kept, key=lambda one: kept[one]):
        if total <= limit or folder.name == keep or time.time() - kept[folder] < _SETTLED:
            continue
        with held(cache / f"{folder.name}.lock") as alone:
            if alone:
                _remove(folder)
                total -= sizes[folder]


def _remove(folder: Path) -> None:
    """A folder that goes is no longer whole from the first file on: its report is deleted first."""
    (folder / writing.REPORT).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
