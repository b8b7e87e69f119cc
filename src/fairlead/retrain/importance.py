"""How much a model leans on each of its inputs, measured from outside, so that it works for a model of any format.

Permutation importance (Breiman, Random Forests, 2001; Fisher, Rudin and Dominici, 2019): how much worse the answers to
held-out rows get when one input's values are dealt out anew among the rows. Of two inputs that say the same, each shows
less than it carries; an input that the model does not read shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from fairlead.contracts.types import Tensors

Array = np.ndarray[Any, Any]
Quality = Callable[[Tensors, Array], float]
"""How good the answers to these rows are; larger is better. First the features, then which rows of the hold-out."""

ROWS: Final = 1000
DEALS: Final = 5
"""How often each input is dealt out; the mean counts."""
LEAST_ROWS: Final = 100
SECONDS: Final = 30.0
POSITIONS: Final = 64
"""Positions of an input of several elements that are looked at, each on its own, in row-major order."""


def importance(features: Tensors, quality: Quality, now: Callable[[], float], seed: int = 0) -> dict[str, float]:
    """Share of each input (``NAME``, or ``NAME[i]`` where a row has several elements) in all that is lost; sums to 1.

    ``features``: [rows, ...] each.  Empty where nothing is lost, the quality is no number, or the model is so slow that
    100 rows of every input take more than ``SECONDS``. Raises what ``quality`` raises.
    """
    rows = len(next(iter(features.values()), ()))
    rng = np.random.default_rng(seed)
    places = list(_places(features))
    chosen = rng.permutation(rows)[:ROWS]
    started = now()
    base = quality(_taken(features, chosen), chosen)
    one = (now() - started) * len(places) * DEALS
    if one > SECONDS:
        chosen = chosen[: int(len(chosen) * SECONDS / one)]
        base = quality(_taken(features, chosen), chosen) if len(chosen) >= LEAST_ROWS else float("nan")
    if len(chosen) < LEAST_ROWS or not np.isfinite(base):
        return {}
    sample = _taken(features, chosen)
    lost = {
        name: base - np.mean([quality(_dealt(sample, of, place, rng), chosen) for _ in range(DEALS)])
        for name, of, place in places
    }
    kept = {name: max(0.0, float(loss)) for name, loss in lost.items() if np.isfinite(loss)}
    whole = sum(kept.values())
    return {name: loss / whole for name, loss in kept.items()} if whole > 0 else {}


def _places(features: Tensors) -> Iterator[tuple[str, str, int]]:
    """Each input's full name, its tensor, and its place in a row of that."""
    for name, tensor in features.items():
        width = int(np.prod(tensor.shape[1:]))
        if width == 1:
            yield name, name, 0
            continue
        for place in range(min(width, POSITIONS)):
            yield f"{name}[{place}]", name, place


def _taken(features: Tensors, rows: Array) -> Tensors:
    return {name: tensor[rows] for name, tensor in features.items()}


def _dealt(features: Tensors, name: str, place: int, rng: np.random.Generator) -> Tensors:
    tensor = features[name].copy()
    flat = tensor.reshape(len(tensor), -1)  # a view: what was just copied lies side by side
    flat[:, place] = flat[rng.permutation(len(flat)), place]
    return {**features, name: tensor}
