"""Tables for the tests of this room: a stream that drifts slowly, as nature does."""

from __future__ import annotations

from typing import Any

import numpy as np

Columns = dict[str, np.ndarray[Any, Any]]


def stream(rows: int = 3000, seed: int = 0, start: float = 0.0, drift: float = 1.0) -> Columns:
    """Three features and a label that can be learned. ``start`` moves the means and the rule, slowly."""
    rng = np.random.default_rng(seed)
    when = start + drift * np.arange(rows) / rows
    age = 40 + 3 * when + 10 * rng.normal(size=rows)
    income = np.exp(8 + 0.1 * when + 0.4 * rng.normal(size=rows))
    plan = np.where(rng.random(rows) < 0.3 + 0.05 * when, "gold", "basic").astype(object)
    angle = 0.15 * when
    x, y = (age - 40) / 10, (np.log(income) - 8) / 0.4
    margin = np.cos(angle) * x + np.sin(angle) * y + 0.8 * (plan == "gold") + 0.35 * rng.normal(size=rows)
    label = (margin > 0.4).astype(int)
    return {"age": age, "income": income, "plan": plan, "label": label}


def flipped(label: np.ndarray[Any, Any], first: int, last: int, share: float, seed: int = 0) -> np.ndarray[Any, Any]:
    """``share`` of the labels between two rows upside down."""
    changed = label.copy()
    hit = np.flatnonzero(np.random.default_rng(seed).random(last - first) < share) + first
    changed[hit] = 1 - changed[hit]
    return changed
