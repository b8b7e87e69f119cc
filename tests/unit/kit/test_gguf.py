"""The head of a GGUF file."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import BrokenModel, SourceNotFound
from fairlead.kit.gguf import Head, head


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def file(*pairs: bytes, version: int = 3, keys: int | None = None) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs) if keys is None else keys) + b"".join(pairs)


LLAMA = pair("general.architecture", 8, text("llama"))
CONTEXT = pair("llama.context_length", 4, struct.pack("<I", 4096))
WORDS = pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b"))
SCORES = pair("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 3) + bytes(12))


def read(path: Path, content: bytes) -> Head:
    (path / "m.gguf").write_bytes(content)
    return head(path / "m.gguf")


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ((LLAMA, CONTEXT), Head("llama", 4096)),
        ((CONTEXT, WORDS, SCORES, pair("general.name", 8, text("small")), LLAMA), Head("llama", 4096, "small")),
        ((LLAMA, pair("a", 7, b"\1"), pair("b", 12, bytes(8))), Head("llama", 0)),
    ],
)
def test_what_it_says(tmp_path: Path, pairs: tuple[bytes, ...], found: Head) -> None:
    assert read(tmp_path, file(*pairs)) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGML", "is no GGUF file"),
        (b"", "is no GGUF file"),
        (b"GGUF", "is cut short in its head"),
        (file(version=1), "has the version 1"),
        (file(version=50331648), "has the version"),
        (file(), "names no general.architecture"),
        (file(keys=1 << 60), "would have"),
        (file(keys=1), "is cut short"),
        (file(LLAMA[:-1]), "is cut short"),
        (file(pair("a", 77, b"")), "unknown type 77"),
        (file(pair("a", 9, struct.pack("<IQ", 9, 1))), "list of the unknown type 9"),
        (file(pair("a", 9, struct.pack("<IQ", 4, 1 << 61))), "is cut short"),
        (file(pair("a", 9, struct.pack("<IQ", 8, 1 << 61))), "is cut short"),
        (file(pair("a", 8, struct.pack("<Q", 1 << 63))), "has a text of"),
    ],
)
def test_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="cannot be read"):
        head(tmp_path / "none.gguf")


@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes(tmp_path_factory: Any, more: bytes, at: int) -> None:
    good = file(LLAMA, WORDS, CONTEXT)
    spoiled = good[:at] + more + good[at + len(more) :]
    with contextlib.suppress(BrokenModel):
        read(tmp_path_factory.getbasetemp(), spoiled)
