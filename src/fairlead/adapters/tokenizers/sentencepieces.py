"""SentencePiece vocabularies of the merging kind (Llama 1 and 2, Mistral, Gemma): pieces and scores to a tokenizer.

Pieces are merged in the order of their scores, the best first; a text begins with a space that nobody wrote, and a
character that has no piece is written as its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import tokenizers
from tokenizers import models, normalizers

from fairlead.adapters.tokenizers.vocabulary import Added
from fairlead.contracts.errors import BrokenModel

NORMAL, UNKNOWN, CONTROL, USER, _UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of pieces, as SentencePiece and GGUF number them."""
_SPACE: Final = "\u2581"
_MERGING: Final = 2
_LONGEST: Final = 1 << 27


class Pieces(NamedTuple):
    """``prefix``: whether a text begins with a space.  ``unknown``: id of what stands for the rest; -1 for none."""

    tokens: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    prefix: bool
    unknown: int


def built(pieces: Pieces) -> tokenizers.Tokenizer:
    """With model and normalizer."""
    vocabulary = {token: place for place, token in enumerate(pieces.tokens)}
    unknown = pieces.tokens[pieces.unknown] if 0 <= pieces.unknown < len(pieces.tokens) else None
    model = models.BPE(
        vocabulary, _merges(pieces, vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback="<0x00>" in vocabulary
    )
    made = tokenizers.Tokenizer(model)
    steps = [normalizers.Prepend(_SPACE)] if pieces.prefix else []
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    return made


def added(pieces: Pieces) -> list[Added]:
    """What is not merged."""
    return [
        Added(place, token, special=kind != USER)
        for place, (token, kind) in enumerate(zip(pieces.tokens, pieces.kinds, strict=True))
        if kind in (UNKNOWN, CONTROL, USER)
    ]


def _merges(pieces: Pieces, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the best piece first."""
    found = []
    for place, token in enumerate(pieces.tokens):
        if len(token) < 2 or pieces.kinds[place] not in (NORMAL, USER):
            continue
        score = -pieces.scores[place]
        for cut in range(1, len(token)):
            left, right = vocabulary.get(token[:cut]), vocabulary.get(token[cut:])
            if left is not None and right is not None:
                found.append((score, place, left, right))
    found.sort()
    return [(pieces.tokens[left], pieces.tokens[right]) for _, _, left, right in found]


def read(path: Path) -> Pieces:
    """A ``tokenizer.model``: a message of Protocol Buffers. Raises BrokenModel.

    Source: ``sentencepiece_model.proto`` of google/sentencepiece.
    """
    data = path.read_bytes()
    if len(data) > _LONGEST:
        raise BrokenModel(f"{path} has {len(data)} bytes; at most {_LONGEST} are read")
    tokens: list[str] = []
    scores: list[float] = []
    kinds: list[int] = []
    kind, prefix, unknown = 1, True, 0
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                tokens.append(_text(piece.get(1, b"")))
                scores.append(float(struct.unpack("<f", _four(piece.get(2, b"\0\0\0\0")))[0]))
                kinds.append(_number(piece.get(3, NORMAL)))
            elif number == 2 and isinstance(value, bytes):
                trained = dict(_fields(value))
                kind, unknown = _number(trained.get(3, 1)), _number(trained.get(40, 0))
            elif number == 3 and isinstance(value, bytes):
                normalized = dict(_fields(value))
                prefix = bool(_number(normalized.get(3, 1)))
    except (ValueError, IndexError, struct.error) as error:
        raise BrokenModel(f"{path} is no SentencePiece model: {error}") from None
    if kind != _MERGING or not tokens:
        raise BrokenModel(
            f"{path} is no SentencePiece model that merges; put the tokenizer.json of the model beside it"
        )
    return Pieces(tokens, scores, kinds, prefix, unknown)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and values of a message, in order."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, form = key >> 3, key & 7
        if form == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if form == 2:
            length, place = _varint(data, place)
        elif form in (1, 5):
            length = 8 if form == 1 else 4
        else:
            raise ValueError(f"a field of form {form}")
        if place + length > len(data):
            raise ValueError("it ends within a field")
        yield number, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than ten bytes")


def _number(value: bytes | int) -> int:
    if not isinstance(value, int):
        raise ValueError("a field has another form than it should")  # noqa: TRY004 - told as the others are
    return value


def _four(value: bytes | int) -> bytes:
    if isinstance(value, int) or len(value) != 4:
        raise ValueError("a field has another form than it should")
    return value


def _text(value: bytes | int) -> str:
    if isinstance(value, int):
        raise ValueError("a field has another form than it should")  # noqa: TRY004 - told as the others are
    return value.decode()
