"""Streams for the loop's story: customers whose habits change at a known row, or any CSV in order of time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest

ROWS = 24_000
LEAST_ROWS = 6_000
CLOCK = 0.99
"""A column whose ranks agree with the order of the rows so well (Spearman) is a clock."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows in order of time. ``label``: 0 or 1.  ``drift``: the row from which it is another world; 0: not known."""

    name: str
    features: pd.DataFrame
    label: np.ndarray
    drift: int = 0

    @property
    def third(self) -> int:
        """Rows of the first third, which the first champion is trained on."""
        return len(self.label) // 3


def customers(rows: int = ROWS, seed: int = 7) -> Stream:
    """Customers of a phone company who leave or stay.

    From 60 % of the rows on prices have risen (``monthly_charge`` moves: drift that can be seen in the inputs) and
    people leave for another reason than before: no longer because of the price, but because of the data they use (the
    concept moves: only labels can tell).
    """
    rng = np.random.default_rng(seed)
    drift = rows * 3 // 5
    after = np.arange(rows) >= drift
    tenure = rng.gamma(2.0, 16.0, rows)
    charge = rng.normal(60.0, 18.0, rows) + 14.0 * after
    calls = rng.poisson(2.0, rows).astype(float)
    data_gb = rng.gamma(3.0, 6.0, rows)
    region = rng.choice(["north", "south", "east", "west"], rows, p=[0.2, 0.3, 0.25, 0.25])
    reason = np.where(after, 0.2 * (charge - 74.0) / 18.0 + 1.7 * (data_gb - 18.0) / 9.0, 1.6 * (charge - 60.0) / 18.0)
    logit = reason + 0.8 * (calls - 2.0) / 1.4 - 0.9 * (tenure - 32.0) / 22.0 - 0.4
    label = (rng.random(rows) < 1.0 / (1.0 + np.exp(-logit))).astype(int)
    features = pd.DataFrame(
        {
            "tenure_months": tenure.round(1),
            "monthly_charge": charge.round(2),
            "support_calls": calls,
            "data_gb": data_gb.round(2),
            "region": region,
        }
    )
    return Stream("churn", features, label, drift)


def from_csv(path: Path, target: str) -> Stream:
    """A CSV (also gzipped) in order of time. ``target``: a column of two values; the greater one is 1.

    Columns of text with many values (dates, names) are left out, and so are clocks: numbers that only grow with the
    rows are never again what a model was trained on. Raises UsageError naming what is wrong.
    """
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise UsageError(f"--data {path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"--data {path} does not read as CSV: {str(error).splitlines()[0]}") from None
    if target not in frame:
        raise UsageError(f"--target {target!r} is not a column of {path}{nearest(target, list(frame.columns))}")
    frame = frame.dropna(subset=[target])
    values = sorted(frame[target].unique())
    if len(values) != 2:
        raise UsageError(f"--target {target!r} has {len(values)} values; the loop's demo needs a column of two")
    if len(frame) < LEAST_ROWS:
        raise UsageError(f"--data {path} has {len(frame)} rows; the loop's demo needs at least {LEAST_ROWS}")
    kept = frame.drop(columns=[target])
    text = [name for name in kept if not pd.api.types.is_numeric_dtype(kept[name])]
    place = pd.Series(np.arange(len(kept), dtype=float), index=kept.index)
    clocks = [name for name in kept if name not in text and float(kept[name].rank().corr(place)) > CLOCK]
    kept = kept.drop(columns=[*clocks, *(name for name in text if kept[name].nunique() > 50)])
    for name in kept:
        numeric = pd.api.types.is_numeric_dtype(kept[name])
        kept[name] = kept[name].astype(float) if numeric else kept[name].fillna("missing").astype(str)
    name = "".join(one if one.isalnum() else "-" for one in path.name.partition(".")[0].lower()).strip("-")
    return Stream(name or "stream", kept, (frame[target] == values[1]).to_numpy().astype(int))
