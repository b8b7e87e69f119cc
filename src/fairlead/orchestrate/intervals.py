"""How much worse the candidate may be, as far as a look says: the confidence sequence behind each gate. Pure.

The tests of ``verdict.py`` turned round: the bounds are the margins at which a gate would just fail, and just pass.
So a gate with ``lower`` at or over its margin fails and one with ``upper`` at or under it passes, and each bound holds
over all looks together: the lower one with the gate's part of ``alpha`` for a false abort, the upper one with
``alpha`` for a false pass (Howard, Ramdas, McAuliffe & Sekhon 2021: a confidence sequence is what no test rejects).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.contracts.plans import Check
from fairlead.orchestrate import sequential
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.verdict import Gate, Levels, quantile

_FAR = math.log(1000.0)
"""Ratios of quantiles are looked for up to a thousand times, and down to a thousandth."""


@dataclass(frozen=True, slots=True)
class Interval:
    """In the unit of the gate's margin, larger where the candidate is worse. ``upper`` None: nothing bounds it yet."""

    estimate: float
    lower: float
    upper: float | None


def interval(one: Gate, check: Check, observed: Observed, levels: Levels, *, paired: bool) -> Interval | None:
    """``check``: what the gate says of ``observed``. None where an arm has nothing to compare.

    ``error_rate``: difference of the rates.  ``latency_pNN``: ratio of the quantiles.  ``prediction_drift``: distance
    of the distributions.  ``flip_rate``: share.  ``mean:METRIC``: how much worse.
    """
    seen = check.evidence
    if "alpha" not in seen:
        return None
    if one.name == "error_rate":
        return _rates(one, observed, levels, paired)
    if one.name == "flip_rate":
        return _share(one, observed, levels)
    if one.name == "prediction_drift":
        found = seen["distance"]
        return Interval(found, max(0.0, found - seen["radius_fail"]), min(1.0, found + seen["radius_pass"]))
    if one.name.startswith("mean:"):
        lost = (seen["champion"] - seen["candidate"]) * (1.0 if one.higher_is_better else -1.0)
        return Interval(lost, lost - seen["radius_fail"], lost + seen["radius_pass"])
    return _quantiles(one, observed, levels, paired)


def _rates(one: Gate, observed: Observed, levels: Levels, paired: bool) -> Interval:
    champion, candidate = observed.champion, observed.candidate
    control, treated = (champion.errors, champion.calls), (candidate.errors, candidate.calls)

    def evidence(margin: float, worse: bool) -> float:
        return sequential.log_evidence_rates(control, treated, margin, worse=worse, paired=paired)

    estimate = candidate.errors / candidate.calls - champion.errors / champion.calls
    return Interval(estimate, *_turned(evidence, levels, one.margin, estimate, (-1.0, 1.0), _Pace(1e-3, 1e-6)))


def _share(one: Gate, observed: Observed, levels: Levels) -> Interval:
    hits, calls = observed.flips, observed.pairs

    def evidence(limit: float, worse: bool) -> float:
        if not 0.0 < limit < 1.0:
            return -math.inf
        return float(sequential.log_evidence_rate(hits, calls, limit, above=worse))

    ends = (1e-9, 1.0 - 1e-9)
    return Interval(hits / calls, *_turned(evidence, levels, one.margin, hits / calls, ends, _Pace(1e-3, 1e-6)))


def _quantiles(one: Gate, observed: Observed, levels: Levels, paired: bool) -> Interval:
    champion, candidate, edges = observed.champion.latency, observed.candidate.latency, observed.edges
    level = float(one.name.removeprefix("latency_p")) / 100.0

    def evidence(log_ratio: float, worse: bool) -> float:
        return sequential.log_evidence_quantile(
            champion, candidate, edges, level, math.exp(log_ratio), worse=worse, paired=paired
        )

    with np.errstate(invalid="ignore"):  # both in the open bin: nothing is known of the ratio
        ratio = float(np.float64(quantile(candidate, edges, level)) / quantile(champion, edges, level))
    ratio = 1.0 if math.isnan(ratio) else min(max(ratio, math.exp(-_FAR)), math.exp(_FAR))
    margin, pace = math.log(one.margin), _Pace(0.05, 2e-3)
    lower, upper = _turned(evidence, levels, margin, math.log(ratio), (-_FAR, _FAR), pace)
    ratio = math.exp(min(max(math.log(ratio), lower), upper))  # the quantiles are known to a bin only
    return Interval(ratio, math.exp(lower) if lower > -_FAR else 0.0, math.exp(upper) if upper < _FAR else None)


@dataclass(frozen=True, slots=True)
class _Pace:
    """``step``: the first one away from the estimate.  ``tolerance``: of the bound that is found."""

    step: float
    tolerance: float


def _turned(
    evidence: Callable[[float, bool], float],
    levels: Levels,
    margin: float,
    estimate: float,
    ends: tuple[float, float],
    pace: _Pace,
) -> tuple[float, float]:
    """The largest margin of which the candidate is shown to be worse, and the smallest of which it is not."""
    worse = _last(lambda at: evidence(at, True) >= levels.fail_at, margin, estimate, ends[0], pace)
    fine = _last(lambda at: evidence(at, False) >= levels.pass_at, margin, estimate, ends[1], pace)
    return worse, fine


def _last(rejects: Callable[[float], bool], margin: float, inside: float, end: float, pace: _Pace) -> float:
    """The rejected value nearest to ``inside``, which is none, on the way to ``end``; ``end`` when it is none either.

    ``margin`` is asked first, so that the bound lies on the side of it that the gate's answer says.
    """
    if not rejects(end):
        return end
    sign, outside = (1.0 if end > inside else -1.0), None
    beyond = sign * (margin - inside) > 0.0
    if rejects(margin):
        if not beyond:  # of quantiles, which are known to a bin only
            return margin
        outside = margin
    elif beyond:
        inside = margin
    step = pace.step
    while outside is None:
        at = inside + sign * step
        if sign * (end - at) <= 0.0:
            outside = end
        elif rejects(at):
            outside = at
        else:
            inside, step = at, 2.0 * step
    while abs(outside - inside) > pace.tolerance:
        middle = (outside + inside) / 2.0
        if rejects(middle):
            outside = middle
        else:
            inside = middle
    return outside
