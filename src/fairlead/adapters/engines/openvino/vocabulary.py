"""Which bytes each token stands for, out of ``tokenizer.json``: what a grammar is held against.

Two ways of writing bytes are known: byte-level BPE (GPT-2's table: every byte is a printable character) and
SentencePiece with byte fallback (a space is U+2581, other bytes are ``<0xNN>``). Special tokens stand for nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

_SPACE: Final = "\u2581"
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")


def words(file: Path) -> list[bytes] | None:
    """By id; None for a file that is not there, or of a kind that is not known."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return _words(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _words(tokenizer: dict[str, Any]) -> list[bytes] | None:
    model = tokenizer["model"]
    if model.get("type") == "BPE":
        numbered = dict(model["vocab"])
    elif model.get("type") == "Unigram":
        numbered = {word: place for place, (word, _) in enumerate(model["vocab"])}
    else:
        return None
    spell = _byte_level if _byte_level_is(tokenizer) else _sentence_piece
    added = tokenizer.get("added_tokens") or []
    size = max([*numbered.values(), *(one["id"] for one in added)], default=-1) + 1
    found = [b""] * size
    for word, number in numbered.items():
        found[number] = spell(word)
    for one in added:
        found[one["id"]] = b"" if one.get("special") else one["content"].encode()
    return found or None


def _byte_level_is(tokenizer: dict[str, Any]) -> bool:
    parts = [tokenizer.get("decoder") or {}, tokenizer.get("pre_tokenizer") or {}]
    parts += [one for part in parts for one in (*part.get("decoders", ()), *part.get("pretokenizers", ()))]
    return any(part.get("type") == "ByteLevel" for part in parts)


def _table() -> dict[str, int]:
    """The characters that stand for bytes: those that print are themselves, the others come after U+0100 in turn."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printing)]
    return {chr(byte): byte for byte in printing} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES: Final = _table()


def _byte_level(word: str) -> bytes:
    try:
        return bytes(_BYTES[one] for one in word)
    except KeyError:
        return word.encode()


def _sentence_piece(word: str) -> bytes:
    if byte := _BYTE.fullmatch(word):
        return bytes([int(byte[1], 16)])
    return word.replace(_SPACE, " ").encode()
