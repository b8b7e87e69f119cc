"""How sure a model was of its answer, by the probabilities of the tokens that it chose. Pure.

``mean``: their geometric mean, so that long answers are not less sure for being long.  ``min``: the least of them: one
token that was guessed can make an answer wrong (Gupta et al., "Language Model Cascades: Token-level uncertainty and
beyond", ICLR 2024, find quantiles of the tokens better than their sum).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MEAN: Final = "mean"
MIN: Final = "min"
ROUTER: Final = "router"
SIGNALS: Final = (MEAN, MIN, ROUTER)
"""What an answer is judged by: its tokens, or the question alone."""


def confidence(logprobs: Sequence[float], signal: str) -> float | None:
    """0.0 to 1.0; None where nothing is known of the tokens."""
    known = [one for one in logprobs if not math.isnan(one)]
    if not known:
        return None
    chosen = min(known) if signal == MIN else math.fsum(known) / len(known)
    return math.exp(min(0.0, chosen))
