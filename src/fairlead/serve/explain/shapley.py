"""Shapley values of one row against background rows. Pure.

The game of Strumbelj and Kononenko (2014): a coalition of columns is worth what the model answers, on average, to
background rows that have these columns of the explained row. All coalitions are tried while they are few; else random
orders of the columns, each with its reverse (antithetic pairs), one background row an order. The sum of the values is
in either case exactly f(row) less the mean of f over the background rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

EXACT_COLUMNS: Final = 8
"""Up to so many columns all coalitions are tried."""


class Values(NamedTuple):
    """``phi``: of each column.  ``base``: mean of f over the background.  ``value``: f of the row.

    ``errors``: standard error of each phi, over the orders that were tried; None where it is exact.
    """

    phi: Array
    base: float
    value: float
    errors: Array | None


@dataclass(frozen=True, slots=True)
class Design:
    """What f is asked, for each question: ``own`` [questions, columns], true where the column is the explained row's;
    ``rows`` [questions], whose the others are.

    ``paths``: [orders, columns + 1], questions as each order fills in column after column; None where all are tried.
    ``orders``: [orders, columns].
    """

    own: Array
    rows: Array
    paths: Array | None = None
    orders: Array | None = None

    @property
    def background(self) -> int:
        """Background rows that are used: the first so many."""
        return int(self.rows.max()) + 1 if len(self.rows) else 0


def design(columns: int, background: int, samples: int, seed: int = 0) -> Design:
    """``samples``: pairs of orders. The same arguments make the same design."""
    if columns <= EXACT_COLUMNS:
        own = ((np.arange(2**columns)[:, None] >> np.arange(columns)) & 1).astype(bool)
        return Design(np.repeat(own, background, axis=0), np.tile(np.arange(background), 2**columns))
    used = min(background, samples)
    pairs = used * math.ceil(samples / used)  # each background row equally often: then the sum is exact
    random = np.random.default_rng(seed)
    forward = np.array([random.permutation(columns) for _ in range(pairs)])
    orders = np.concatenate([forward, forward[:, ::-1]])
    whose = np.tile(np.arange(pairs) % used, 2)
    # Ends are shared: no column is the row's own once a background row, all are once altogether.
    ends = [np.zeros((used, columns), bool), np.ones((1, columns), bool)]
    rows = [np.arange(used), np.zeros(1, np.int64), np.repeat(whose, columns - 1)]
    steps = np.zeros((len(orders), columns + 1), np.int64)
    steps[:, 0], steps[:, -1] = whose, used
    inside = np.zeros((len(orders), columns - 1, columns), bool)
    for at in range(columns - 1):
        inside[:, at:, :][np.arange(len(orders)), :, orders[:, at]] = True
    steps[:, 1:-1] = used + 1 + np.arange(len(orders) * (columns - 1)).reshape(len(orders), -1)
    return Design(np.concatenate([*ends, inside.reshape(-1, columns)]), np.concatenate(rows), steps, orders)


def cells(columns: int, background: int, samples: int) -> int:
    """How large a design is: questions times columns."""
    if columns <= EXACT_COLUMNS:
        return columns * (1 << columns) * background
    return columns * (columns - 1) * 2 * (samples + background)


def values(plan: Design, answers: Array) -> Values:
    """``answers``: f of each question, in their order."""
    answers = answers.astype(np.float64)
    if plan.paths is None or plan.orders is None:
        return _exact(plan, answers)
    gains = np.diff(answers[plan.paths], axis=1)
    by_column = np.empty_like(gains)
    np.put_along_axis(by_column, plan.orders, gains, axis=1)
    half = len(by_column) // 2
    pairs = (by_column[:half] + by_column[half:]) / 2
    errors = pairs.std(axis=0, ddof=1) / math.sqrt(half) if half > 1 else np.full(pairs.shape[1], math.nan)
    return Values(
        pairs.mean(axis=0), float(answers[plan.paths[:, 0]].mean()), float(answers[plan.paths[0, -1]]), errors
    )


def _exact(plan: Design, answers: Array) -> Values:
    columns = plan.own.shape[1]
    worth = answers.reshape(2**columns, -1).mean(axis=1)
    coalitions = np.arange(2**columns)
    sizes = ((coalitions[:, None] >> np.arange(columns)) & 1).sum(axis=1)
    weights = np.array([1 / (columns * math.comb(columns - 1, size)) for size in range(columns)])
    phi = np.empty(columns)
    for column in range(columns):
        without = coalitions[(coalitions >> column) & 1 == 0]
        phi[column] = (weights[sizes[without]] * (worth[without | 1 << column] - worth[without])).sum()
    return Values(phi, float(worth[0]), float(worth[-1]), None)
