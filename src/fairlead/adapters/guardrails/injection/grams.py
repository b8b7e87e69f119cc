"""A text as hashed character n-grams: what the classifier is trained on, and what it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from fairlead.kit.folding import fold

BITS: Final = 16
"""There are 2 ** BITS features."""
LENGTHS: Final = (2, 3, 4, 5)
"""Characters of an n-gram."""
WINDOW: Final = 1500
"""Characters that are judged together; a longer text is judged as its worst window."""
STEP: Final = 1200

_SPACES: Final = re.compile(r"\s+")
_DIGITS: Final = re.compile(r"[0-9]")

Ids = np.ndarray[Any, np.dtype[np.int64]]
Values = np.ndarray[Any, np.dtype[np.float32]]


def plain(text: str) -> str:
    """Lower case, single spaces, look-alikes as what they look like, every digit the same."""
    return _DIGITS.sub("0", _SPACES.sub(" ", fold(text).text.lower())).strip()


def windows(text: str) -> Iterator[str]:
    """Of a plain text."""
    yield text[:WINDOW]
    for start in range(STEP, len(text) - (WINDOW - STEP), STEP):
        yield text[start : start + WINDOW]


def grams(text: str) -> tuple[Ids, Values]:
    """Ids of the n-grams of a plain text, ascending, int64 [k], and their values, float32 [k], of length 1 together."""
    codes = np.frombuffer(f" {text} ".encode("utf-32-le"), dtype=np.uint32)
    found = []
    for length in LENGTHS:
        count = len(codes) - length + 1
        if count <= 0:
            continue
        hashed = np.full(count, length * 0x9E3779B1 & 0xFFFFFFFF, dtype=np.uint32)
        for place in range(length):
            hashed = (hashed ^ codes[place : place + count]) * np.uint32(0x01000193)
        hashed ^= hashed >> np.uint32(15)
        hashed *= np.uint32(0x85EBCA6B)
        hashed ^= hashed >> np.uint32(13)
        found.append(hashed & np.uint32((1 << BITS) - 1))
    ids, counts = np.unique(np.concatenate(found), return_counts=True)
    values = 1.0 + np.log(counts)
    return ids.astype(np.int64), (values / np.linalg.norm(values)).astype(np.float32)
