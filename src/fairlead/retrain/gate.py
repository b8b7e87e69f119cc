"""Is the challenger good enough? Pure: arrays of both models' answers on the same held-out rows in, a verdict out.

Each check has three answers. ``pass``: shown at the stated error level. ``fail``: the contrary is shown. Everything
else is ``inconclusive``, and only a verdict all of whose checks pass moves anything.

**Looking again.** The k-th challenger on one hold-out is tested at ``alpha / (k (k + 1))``, which adds up to ``alpha``
over any number of looks: with probability ``1 - alpha`` none of them passes by luck.

**Slices.** All slices must pass, so each is tested at the full level (intersection-union, Berger 1982): a model that is
too bad on one slice passes with probability ``alpha`` at most. One slice is enough to fail, so failing is corrected for
their number (Bonferroni): a model that is good on all fails with probability ``alpha`` at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Answer, Check, Verdict
from fairlead.retrain import scores
from fairlead.retrain.paired import Lift, compare, ratio

Array = np.ndarray[Any, Any]

_POLICIES = ("superiority", "non-inferiority")
_MANY = 12  # more distinct numbers than this are cut into quarters


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a challenger must show.

    ``policy``: ``superiority`` (the lift's lower bound is above ``min_lift``) or ``non-inferiority`` (above
    ``-margin``, and the training data are fresher), for scheduled refreshes.  ``alpha``: one-sided error of the gate.
    ``slices``: columns of the hold-out; each of their values with ``min_slice_rows`` rows may lose ``slice_margin``.
    ``calibration``: ``ece``, ``brier`` or empty, which may grow by ``calibration_margin``.
    ``max_latency_ratio``, ``max_size_ratio``: of the champion's; 0 for no limit.
    ``parity``: refuse a version whose conversion disagreed, although its original serves.
    ``max_uses``: looks at one hold-out before a new one is asked for.
    ``block``: held-out rows that depend on each other in time, for a block bootstrap; 1 for independent rows.
    """

    metric: str = "roc_auc"
    min_lift: float = 0.0
    alpha: float = 0.05
    policy: str = "superiority"
    margin: float = 0.01
    min_rows: int = 200
    slices: tuple[str, ...] = ()
    slice_margin: float = 0.05
    min_slice_rows: int = 100
    calibration: str = ""
    calibration_margin: float = 0.02
    max_latency_ratio: float = 2.0
    max_size_ratio: float = 0.0
    parity: bool = False
    max_uses: int = 20
    block: int = 1

    def __post_init__(self) -> None:
        scores.metric(self.metric)
        if self.policy not in _POLICIES:
            raise UsageError(f"gate.policy is {self.policy!r}; one of {', '.join(_POLICIES)}")
        if self.calibration not in ("", "ece", "brier"):
            raise UsageError(f"gate.calibration is {self.calibration!r}; ece, brier or nothing")
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"gate.alpha is {self.alpha}; give a number between 0 and 0.5, as 0.05")
        if min(self.margin, self.slice_margin, self.calibration_margin) < 0:
            raise UsageError("a margin of the gate is negative; it is what may be lost, 0 or more")
        if min(self.block, self.min_rows, self.min_slice_rows, self.max_uses) < 1:
            raise UsageError("gate.block, min_rows, min_slice_rows and max_uses are 1 or more")


@dataclass(frozen=True, slots=True)
class Answers:
    """One model on the held-out rows.

    ``score``: P(class 1), or the value of a regression.  ``label``: class code.  ``seconds``: for the same few rows, of
    each round in which both models took turns.  ``size``: bytes.  Both None when not measured.  ``problem``: what the
    model raised instead of answering.
    """

    score: Array | None = None
    label: Array | None = None
    seconds: Array | None = None
    size: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class GateInput:
    """What the gate looks at. Rows of all arrays are the same rows, oldest first.

    ``truth``: class codes from 0 (two classes: 1 is the positive one), or values.  ``rival``: the champion's answers;
    a constant baseline's when there is no champion (``against`` is then empty).  ``slices``: column name to values.
    ``time``: of each row, ascending; ``trained_until``: the newest row of training, in the same unit.
    ``fresh``: the challenger saw newer data than the champion, None when nobody knows; ``fresh_why`` says how.
    ``agrees``: the conversion's parity, None when nothing was converted.  ``uses``: earlier looks at this hold-out.
    """

    id: str
    model: str
    version: str
    against: str
    at_ms: int
    truth: Array
    challenger: Answers
    rival: Answers
    slices: Mapping[str, Array] = field(default_factory=dict)
    time: Array | None = None
    trained_until: float | None = None
    fresh: bool | None = None
    fresh_why: str = ""
    agrees: bool | None = None
    uses: int = 0
    seed: int = 0


def decide(policy: GatePolicy, evidence: GateInput) -> Verdict:
    """The verdict, with a check for each thing that was asked for. Every check has its numbers."""
    checks = list(_grounds(policy, evidence))
    if all(check.answer is Answer.PASS for check in checks):
        checks += _comparisons(policy, evidence)
    return Verdict(
        id=evidence.id,
        about="gate",
        model=evidence.model,
        version=evidence.version,
        against=evidence.against,
        answer=overall(checks),
        checks=tuple(checks),
        at_ms=evidence.at_ms,
    )


def overall(checks: list[Check]) -> Answer:
    """Fail when one fails, inconclusive when one is, else pass. Nothing looked at is inconclusive."""
    found = {check.answer for check in checks}
    for answer in (Answer.FAIL, Answer.INCONCLUSIVE):
        if answer in found:
            return answer
    return Answer.PASS if found else Answer.INCONCLUSIVE


def spent(alpha: float, uses: int) -> float:
    """The error level of the next look after ``uses`` earlier ones: ``alpha / (k (k + 1))`` for the k-th."""
    return alpha / ((uses + 1) * (uses + 2))


def _grounds(policy: GatePolicy, evidence: GateInput) -> Iterator[Check]:
    """Whether there is anything to compare on."""
    yield _rows(policy, evidence)
    yield _answered(policy, evidence)
    yield _ordered(evidence)
    yield _looks(policy, evidence)


def _rows(policy: GatePolicy, evidence: GateInput) -> Check:
    rows, asked = len(evidence.truth), scores.metric(policy.metric).classes
    different = len(np.unique(evidence.truth))
    numbers = {"rows": rows, "needed": policy.min_rows, "different": different}
    if rows < policy.min_rows:
        why = f"{rows} held-out rows, and {policy.min_rows} are needed"
        return Check("holdout", Answer.INCONCLUSIVE, why, numbers)
    if different < asked:
        why = f"all {rows} held-out rows have the same target: {policy.metric} is not defined"
        return Check("holdout", Answer.INCONCLUSIVE, why, numbers)
    if policy.metric in scores.BINARY and set(np.unique(evidence.truth)) - {0, 1}:
        why = f"{policy.metric} needs two classes, and the hold-out has {different} or unknown ones; try accuracy"
        return Check("holdout", Answer.INCONCLUSIVE, why, numbers)
    return Check("holdout", Answer.PASS, f"{rows} held-out rows", numbers)


def _answered(policy: GatePolicy, evidence: GateInput) -> Check:
    """The challenger must answer every row; a champion that does not cannot be compared with."""
    metrics = [policy.metric, *([policy.calibration] if policy.calibration and evidence.against else [])]
    for who, answers, bad in (
        ("challenger", evidence.challenger, Answer.FAIL),
        ("champion" if evidence.against else "baseline", evidence.rival, Answer.INCONCLUSIVE),
    ):
        for name in metrics:
            values = _used(name, answers)
            if values is None:
                why = f"the {who} gives no {scores.metric(name).uses}, which {name} needs"
                if answers.problem:
                    return Check("answers", bad, f"{why}: {answers.problem}")
                return Check("answers", Answer.INCONCLUSIVE, why)
            missing = int(np.sum(~np.isfinite(values.astype(float)))) + abs(len(values) - len(evidence.truth))
            if missing:
                why = f"the {who} answers {missing} of {len(evidence.truth)} held-out rows without a finite number"
                return Check("answers", bad, why, {"missing": missing})
    return Check("answers", Answer.PASS, f"both answer all {len(evidence.truth)} rows")


def _ordered(evidence: GateInput) -> Check:
    """A hold-out is the newest rows: what was trained on must be older."""
    if evidence.time is None or not len(evidence.time):
        return Check("time order", Answer.PASS, "no time column: the order of the rows is taken for the order of time")
    first = float(evidence.time[0])
    numbers = {"from": first, "until": float(evidence.time[-1]), "trained_until": evidence.trained_until}
    if bool(np.any(np.diff(evidence.time.astype(float)) < 0)):
        return Check("time order", Answer.FAIL, "held-out rows are not in order of time; sort them", numbers)
    if evidence.trained_until is not None and evidence.trained_until > first:
        why = f"training rows reach to {evidence.trained_until:g}, past the first held-out row at {first:g}"
        return Check("time order", Answer.FAIL, f"{why}; hold out the newest rows", numbers)
    return Check("time order", Answer.PASS, "held-out rows are newer than those of training, in order", numbers)


def _looks(policy: GatePolicy, evidence: GateInput) -> Check:
    look = evidence.uses + 1
    level = spent(policy.alpha, evidence.uses)
    numbers = {"look": look, "max_uses": policy.max_uses, "alpha": level}
    if look > policy.max_uses:
        why = f"look {look} at this hold-out, and {policy.max_uses} are allowed; hold out newer rows"
        return Check("hold-out use", Answer.INCONCLUSIVE, why, numbers)
    why = f"look {look} at this hold-out: tested at {level:.2g}, of {policy.alpha:g} for all looks"
    return Check("hold-out use", Answer.PASS, why, numbers)


def _comparisons(policy: GatePolicy, evidence: GateInput) -> Iterator[Check]:
    rng = np.random.default_rng(evidence.seed)
    alpha = spent(policy.alpha, evidence.uses)
    yield _lift(policy, evidence, alpha, rng)
    if evidence.against:
        if policy.policy == "non-inferiority":
            yield _freshness(evidence)
        if policy.slices:
            yield _slices(policy, evidence, alpha, rng)
        if policy.calibration:
            yield _calibration(policy, evidence, alpha, rng)
        if policy.max_latency_ratio:
            yield _latency(policy, evidence)
        if policy.max_size_ratio:
            yield _size(policy, evidence)
    if policy.parity:
        yield _parity(evidence)


def _lift(policy: GatePolicy, evidence: GateInput, alpha: float, rng: np.random.Generator) -> Check:
    refresh = policy.policy == "non-inferiority" and bool(evidence.against)
    null = -policy.margin if refresh else policy.min_lift
    found = _compared(policy.metric, evidence, slice(None), null, alpha, rng, policy.block)
    name = "non-inferiority" if refresh else "superiority" if evidence.against else "better than a baseline"
    why = (
        f"{policy.metric} {found.first:.4f} against {found.second:.4f}: lift {found.estimate:+.4f}, "
        f"at least {found.lower:+.4f} ({found.method}, alpha {alpha:.2g}, p {found.p:.2g}); above {null:+.4f} is asked"
    )
    return Check(name, _three(found, null), why, _numbers(policy.metric, found))


def _numbers(metric: str, found: Lift) -> dict[str, Any]:
    return {"metric": metric, **asdict(found)}


def _compared(
    name: str,
    evidence: GateInput,
    rows: slice | Array,
    null: float,
    alpha: float,
    rng: np.random.Generator,
    block: int,
) -> Lift:
    first, second = (_values(name, answers)[rows] for answers in (evidence.challenger, evidence.rival))
    metric = scores.metric(name)
    return compare(metric, evidence.truth[rows], first, second, null=null, alpha=alpha, rng=rng, block=block)


def _three(found: Lift, null: float) -> Answer:
    if found.lower > null:
        return Answer.PASS
    return Answer.FAIL if found.upper <= null else Answer.INCONCLUSIVE


def _freshness(evidence: GateInput) -> Check:
    answer = {True: Answer.PASS, False: Answer.FAIL, None: Answer.INCONCLUSIVE}[evidence.fresh]
    told = {
        True: "trained on newer data",
        False: "not trained on newer data",
        None: "nobody knows which data are newer",
    }
    return Check("freshness", answer, f"{told[evidence.fresh]}: {evidence.fresh_why or 'no times were given'}")


def _slices(policy: GatePolicy, evidence: GateInput, alpha: float, rng: np.random.Generator) -> Check:
    """Non-inferiority on each slice; the worst one decides."""
    absent = [name for name in policy.slices if name not in evidence.slices]
    if absent:
        return Check("slices", Answer.FAIL, f"the hold-out has no column {absent[0]!r}, which gate.slices names")
    wanted, classes = policy.min_slice_rows, scores.metric(policy.metric).classes
    tested, skipped = {}, {}
    for name, rows in _groups(policy.slices, evidence.slices):
        if len(rows) < wanted or len(np.unique(evidence.truth[rows])) < classes:
            skipped[name] = len(rows)
        else:
            tested[name] = rows
    if not tested:
        why = f"no slice of {', '.join(policy.slices)} has {wanted} rows and both classes"
        return Check("slices", Answer.INCONCLUSIVE, why, {"skipped": skipped})
    null = -policy.slice_margin
    found, lost = {}, []
    for name, rows in tested.items():
        found[name] = _compared(policy.metric, evidence, rows, null, alpha, rng, policy.block)
        strict = _compared(policy.metric, evidence, rows, null, alpha / len(tested), rng, policy.block)
        lost += [name] if strict.upper <= null else []
    name, worst = min(found.items(), key=lambda pair: pair[1].lower)
    answer = Answer.FAIL if lost else Answer.PASS if worst.lower > null else Answer.INCONCLUSIVE
    shown = lost[0] if lost else name
    why = (
        f"worst of {len(tested)} slices is {shown}: lift {found[shown].estimate:+.4f}, "
        f"at least {found[shown].lower:+.4f}; above {null:+.4f} is asked"
    )
    told = {
        one: {
            **_numbers(policy.metric, lift),
            "lift": lift.estimate,
            "answer": Answer.FAIL if one in lost else Answer.PASS if lift.lower > null else Answer.INCONCLUSIVE,
        }
        for one, lift in found.items()
    }
    return Check("slices", answer, why, {"slices": told, "lost": lost, "skipped": skipped, "alpha": alpha})


def _groups(names: tuple[str, ...], columns: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """``name=value`` and the rows of it; numbers with many values are cut into quarters."""
    for name in names:
        values = columns[name].reshape(-1)
        if values.dtype.kind in "iuf" and len(np.unique(values[~np.isnan(values.astype(float))])) > _MANY:
            numbers = values.astype(float)
            inner = np.nanquantile(numbers, [0.25, 0.5, 0.75])
            place = np.where(np.isnan(numbers), -1, np.searchsorted(inner, numbers, side="right"))
            texts = np.array(["missing", "lowest quarter", "second quarter", "third quarter", "highest quarter"])[
                place + 1
            ]
        else:
            texts = values.astype(str)
        for value in np.unique(texts):
            yield f"{name}={value}", np.flatnonzero(texts == value)


def _calibration(policy: GatePolicy, evidence: GateInput, alpha: float, rng: np.random.Generator) -> Check:
    null = -policy.calibration_margin
    found = _compared(policy.calibration, evidence, slice(None), null, alpha, rng, policy.block)
    why = (
        f"{policy.calibration} {found.first:.4f} against {found.second:.4f}, worse by at most {-found.lower:.4f}; "
        f"{policy.calibration_margin:g} is allowed"
    )
    return Check("calibration", _three(found, null), why, _numbers(policy.calibration, found))


def _latency(policy: GatePolicy, evidence: GateInput) -> Check:
    """Timing has noise, so that a ratio on either side of the limit must be shown. It costs the hold-out nothing."""
    mine, other, limit = evidence.challenger.seconds, evidence.rival.seconds, policy.max_latency_ratio
    if mine is None or other is None or not np.all(other > 0):
        return Check("latency", Answer.INCONCLUSIVE, "latency was not measured for both models")
    found = ratio(mine, other, policy.alpha)
    answer = Answer.PASS if found.upper <= limit else Answer.FAIL if found.lower > limit else Answer.INCONCLUSIVE
    medians = float(np.median(mine)), float(np.median(other))
    why = (
        f"{medians[0] * 1000:.3g} ms against {medians[1] * 1000:.3g} ms: {found.estimate:.2f} times "
        f"({found.lower:.2f} to {found.upper:.2f} in {found.rounds} rounds), and {limit:g} is allowed"
    )
    shown = {name: value for name, value in asdict(found).items() if np.isfinite(value)}
    return Check("latency", answer, why, {"challenger": medians[0], "champion": medians[1], "limit": limit, **shown})


def _size(policy: GatePolicy, evidence: GateInput) -> Check:
    mine, other, limit = evidence.challenger.size, evidence.rival.size, policy.max_size_ratio
    if mine is None or not other:
        return Check("size", Answer.INCONCLUSIVE, "size was not measured for both models")
    times = mine / other
    why = f"{mine / 1e6:.3g} MB against {other / 1e6:.3g} MB: {times:.2f} times, and {limit:g} is allowed"
    numbers = {"challenger": mine, "champion": other, "ratio": times, "limit": limit}
    return Check("size", Answer.PASS if times <= limit else Answer.FAIL, why, numbers)


def _parity(evidence: GateInput) -> Check:
    if evidence.agrees is False:
        why = "the conversion does not agree with its original"
        return Check("parity", Answer.FAIL, why)
    told = (
        "the conversion agrees with its original" if evidence.agrees else "nothing was converted: the original serves"
    )
    return Check("parity", Answer.PASS, told)


def _used(name: str, answers: Answers) -> Array | None:
    return answers.label if scores.metric(name).uses == "label" else answers.score


def _values(name: str, answers: Answers) -> Array:
    values = _used(name, answers)
    return np.zeros(0) if values is None else values
