"""Are the labels believable? Two looks at blocks of time, which natural drift passes and flipped labels do not. Pure.

Drift can be learned: inside a short stretch of time alike rows still have alike labels. Labels flipped at random
cannot: **noise**, how often a row's label differs from the majority of its neighbours in the same block, jumps. Labels
flipped all together stay learnable, but are upside down against the rest: **agreement**, the AUC of a score that was
learned elsewhere, falls far below one half, where decay alone (which ends at one half) does not lead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from fairlead.retrain.columns import TEXT, Columns, kind_of, missing, numbers, rows_of
from fairlead.retrain.scores import roc_auc

Array = np.ndarray[Any, Any]

_BLOCKS, _FEWEST = 20, 5
_ROWS = 200  # of a block, where there are enough
_LEAST = 60
_MOST = 1000  # rows of a block that are looked at
_POOL = 4000  # rows that a distant score is learned from
_NEAR, _FAR = 5, 25  # neighbours
_CATEGORIES = 20
_SORTED = 0.95  # a column this close to the order of the rows says when, not what


@dataclass(frozen=True, slots=True)
class Blocks:
    """One number a block, oldest first. ``agreement`` is NaN where a block has one class.

    ``starts``: first row of each block.  ``rows``: of each block.  ``counted``: rows looked at in each.
    ``rate``: share of the positive class (or of values over the median).
    """

    starts: Array
    rows: Array
    counted: Array
    noise: Array
    agreement: Array
    rate: Array


def in_blocks(table: Columns, target: str, score: Array | None = None) -> Blocks | None:
    """Look at ``table`` in up to 20 blocks of rows in order of time; None below 300 rows or without features.

    ``score``: a model's P(positive) of each row, to take the agreement with; else neighbours at least a third of the
    blocks away are asked. Several classes are looked at as the most frequent one against the rest, a quantity as its
    highest third against its lowest: the rows between are left out.
    """
    positive = binary(table[target])
    kept = ~missing(table[target]).reshape(-1) & clear(table[target])
    count = rows_of(table)
    features = _features({name: array for name, array in table.items() if name != target})
    blocks = min(_BLOCKS, max(_FEWEST, count // _ROWS))
    if count // blocks < _LEAST or features is None:
        return None
    parts = [part[kept[part]] for part in np.array_split(np.arange(count), blocks)]
    looked = [part[:: math.ceil(len(part) / _MOST)] if len(part) > _MOST else part for part in parts]
    if min(map(len, looked)) <= _NEAR:
        return None
    noise = [_noise(features[part], positive[part]) for part in looked]
    if score is None:
        timeless = _timeless(features)
        agreement = [_distant(timeless, positive, looked, index) for index in range(blocks)]
    else:
        agreement = [roc_auc(positive[part].astype(int), score[part]) for part in looked]
    return Blocks(
        np.array([part[0] for part in parts]),
        np.array(list(map(len, parts))),
        np.array(list(map(len, looked))),
        np.array(noise),
        np.array(agreement),
        np.array([positive[part].mean() for part in parts]),
    )


def binary(labels: Array) -> Array:
    """Two classes: the greater one; more: the most frequent one; a quantity: over its median."""
    if kind_of(labels) != TEXT:
        values = numbers(labels)
        different = np.unique(values[np.isfinite(values)])
        if len(different) > _CATEGORIES:
            return np.asarray(values > np.nanmedian(values))
        texts = values
    else:
        texts = labels.astype(str)
        different = np.unique(texts[~missing(labels)])
    if len(different) <= 2:
        return np.asarray(texts == different[-1]) if len(different) else np.zeros(len(labels), bool)
    most = max(different, key=lambda one: int(np.sum(texts == one)))
    return np.asarray(texts == most)


def clear(labels: Array) -> Array:
    """Rows to look at: of a quantity, those outside its middle third, which small changes do not move over."""
    if kind_of(labels) == TEXT:
        return np.ones(len(labels), bool)
    values = numbers(labels).reshape(-1)
    if len(np.unique(values[np.isfinite(values)])) <= _CATEGORIES:
        return np.ones(len(labels), bool)
    low, high = np.nanquantile(values, [1 / 3, 2 / 3])
    return np.asarray((values < low) | (values > high))


def _noise(features: Array, positive: Array) -> float:
    """Share of rows whose label is not that of the majority of their five nearest others."""
    _, near = cKDTree(features).query(features, k=_NEAR + 1)
    others = near != np.arange(len(near))[:, None]
    others[others.all(axis=1), -1] = False  # equal rows may crowd a row out of its own neighbours
    votes = (positive[near] & others).sum(axis=1)
    return float(np.mean((votes * 2 > _NEAR) != positive))


def _distant(features: Array, positive: Array, parts: list[Array], index: int) -> float:
    """AUC in a block of the share of positive among the neighbours in blocks at least a third of all away."""
    apart = max(1, len(parts) // 3)
    pool = np.concatenate([part for place, part in enumerate(parts) if abs(place - index) > apart])
    pool = pool[:: max(1, len(pool) // _POOL)]
    _, near = cKDTree(features[pool]).query(features[parts[index]], k=min(_FAR, len(pool)))
    share = positive[pool][near.reshape(len(parts[index]), -1)].mean(axis=1)
    return roc_auc(positive[parts[index]].astype(int), share)


def _features(table: Columns) -> Array | None:
    """Every column between 0 and 1: ranks of numbers (missing: -1), 0 or 1 for each of the most frequent texts."""
    made = []
    for array in table.values():
        if kind_of(array) == TEXT:
            values, counts = np.unique(array.astype(str), return_counts=True)
            made += [array.astype(str) == values[i] for i in np.argsort(-counts, kind="stable")[:_CATEGORIES]]
        else:
            wide = numbers(array).reshape(len(array), -1)
            for values in wide.T:
                ranks = rankdata(np.nan_to_num(values, nan=-np.inf)) / max(1, len(values))
                made.append(np.where(np.isnan(values), -1.0, ranks))
    made = [values.astype(float) for values in made if np.ptp(values.astype(float)) > 0]
    return np.stack(made, axis=1) if made else None


def _timeless(features: Array) -> Array:
    """Without the columns that only count the time; all of them when nothing would be left."""
    order = np.arange(len(features), dtype=float)
    clock = [abs(float(np.corrcoef(values, order)[0, 1])) > _SORTED for values in features.T]
    return features if all(clock) else features[:, ~np.array(clock)]
