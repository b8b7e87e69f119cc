"""How a router is trained: logistic regression by stochastic gradients, with numpy. At fit time, never in serving.

Source of the steps: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 12 (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fairlead.serve.llm.cascade.router import Router, features

BITS: Final = 15
_ROUNDS: Final = 6
_RATE: Final = 0.3
_SHRINK: Final = 1e-4


def train(texts: Sequence[str], well: Sequence[bool], *, bits: int = BITS, seed: int = 0) -> Router:
    """``well``: whether the cheap model did as well as the dear one. The mean of the last round's weights is taken."""
    rows = [features(text, bits) for text in texts]
    weights, squares = np.zeros(1 << bits), np.full(1 << bits, 1e-2)
    mean, seen = np.zeros(1 << bits), 0
    share = min(0.99, max(0.01, sum(well) / len(well)))
    bias = float(np.log(share / (1.0 - share)))
    chance = np.random.default_rng(seed)
    for turn in range(_ROUNDS):
        for at in chance.permutation(len(rows)):
            places, values = rows[at]
            guess = 1.0 / (1.0 + np.exp(-(weights[places] @ values + bias)))
            gradient = (guess - well[at]) * values + _SHRINK * weights[places]
            squares[places] += gradient * gradient
            weights[places] -= _RATE * gradient / np.sqrt(squares[places])
            bias -= 0.01 * (guess - well[at])
        if turn >= _ROUNDS // 2:
            mean += weights
            seen += 1
    return Router(bits, (mean / seen).astype(np.float32), float(bias))
