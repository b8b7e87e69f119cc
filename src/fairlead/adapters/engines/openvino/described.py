"""What a model says of itself: how long its texts may be, and how many tokens it knows.

Of a folder: ``config.json``, as Hugging Face writes it. Of a ``.gguf`` file: its metadata (GGUF 2 and 3, as
ggml-org/ggml's docs/gguf.md describes them).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from fairlead.contracts.errors import BrokenModel

_SCALARS: Final = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "", "", "<Q", "<q", "<d")))
_STRING: Final = 8
_ARRAY: Final = 9
_LONGEST: Final = 1 << 24
"""Bytes of a string and entries of a list; more is a broken file."""


@dataclass(frozen=True, slots=True)
class Described:
    """``context``: tokens of prompt and answer together; ``vocabulary``: ids are below it. 0: it does not say."""

    context: int = 0
    vocabulary: int = 0


def described(model: Path) -> Described:
    """Raises BrokenModel."""
    return _gguf(model) if model.suffix == ".gguf" else _config(model / "config.json")


def _config(file: Path) -> Described:
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return Described()
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenModel(f"{file} is no JSON object")
    parts = [found, part] if isinstance(part := found.get("text_config"), dict) else [found]
    return Described(
        max((_count(one.get("max_position_embeddings")) for one in parts), default=0),
        max((_count(one.get("vocab_size")) for one in parts), default=0),
    )


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _gguf(file: Path) -> Described:
    try:
        with file.open("rb") as stream:
            values = _metadata(stream)
    except (OSError, ValueError, struct.error) as error:
        raise BrokenModel(f"{file} is no GGUF file that can be read: {error}") from error
    family = values.get("general.architecture", "")
    words = values.get("tokenizer.ggml.tokens")
    return Described(
        _count(values.get(f"{family}.context_length")),
        _count(values.get(f"{family}.vocab_size")) or _count(words),
    )


def _metadata(stream: BinaryIO) -> dict[str, Any]:
    """Names and values; of a list, how long it is."""
    if stream.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    if (version := _read(stream, "<I")) not in (2, 3):
        raise ValueError(f"version {version}; 2 and 3 are known")
    _read(stream, "<Q")  # tensors
    found = {}
    for _ in range(_bounded(_read(stream, "<Q"))):
        name = _text(stream)
        found[name] = _value(stream, _read(stream, "<I"))
    return found


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(stream)
    if kind == _ARRAY:
        inner, count = _read(stream, "<I"), _bounded(_read(stream, "<Q"))
        if form := _SCALARS.get(inner):
            stream.seek(struct.calcsize(form) * count, 1)
        else:
            for _ in range(count):
                _value(stream, inner)
        return count
    if not (form := _SCALARS.get(kind)):
        raise ValueError(f"a value of kind {kind}")
    return _read(stream, form)


def _text(stream: BinaryIO) -> str:
    size = _bounded(_read(stream, "<Q"))
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("it ends too early")
    return data.decode("utf-8", "replace")


def _bounded(size: int) -> int:
    if size > _LONGEST:
        raise ValueError(f"a length of {size}")
    return size


def _read(stream: BinaryIO, form: str) -> Any:
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]
