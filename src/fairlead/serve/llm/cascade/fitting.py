"""From labelled answers to a threshold that keeps a promise. Pure.

A row has how sure the cheap model was, and whether it and the dear one were right. What is lost by keeping an answer: 1
where the cheap one was wrong and the dear one right, else 0; an answer that is not kept loses nothing. The threshold is
the least at which the upper bound of the mean loss is at most ``max_loss``. As the loss only falls when the threshold
rises, that holds with probability 1 - delta for calls that are like the rows (Bates et al., "Distribution-free,
risk-controlling prediction sets", JACM 68 (2021), theorem 1; the bound of a share is exact here).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.contracts.errors import UsageError
from fairlead.serve.llm.cascade.bounds import allowed, lower, needed, upper

_BINS: Final = 10
SHARES: Final = tuple(one / 10 for one in range(11))


class Row(NamedTuple):
    """One labelled call."""

    score: float
    cheap: bool
    big: bool

    @property
    def lost(self) -> bool:
        """What is lost where the cheap answer is kept."""
        return self.big and not self.cheap


class Fitted(NamedTuple):
    """``threshold``: infinity where no answer may be kept.  ``kept``: share of answers that are.

    ``loss``, ``low``, ``high``: of the rows, and the bounds, each at ``delta``.
    ``bins``: mean score, share of cheap answers that were right, and rows, of tenths of the rows by score.
    """

    threshold: float
    kept: float
    loss: float
    low: float
    high: float
    bins: tuple[tuple[float, float, int], ...]


def fit(rows: Sequence[Row], max_loss: float, delta: float) -> Fitted:
    """Raises UsageError where there are too few rows to promise anything."""
    count = len(rows)
    if count < needed(max_loss, delta):
        raise UsageError(
            f"{count} rows are too few to promise a loss of at most {max_loss:g} with {1 - delta:.0%}: "
            f"{needed(max_loss, delta)} are needed at least; label more, or allow more loss"
        )
    ordered = sorted(rows, key=lambda row: -row.score)
    most = allowed(count, max_loss, delta)
    threshold, best, lost, at = math.inf, 0, 0, 0
    lost_best = 0
    while at < count:
        score = ordered[at].score
        while at < count and ordered[at].score == score:
            lost += ordered[at].lost
            at += 1
        if lost > most:
            break
        threshold, best, lost_best = score, at, lost
    return Fitted(
        threshold, best / count, lost_best / count, lower(lost_best, count, delta), upper(lost_best, count, delta),
        _bins(ordered[::-1]),
    )  # fmt: skip


def checked(rows: Sequence[Row], threshold: float, delta: float) -> Fitted:
    """How a threshold does on rows that it was not fitted on."""
    kept = [row for row in rows if row.score >= threshold]
    lost = sum(row.lost for row in kept)
    count = len(rows)
    bins = _bins(sorted(rows, key=lambda row: row.score))
    return Fitted(
        threshold, len(kept) / count, lost / count, lower(lost, count, delta), upper(lost, count, delta), bins
    )


class Point(NamedTuple):
    """Share of right answers where ``share`` of the calls go to the dear model.

    ``quality``: the least sure ones.  ``random``: any.  ``oracle``: the best choice.
    """

    share: float
    quality: float
    random: float
    oracle: float


def frontier(rows: Sequence[Row]) -> list[Point]:
    """What each share of escalated calls brings."""
    count = len(rows)
    cheap, big = sum(row.cheap for row in rows) / count, sum(row.big for row in rows) / count
    by_score = sorted(rows, key=lambda row: row.score)
    by_gain = sorted(rows, key=lambda row: row.cheap - row.big)
    found = []
    for share in SHARES:
        first = round(share * count)
        found.append(Point(share, _right(by_score, first), cheap + share * (big - cheap), _right(by_gain, first)))
    return found


def recovered(points: Sequence[Point]) -> float:
    """Mean share of the gap between the two models that is closed (Ong et al., "RouteLLM", 2024: APGR).

    0.5 is what chance gets."""
    low, high = points[0].quality, points[-1].quality
    return sum((one.quality - low) / (high - low) for one in points) / len(points) if high > low else 0.0


def _right(ordered: Sequence[Row], first: int) -> float:
    """Share of right answers where the ``first`` go to the dear model."""
    right = sum(row.big for row in ordered[:first]) + sum(row.cheap for row in ordered[first:])
    return right / len(ordered)


def _bins(ordered: Sequence[Row]) -> tuple[tuple[float, float, int], ...]:
    found = []
    for number in range(_BINS):
        part = ordered[number * len(ordered) // _BINS : (number + 1) * len(ordered) // _BINS]
        if part:
            score = sum(row.score for row in part) / len(part)
            found.append((score, sum(row.cheap for row in part) / len(part), len(part)))
    return tuple(found)
