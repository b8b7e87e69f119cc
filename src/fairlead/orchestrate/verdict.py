"""Is the candidate as good as the champion? One check for each gate, from counts of both arms. Pure.

A gate fails when the candidate is confidently worse than its margin, passes when it is confidently not, and is
inconclusive between. Two error rates are kept apart:

- a false abort: each of all gates at all steps may fail wrongly with ``alpha / comparisons`` (Bonferroni);
- a false pass: a candidate that is worse in some gate passes only when that very gate passes wrongly, so ``alpha``
  needs no division (intersection-union test, Berger 1982).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Answer, Check, Evidence
from fairlead.orchestrate import sequential
from fairlead.orchestrate.observed import Arm, Array, Observed

SAMPLE_RATIO = "sample_ratio"
"""Name of the check that alarms when the calls do not follow the asked split."""
_LATENCY = re.compile(r"latency_p(\d{1,2}(?:\.\d+)?)")
_MARGINS = {"error_rate": 0.005, "latency": 1.25, "prediction_drift": 0.2, "flip_rate": 0.2}
_FEWEST_VALUES = 100
"""A mean's confidence sequence is asymptotic: below this many values in an arm it says nothing."""
_SMALLEST_LOG, _LARGEST_LOG = -700.0, 700.0


@dataclass(frozen=True, slots=True)
class Gate:
    """What is compared, and how much worse the candidate may be.

    ``error_rate``: margin in absolute rate (0.005: half a point).  ``latency_pNN``: ratio of the quantiles (1.25).
    ``prediction_drift``: largest difference of the scores' distribution functions.  ``flip_rate``: share of decisions
    that differ on the same calls (shadow only).  ``mean:METRIC``: in the metric's unit, of feedback.
    """

    name: str
    margin: float
    higher_is_better: bool = True


def gate(name: str, margin: float | None = None, *, higher_is_better: bool = True) -> Gate:
    """A gate by name, with its default margin. Raises UsageError."""
    kind = "latency" if _LATENCY.fullmatch(name) else name
    if kind not in _MARGINS and not (name.startswith("mean:") and len(name) > len("mean:")):
        known = "error_rate, latency_p50, latency_p99, prediction_drift, flip_rate, mean:METRIC"
        raise UsageError(f"gate {name!r} is not known; the gates are {known}")
    if kind == "latency" and float(name.removeprefix("latency_p")) <= 0.0:
        raise UsageError(f"gate {name!r}: the percentile must lie between 0 and 100")
    if margin is None and kind not in _MARGINS:
        raise UsageError(f"gate {name!r} needs a margin in the metric's unit: how much worse the candidate may be")
    chosen = _MARGINS[kind] if margin is None else margin
    lowest = 1.0 if kind == "latency" else 0.0
    highest = math.inf if kind == "latency" or name.startswith("mean:") else 1.0
    if not lowest < chosen < highest:
        raise UsageError(f"gate {name!r}: margin {chosen:g} must lie above {lowest:g} and below {highest:g}")
    return Gate(name, float(chosen), higher_is_better)


def look(
    observed: Observed,
    gates: Sequence[Gate],
    *,
    alpha: float,
    comparisons: int,
    paired: bool = False,
    shares: tuple[float, float] | None = None,
) -> tuple[Check, ...]:
    """One check for each gate that can be judged here, and the sample-ratio check when ``shares`` are given.

    ``comparisons``: gates times steps over the whole rollout.  ``paired``: shadow, both versions saw the same calls;
    gates on feedback have no place there, and flips only there.  ``shares``: asked weights of champion and candidate.
    """
    levels = Levels.of(alpha, comparisons)
    checks = [_checked(one, observed, levels, paired) for one in gates if judged(one, paired=paired)]
    if shares is not None:
        checks.append(_ratio(observed, shares, levels.fail))
    return tuple(checks)


def judged(one: Gate, *, paired: bool) -> bool:
    """Whether a gate has a place in shadow (``paired``) or in a canary."""
    return not one.name.startswith("mean:") if paired else one.name != "flip_rate"


def overall(checks: Sequence[Check]) -> Answer:
    """Fail when one fails, pass when there are some and all pass, inconclusive otherwise."""
    if any(check.answer is Answer.FAIL for check in checks):
        return Answer.FAIL
    gated = [check for check in checks if check.name != SAMPLE_RATIO]
    return Answer.PASS if gated and all(check.answer is Answer.PASS for check in checks) else Answer.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Levels:
    """Chances of error of one gate at one step: to ``fail`` and to pass (``passes``) wrongly."""

    fail: float
    passes: float

    @classmethod
    def of(cls, alpha: float, comparisons: int) -> Levels:
        """``comparisons``: see ``look``."""
        return cls(alpha / max(comparisons, 1), alpha)

    @property
    def fail_at(self) -> float:
        """Logarithm of the evidence at which a gate fails."""
        return -math.log(self.fail)

    @property
    def pass_at(self) -> float:
        return -math.log(self.passes)


def _checked(one: Gate, observed: Observed, levels: Levels, paired: bool) -> Check:
    champion, candidate = observed.champion, observed.candidate
    if not champion.calls or not candidate.calls:
        silent = "candidate" if not candidate.calls else "champion"
        return Check(one.name, Answer.INCONCLUSIVE, f"the {silent} has no calls yet", {"margin": one.margin})
    if one.name == "error_rate":
        return _errors(one, champion, candidate, levels, paired)
    if one.name == "prediction_drift":
        return _drift(one, champion, candidate, levels)
    if one.name == "flip_rate":
        return _flips(one, observed, levels)
    if one.name.startswith("mean:"):
        return _mean(one, champion, candidate, levels)
    return _latency(one, observed, levels, paired)


def _errors(one: Gate, champion: Arm, candidate: Arm, levels: Levels, paired: bool) -> Check:
    control, treated = (champion.errors, champion.calls), (candidate.errors, candidate.calls)
    worse = sequential.log_evidence_rates(control, treated, one.margin, worse=True, paired=paired)
    fine = sequential.log_evidence_rates(control, treated, one.margin, worse=False, paired=paired)
    answer = _decided(worse, fine, levels)
    if answer is Answer.PASS and 2 * candidate.errors >= candidate.calls:
        answer = Answer.INCONCLUSIVE  # the champion fails as well: whatever is broken, this is no evidence
    why = (
        f"{candidate.errors} of {candidate.calls} calls failed ({candidate.errors / candidate.calls:.2%}), "
        f"champion {champion.errors} of {champion.calls} ({champion.errors / champion.calls:.2%}), "
        f"{one.margin:.2%} more allowed"
    )
    seen = {"candidate": list(treated), "champion": list(control)}
    return Check(one.name, answer, why, _evidence(one, levels, worse, fine, **seen))


def _latency(one: Gate, observed: Observed, levels: Levels, paired: bool) -> Check:
    champion, candidate, edges = observed.champion.latency, observed.candidate.latency, observed.edges
    if not np.sum(champion) or not np.sum(candidate):
        return Check(one.name, Answer.INCONCLUSIVE, "an arm has answered no call", {"margin": one.margin})
    level = float(one.name.removeprefix("latency_p")) / 100.0
    worse, fine = (
        sequential.log_evidence_quantile(champion, candidate, edges, level, one.margin, worse=side, paired=paired)
        for side in (True, False)
    )
    at, was = quantile(candidate, edges, level), quantile(champion, edges, level)
    why = f"{at * 1e3:.3g} ms, champion {was * 1e3:.3g} ms, {one.margin:g} times as much allowed"
    answer = _decided(worse, fine, levels)
    return Check(one.name, answer, why, _evidence(one, levels, worse, fine, candidate=at, champion=was))


def _drift(one: Gate, champion: Arm, candidate: Arm, levels: Levels) -> Check:
    n, m = int(np.sum(champion.scores)), int(np.sum(candidate.scores))
    if not n or not m:
        return Check(one.name, Answer.INCONCLUSIVE, "an arm has no scores yet", {"margin": one.margin})
    distance = sequential.distribution_distance(champion.scores, candidate.scores)
    wide, narrow = (
        sequential.distribution_radius(n, level / 2) + sequential.distribution_radius(m, level / 2)
        for level in (levels.fail, levels.passes)
    )
    answer = _within(distance, one.margin, wide, narrow)
    why = f"the distributions of the scores differ by {distance:.3f}, {one.margin:g} allowed"
    seen = {"distance": distance, "scores": [m, n], "margin": one.margin, "alpha": levels.fail}
    return Check(one.name, answer, why, {**seen, "radius_fail": wide, "radius_pass": narrow})


def _flips(one: Gate, observed: Observed, levels: Levels) -> Check:
    if not observed.pairs:
        return Check(one.name, Answer.INCONCLUSIVE, "no call was answered by both versions", {"margin": one.margin})
    worse, fine = (
        float(sequential.log_evidence_rate(observed.flips, observed.pairs, one.margin, above=side))
        for side in (True, False)
    )
    share = observed.flips / observed.pairs
    why = f"{observed.flips} of {observed.pairs} decisions differ ({share:.2%}), {one.margin:.2%} allowed"
    answer = _decided(worse, fine, levels)
    return Check(one.name, answer, why, _evidence(one, levels, worse, fine, candidate=[observed.flips, observed.pairs]))


def _mean(one: Gate, champion: Arm, candidate: Arm, levels: Levels) -> Check:
    metric = one.name.removeprefix("mean:")
    was, now = champion.means.get(metric), candidate.means.get(metric)
    fewest = min(was.count if was else 0, now.count if now else 0)
    if was is None or now is None or fewest < _FEWEST_VALUES:
        why = f"{metric}: {fewest} values in the smaller arm, {_FEWEST_VALUES} needed"
        return Check(one.name, Answer.INCONCLUSIVE, why, {"margin": one.margin})
    lost = (was.mean - now.mean) * (1.0 if one.higher_is_better else -1.0)
    variance = now.variance + was.variance * now.count / was.count
    wide, narrow = (sequential.mean_radius(now.count, variance, level) for level in (levels.fail, levels.passes))
    answer = _within(lost, one.margin, wide, narrow)
    why = f"{metric} {now.mean:.4g}, champion {was.mean:.4g}: {lost:.4g} worse, {one.margin:g} allowed"
    seen = {"candidate": now.mean, "champion": was.mean, "values": [now.count, was.count], "margin": one.margin}
    return Check(one.name, answer, why, {**seen, "radius_fail": wide, "radius_pass": narrow, "alpha": levels.fail})


def _ratio(observed: Observed, shares: tuple[float, float], alpha: float) -> Check:
    calls = np.array(observed.ended or (observed.champion.calls, observed.candidate.calls))
    found = sequential.log_evidence_ratio(calls, np.array(shares))
    mismatch = found >= -math.log(alpha)
    why = (
        f"the candidate got {calls[1]} of {calls.sum()} calls, {shares[1]:g} % was asked"
        f"{': calls are missing or go astray' if mismatch else ', no mismatch'}"
    )
    seen = {"calls": calls.tolist(), "asked": list(shares), "log_evidence": _finite(found), "alpha": alpha}
    return Check(SAMPLE_RATIO, Answer.FAIL if mismatch else Answer.PASS, why, seen)


def _decided(worse: float, fine: float, levels: Levels) -> Answer:
    if worse >= levels.fail_at:
        return Answer.FAIL
    return Answer.PASS if fine >= levels.pass_at else Answer.INCONCLUSIVE


def _within(value: float, margin: float, wide: float, narrow: float) -> Answer:
    if value - wide > margin:
        return Answer.FAIL
    return Answer.PASS if value + narrow < margin else Answer.INCONCLUSIVE


def _evidence(one: Gate, levels: Levels, worse: float, fine: float, **seen: object) -> Evidence:
    found = {"log_evidence_worse": _finite(worse), "log_evidence_fine": _finite(fine), **seen}
    return {**found, "margin": one.margin, "alpha": levels.fail, "alpha_pass": levels.passes}


def _finite(value: float) -> float:
    return min(max(value, _SMALLEST_LOG), _LARGEST_LOG)


def quantile(counts: Array, edges: Array, level: float) -> float:
    """Upper edge of the bin in which the quantile lies."""
    reached = np.cumsum(counts) >= level * np.sum(counts)
    return float(edges[1 + int(np.argmax(reached))])
