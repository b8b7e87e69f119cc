"""Has performance fallen? A sequential test that may be looked at after every window.

The loss of each labelled row, in [0, 1], is bet on: under "the mean loss is at most ``limit``" the wealth
``prod(1 + bet * (loss - limit))`` is a supermartingale (Waudby-Smith and Ramdas 2024), so that by Ville's inequality
it reaches 1/alpha with probability at most alpha, however often one looks. Because nobody knows when a decay begins, a
part of the money enters at each block of rows (an e-detector with a spending sequence: Shin, Ramdas and Rinaldo 2023);
what has not entered yet is counted as it is. ``limit`` is an upper bound of the reference loss plus the margin; half of
alpha is for the bound and half for the bets, so ``alpha`` holds for the two together, for all time.

It rests on labels that are not a choice: feed rows in the order of prediction, and only below the watermark.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta

from fairlead.contracts.errors import UsageError
from fairlead.monitor.metrics import Answers, brier_losses, log_losses

Array = np.ndarray[Any, Any]

BLOCK = 100
"""Rows after which more money enters."""
_BETS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
_RICHEST = 1e250
_KEPT = 400
_LOG_WORST = 10.0


@dataclass(frozen=True, slots=True)
class Decay:
    """The state of one test: JSON-able, and replaced by ``step``.

    ``name``: what is watched.  ``baseline``: mean loss of the ``reference_rows``.  ``limit``: what the mean loss may
    be at most.  ``wealth``: of each bet.  ``entered``: blocks whose money is in.  ``left``: losses that do not fill a
    block.  ``most``: the largest wealth so far.  ``past``: rows, sum of losses and first time of each block, newest
    last.  ``alarmed``: it has told.
    """

    name: str
    baseline: float
    limit: float
    margin: float
    alpha: float
    reference_rows: int
    wealth: tuple[float, ...] = (0.0,) * len(_BETS)
    entered: int = 0
    rows: int = 0
    most: float = 1.0
    past: tuple[tuple[int, float, int], ...] = ()
    alarmed: bool = False

    @property
    def p(self) -> float:
        """An always-valid p-value: small is evidence of decay, at any time."""
        return min(1.0, 1.0 / self.most)


@dataclass(frozen=True, slots=True)
class Decayed:
    """Performance has fallen. ``since_ms``: the most likely start.  ``now``: mean loss since then, over ``rows``.

    ``p``: always valid.
    """

    name: str
    at_ms: int
    since_ms: int
    baseline: float
    limit: float
    margin: float
    now: float
    rows: int
    p: float
    alpha: float

    @property
    def why(self) -> str:
        return (
            f"{self.name}: the loss rose from {self.baseline:.4f} to {self.now:.4f} over {self.rows} rows; at most "
            f"{self.limit:.4f} was to be expected (margin {self.margin:g}; always-valid p {self.p:.2g}, an alarm "
            f"from {self.alpha / 2:.2g} down)"
        )

    def as_evidence(self) -> dict[str, Any]:
        """Plain values, for a timeline line or a retrain request."""
        return asdict(self)


def start(name: str, reference: Array, *, margin: float = 0.01, alpha: float = 0.05) -> Decay:
    """A test against the losses of reference rows, held out from training. Raises UsageError for unusable ones."""
    reference = np.asarray(reference, dtype=np.float64)
    if len(reference) < 2 or not np.isfinite(reference).all() or reference.min() < 0 or reference.max() > 1:
        raise UsageError(
            f"the reference of {name!r} needs at least 2 rows with losses from 0 to 1; give rows that have labels"
        )
    if not 0 < alpha < 1 or margin < 0:
        raise UsageError(f"alpha {alpha} must be between 0 and 1, and margin {margin} at least 0")
    mean = float(reference.mean())
    limit = min(_upper(reference, mean, alpha / 2) + margin, 1.0)
    return Decay(name, mean, limit, margin, alpha, len(reference))


def step(state: Decay, losses: Array, at_ms: Array) -> tuple[Decay, Decayed | None]:
    """Look at more rows (losses in [0, 1] and times, oldest first). Tells once; start a new test after a retrain."""
    losses = np.asarray(losses, dtype=np.float64)
    if losses.size and not (losses.min() >= 0 and losses.max() <= 1):
        raise UsageError(f"a loss of {state.name!r} is not in [0, 1]; scale it first")
    told = None
    place = 0
    while place < len(losses):
        inside = state.rows % BLOCK
        size = min(BLOCK - inside, len(losses) - place)
        part = losses[place : place + size]
        state = _bet(state, part, int(at_ms[place]), fresh=inside == 0)
        place += size
        if told is None and not state.alarmed and state.most >= 2 / state.alpha:
            state = replace(state, alarmed=True)
            told = _tell(state, int(at_ms[place - 1]))
    return state, told


def _bet(state: Decay, losses: Array, at_ms: int, *, fresh: bool) -> Decay:
    """At most one block. ``fresh``: it begins a block, so money enters first."""
    if state.limit >= 1:  # no loss can be above it
        return replace(state, rows=state.rows + len(losses))
    entered = state.entered + fresh
    wealth = np.array(state.wealth)
    if fresh:
        wealth += 1.0 / (entered * (entered + 1)) / len(_BETS)  # 1/2, 1/6, 1/12 ...: adds up to 1
    bets = np.array(_BETS) / state.limit
    growth = np.cumsum(np.log1p(bets[:, None] * (losses - state.limit)[None, :]), axis=1)
    with np.errstate(over="ignore"):
        path = np.minimum(wealth[:, None] * np.exp(growth), _RICHEST)
    most = float(path.sum(axis=0).max()) + 1.0 / (entered + 1)
    past = state.past
    if fresh:
        past = (*past, (len(losses), float(losses.sum()), at_ms))[-_KEPT:]
    else:
        rows, total, first = past[-1]
        past = (*past[:-1], (rows + len(losses), total + float(losses.sum()), first))
    return replace(
        state,
        wealth=tuple(path[:, -1].tolist()),
        entered=entered,
        rows=state.rows + len(losses),
        most=max(state.most, most),
        past=past,
    )


def _tell(state: Decay, at_ms: int) -> Decayed:
    """The likeliest stretch of blocks (Page 1954): it may have ended before the row at which the test told."""
    rows, sums, times = (np.array(one) for one in zip(*state.past, strict=True))
    before = np.concatenate([[0], np.cumsum(rows)]), np.concatenate([[0.0], np.cumsum(sums)])
    rows_of, sums_of = (ends[None, 1:] - ends[:-1, None] for ends in before)  # [first block, last block]
    mean = np.clip(sums_of / np.maximum(rows_of, 1), state.limit, 1.0)
    weight = np.where(rows_of > 0, rows_of * _kl(mean, state.limit), -1.0)
    place, last = np.unravel_index(int(np.argmax(weight)), weight.shape)
    return Decayed(
        state.name,
        at_ms,
        int(times[place]),
        state.baseline,
        state.limit,
        state.margin,
        float(sums_of[place, last] / rows_of[place, last]),
        int(rows_of[place, last]),
        state.p,
        state.alpha,
    )


def _kl(a: Any, b: float) -> Any:
    """Relative entropy of two coins."""
    a = np.clip(a, 1e-12, 1 - 1e-12)
    return a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))


def _upper(losses: Array, mean: float, alpha: float) -> float:
    """An upper bound of the mean that holds with probability 1 - alpha, at any number of rows.

    Zeros and ones: exact (Clopper and Pearson 1934). Other values in [0, 1]: Chernoff's bound (Hoeffding 1963).
    """
    n = len(losses)
    if mean >= 1:
        return 1.0
    if np.all((losses == 0) | (losses == 1)):
        ones = round(float(losses.sum()))
        return float(beta.ppf(1 - alpha, ones + 1, n - ones))
    room = float(np.log(1 / alpha)) / n
    top = 1 - 1e-12
    if float(_kl(mean, top)) <= room:
        return 1.0
    return float(brentq(lambda at: float(_kl(mean, at)) - room, max(mean, 1e-12), top))


def losses_of(metric: str, answers: Answers, *, scale: float = 1.0) -> tuple[Array, Array]:
    """Losses in [0, 1] whose mean tells of a metric, and the places of the rows that each one became known with.

    accuracy: 1 where wrong.  recall: of rows of the positive class.  precision: of rows predicted positive.
    roc_auc: of disjoint pairs of a positive and a negative row in their order, 1 where they score the wrong way round
    (mean: 1 - AUC).  brier: halved for more than two classes.  log_loss: over 10 nats counts as 10.  mae, rmse:
    absolute and squared error as a share of ``scale`` (its square), at most 1.  f1 and r2 are no mean of rows.
    """
    every = np.arange(len(answers))
    kind = "regression" if not answers.classes else "binary" if answers.classes == 2 else "multiclass"
    if metric == "roc_auc" and kind == "binary":
        return _pairs(answers.label, answers.scores)
    if metric == "log_loss" and answers.classes:
        return np.minimum(log_losses(answers) / _LOG_WORST, 1.0), every
    if metric == "brier" and answers.classes:
        return brier_losses(answers) / (1 if kind == "binary" else 2), every
    if metric in ("mae", "rmse") and kind == "regression":
        error = np.minimum(np.abs(answers.decisions - answers.label) / scale, 1.0)
        return error**2 if metric == "rmse" else error, every
    if metric == "accuracy" and answers.classes:
        return (answers.decisions != answers.label).astype(np.float64), every
    if metric in ("recall", "precision") and kind == "binary":
        rows = np.flatnonzero((answers.label if metric == "recall" else answers.decisions) == 1)
        return (answers.decisions != answers.label)[rows].astype(np.float64), rows
    raise UsageError(
        f"{metric} of these predictions is no mean of losses row by row, which this test needs; watch accuracy, "
        "roc_auc, brier, log_loss, recall or precision, or mae of a regression"
    )


def _pairs(label: Array, score: Array) -> tuple[Array, Array]:
    above, below = np.flatnonzero(label == 1), np.flatnonzero(label != 1)
    count = min(len(above), len(below))
    above, below = above[:count], below[:count]
    wrong = np.where(score[above] < score[below], 1.0, np.where(score[above] == score[below], 0.5, 0.0))
    rows = np.maximum(above, below)
    order = np.argsort(rows, kind="stable")
    return wrong[order], rows[order]
