"""The weights of a Hugging Face folder: one safetensors file, or shards with an index.

Nothing of them is read before it is asked for.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.adapters.engines.openvino.convert.header import Entry, length, parse
from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat

Array = np.ndarray[Any, Any]

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LARGEST_INDEX = 100_000_000
_FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor as it lies in its file: rows of ``width`` numbers. A vector is one row."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    _map: mmap.mmap
    _start: int
    _stop: int

    @property
    def width(self) -> int:
        return self.shape[-1]

    def floats(self, first: int, last: int) -> Array:
        """Rows ``first`` to ``last`` in float32, a copy: (last - first, width)."""
        raw = self.raw(first, last)
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    def raw(self, first: int, last: int) -> Array:
        """Rows as they lie in the file, read-only and not copied; bfloat16 as its bits, uint16."""
        kind = np.dtype(_FLOATS[self.dtype])
        stride = self.width * kind.itemsize
        count = (last - first) * self.width
        flat = np.frombuffer(self._map, kind, count, self._start + first * stride) if count else np.empty(0, kind)
        return flat.reshape(last - first, self.width)

    def forget(self) -> None:
        """The system may take its pages back: what was converted is not looked at again."""
        first = -(-self._start // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._stop - first >= mmap.PAGESIZE:
            self._map.madvise(mmap.MADV_DONTNEED, first, self._stop - first)


class Checkpoint:
    """Every tensor of a folder by name. ``unused``: those that nobody asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises SourceNotFound, UnknownFormat (no safetensors), BrokenModel (names file and tensor)."""
        self._folder = folder
        self._maps: dict[str, mmap.mmap] = {}
        self._entries: dict[str, tuple[str, Entry]] = {}
        self._asked: set[str] = set()
        for file, wanted in _files(folder).items():
            self._open(file, wanted)

    @property
    def files(self) -> list[Path]:
        return [self._folder / file for file in sorted(self._maps)]

    @property
    def unused(self) -> list[str]:
        return sorted(set(self._entries) - self._asked)

    @property
    def numbers(self) -> int:
        """How many weights there are."""
        return sum(math.prod(entry.shape) for _, entry in self._entries.values())

    def has(self, name: str) -> bool:
        return name in self._entries

    def take(self, name: str, shape: tuple[int, ...]) -> Stored:
        """Raises BrokenModel for a tensor that is not there or has another shape, UnknownFormat for other numbers."""
        if name not in self._entries:
            raise BrokenModel(f"{self._folder} has no tensor {name!r}, which its config.json asks for")
        file, entry = self._entries[name]
        if entry.shape != shape:
            raise BrokenModel(
                f"{self._folder / file}: tensor {name!r} has the shape {list(entry.shape)}, and by config.json it must "
                f"be {list(shape)}"
            )
        if entry.dtype not in _FLOATS:
            raise UnknownFormat(
                f"{self._folder / file}: tensor {name!r} is of {entry.dtype}, and weights are read in F32, F16 and "
                "BF16; take the checkpoint that was not quantised, or serve this one by vLLM (engine: openai)"
            )
        self._asked.add(name)
        return Stored(name, entry.dtype, entry.shape, self._maps[file], entry.start, entry.stop)

    def skip(self, name: str) -> None:
        """Known, and of no use."""
        self._asked.add(name)

    def close(self) -> None:
        for one in self._maps.values():
            with contextlib.suppress(BufferError):  # a view of it is still held: it goes with that
                one.close()

    def _open(self, file: str, wanted: set[str] | None) -> None:
        path = self._folder / file
        with path.open("rb") as handle:
            size = path.stat().st_size
            told = length(handle.read(8), size, str(path))
            entries = parse(handle.read(told), size, str(path))
            self._maps[file] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        for name in entries if wanted is None else sorted(wanted):
            if name not in entries:
                raise BrokenModel(f"{self._folder / INDEX} puts {name[:200]!r} into {file}, where it is not")
            self._entries[name] = (file, entries[name])


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Checkpoint]:
    checkpoint = Checkpoint(folder)
    try:
        yield checkpoint
    finally:
        checkpoint.close()


def _files(folder: Path) -> dict[str, set[str] | None]:
    """Each file, with the tensors that are to be taken from it; None: all."""
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder")
    if (folder / WHOLE).is_file():
        return {WHOLE: None}
    if (folder / INDEX).is_file():
        return _shards(folder)
    if any(folder.glob("*.bin")):
        raise UnknownFormat(
            f"{folder} holds pickled weights (.bin), which are not read: they may run code; load it with transformers "
            "and save_pretrained it again, which writes safetensors"
        )
    raise SourceNotFound(f"{folder} holds neither {WHOLE} nor {INDEX}; give the folder that save_pretrained wrote")


def _shards(folder: Path) -> dict[str, set[str] | None]:
    path = folder / INDEX
    if path.stat().st_size > _LARGEST_INDEX:
        raise BrokenModel(f"{path} has {path.stat().st_size} bytes, and an index has at most {_LARGEST_INDEX}")
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{path} is no JSON: {str(error)[:200]}; fetch it again") from error
    where = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
        raise BrokenModel(f"{path} has no weight_map of tensor names to file names")
    files: dict[str, set[str] | None] = {}
    for name, file in where.items():
        held = files.setdefault(file, set())
        if held is not None:
            held.add(name)
    for file in files:
        if file != Path(file).name or file in ("", ".", "..") or "\\" in file or "\0" in file:
            raise BrokenModel(f"{path} names the shard {file[:200]!r}: a shard is a file in the same folder")
        if not (folder / file).is_file():
            raise BrokenModel(f"{path} names the shard {file!r}, which is not there; fetch it")
    return files
