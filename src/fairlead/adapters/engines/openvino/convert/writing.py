"""A model as OpenVINO IR in a folder: the graph, the weights, what came with them, and a report."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import openvino as ov

from fairlead.contracts.errors import StorageFull

XML, BIN = "openvino_model.xml", "openvino_model.bin"
REPORT = "converted.json"
BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files of the source that go along, where they are there."""

_LARGEST_BESIDE = 256 << 20
_PIECE = re.compile(rb'offset="(\d+)"[^>]*?\bsize="(\d+)"')


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a model. ``context``: tokens of prompt and answer together, at most.  ``bytes``: of the weights.

    ``notes``: what is not as it was asked for, sentences.
    """

    version: int
    family: str
    precision: str
    context: int
    bytes: int
    source: str
    notes: tuple[str, ...] = ()


def beside(source: Path) -> list[Path]:
    """The small files of a model's folder that go along."""
    found = [source / name for name in BESIDE]
    return [path for path in found if path.is_file() and path.stat().st_size <= _LARGEST_BESIDE]


def write(model: ov.Model, source: Path, folder: Path) -> int:
    """The graph, its weights, and the files beside; how many bytes the weights have. Raises StorageFull."""
    try:
        ov.save_model(model, folder / XML, compress_to_fp16=False)
    except RuntimeError as error:  # all that it says of a disk: "iostream error"
        if "iostream" not in str(error) and "open" not in str(error):
            raise
        raise _full(folder) from error
    size = _checked(folder)
    for path in beside(source):
        shutil.copyfile(path, folder / path.name)
    return size


def close(folder: Path, report: Report) -> None:
    """The last file of a folder: with it, all others are whole and on the disk."""
    for name in (XML, BIN):
        _synced(folder / name)
    path = folder / REPORT
    path.write_text(json.dumps(asdict(report), indent=1))
    _synced(path)


def read(folder: Path) -> Report | None:
    """What became of a model that was converted; None where it is not whole."""
    try:
        told = json.loads((folder / REPORT).read_bytes())
        report = Report(**{**told, "notes": tuple(told["notes"])})
        whole = (folder / BIN).stat().st_size == report.bytes and (folder / XML).stat().st_size > 0
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return report if whole else None


def _checked(folder: Path) -> int:
    """Bytes of the weights, when all that the graph names is there."""
    pieces = _PIECE.findall((folder / XML).read_bytes())
    wanted = max((int(offset) + int(size) for offset, size in pieces), default=0)
    size = (folder / BIN).stat().st_size
    if size < wanted:
        raise _full(folder)
    return size


def _synced(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _full(folder: Path) -> StorageFull:
    free = shutil.disk_usage(folder).free
    return StorageFull(
        f"the converted model cannot be written to {folder.parent} ({free >> 20} MiB are free there); make room, or "
        "start with another --home"
    )
