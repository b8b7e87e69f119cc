"""A trained router: whether the cheap model will do, by the question alone. Pure; a tenth of a millisecond.

A linear model over hashed n-grams of characters (Weinberger et al., "Feature hashing for large scale multitask
learning", ICML 2009). What it is trained on and how: ``training``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.generation import Generation, Message

Vector = np.ndarray[Any, Any]

LONGEST: Final = 4000
"""Bytes of a question that are looked at."""
GRAMS: Final = (1, 2, 3, 4, 5)
"""Lengths, in bytes of text in lower case."""
_PRIME: Final = np.uint32(0x01000193)
_MIX: Final = np.uint32(0x9E3779B1)


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """``weights``: [2**bits], float32."""

    bits: int
    weights: Vector
    bias: float

    def score(self, text: str) -> float:
        """Probability that the cheap model does as well as the dear one, 0.0 to 1.0, as far as the text tells."""
        places, values = features(text, self.bits)
        return float(1.0 / (1.0 + np.exp(-(self.weights[places] @ values + self.bias))))


def features(text: str, bits: int) -> tuple[Vector, Vector]:
    """Places [k] and values [k], of length 1 together."""
    data = np.frombuffer(text.lower().encode("utf-8", "replace")[:LONGEST], np.uint8).astype(np.uint32)
    found = []
    for gram in GRAMS:
        if len(data) < gram:
            continue
        hashed = np.full(len(data) - gram + 1, gram, np.uint32)
        for at in range(gram):
            hashed = (hashed ^ data[at : at + len(hashed)]) * _PRIME
        found.append(hashed * _MIX >> np.uint32(32 - bits))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    places, counts = np.unique(np.concatenate(found), return_counts=True)
    values = 1.0 + np.log(counts)
    return places.astype(np.int64), (values / np.linalg.norm(values)).astype(np.float32)


def question(asked: Generation) -> str:
    """What is asked, as the router is shown it: what the user said last, or the text."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return prompt
    users: Sequence[str] = [one.content for one in prompt if isinstance(one, Message) and one.role == "user"]
    return users[-1] if users else ""
