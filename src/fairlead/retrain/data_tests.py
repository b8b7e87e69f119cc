"""Is this data fit to train on? Tests before training, on numpy columns. Pure.

**The line between drift and poison.** Drift is the reason to retrain, so a distribution that moved only warns: a
warning is a check that passes with ``evidence["warning"]``. What blocks is what nature does not do between two
trainings, at thresholds far from what drift does (``DataPolicy``):

- columns that are gone or of another kind, that became empty or constant, or lost many more values than before;
- values far outside everything seen, or a spread 30 times wider or narrower: another unit;
- many more exact duplicates than before, or many in one stretch of time;
- labels never seen before, a label rate that changed by a large effect, or by more in one stretch of time;
- labels in a stretch of time that cannot be learned from their neighbours (flipped at random), or that are upside down
  against the rest or the champion (flipped together): ``retrain.labels`` says why drift does neither.

The numbers were set on real drift (the electricity market data, 27,168 rows) and on poison put into it: there the noise
of a block never rose above its median by more than 0.08 and agreement never fell under 0.6, while 30% flipped labels
raised noise by 0.25 and more, and blocks flipped whole had an agreement under 0.35. A quantity is noisier, so its limit
is twice as high: shuffled stretches are found, a third of wrong values in one is not always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, kstwobign

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Answer, Check, Verdict
from fairlead.kit.config import nearest
from fairlead.retrain import profile as profiles
from fairlead.retrain.columns import TEXT, Columns, kind_of, missing, numbers, rows_of
from fairlead.retrain.gate import overall
from fairlead.retrain.labels import Blocks, in_blocks
from fairlead.retrain.profile import ColumnProfile, Profile

Array = np.ndarray[Any, Any]

NAMES = (
    "rows",
    "columns",
    "empty columns",
    "missing values",
    "constant columns",
    "ranges",
    "duplicates",
    "labels",
    "missing labels",
    "label rate",
    "label bursts",
    "label noise",
    "label agreement",
    "schema: COLUMN",
)
"""Of the tests that may block; ``schema`` has one for each column."""

Bound = tuple[float, float, str]
SHARE, COLUMNS = "share", "columns"

_Z = 4.0  # standard errors above which a block's rate is no chance: 20 blocks give 6e-4 false alarms
_SHOWN = 5
_QUANTITY = 2.0  # a quantity is noisier: on the bicycle rentals a week of storm rose by 0.21


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """What blocks. Shares are of rows.

    ``missing``: rise of a column's share of missing values.  ``outside``: share of values further from the reference's
    middle 98 % than ``reach`` times its width, above the reference's own.  ``spread``: factor of the middle 90 %.
    ``duplicates``: rise of the share of repeated rows, over all or in one block.
    ``rate``: Cohen's h of the label rate against the reference (0.8 is "large", Cohen 1988);  ``block_rate``: of one
    block against the median block.  ``noise``: rise of a block's label noise over the median block or the reference
    (twice as much for a quantity).  ``agreement``: least AUC of a block.  ``drift``: least effect (KS distance,
    Cramer's V) that is told;  ``false_alarms``: share of drift warnings that may be false (Benjamini-Hochberg).
    """

    min_rows: int = 100
    missing: float = 0.25
    outside: float = 0.05
    reach: float = 5.0
    spread: float = 30.0
    duplicates: float = 0.2
    rate: float = 0.8
    block_rate: float = 1.0
    noise: float = 0.12
    agreement: float = 0.4
    drift: float = 0.1
    false_alarms: float = 0.01


def examine(
    table: Columns,
    target: str,
    *,
    reference: Profile | None = None,
    policy: DataPolicy | None = None,
    time: str = "",
    score: Array | None = None,
) -> list[Check]:
    """Test ``table`` (rows in order of time) against the profile of the last training data, if there is one.

    ``time``: a column that only orders the rows.  ``score``: the champion's P(positive) of each row; one that is not
    finite everywhere is not used.
    """
    policy = policy or DataPolicy()
    ground = list(_ground(table, target, reference, policy, time))
    if any(check.answer is Answer.FAIL for check in ground):
        return ground
    plain = {name: array for name, array in table.items() if name != time}
    found = {name: profiles.column(array) for name, array in plain.items()}
    checks = [*ground, *_holes(found, reference, policy), _constants(found, reference)]
    if reference is not None:
        checks += [_units(plain, found, reference, policy), _drift(plain, reference, policy)]
    checks += [_duplicates(plain, reference, policy), *_labels(plain, target, reference, policy, score)]
    return checks


def verdict(id_: str, model: str, against: str, at_ms: int, checks: list[Check]) -> Verdict:
    """The data tests' verdict: what fails blocks the training."""
    return Verdict(id_, "data", model, "", against, overall(checks), tuple(checks), at_ms)


def known(names: Sequence[str]) -> None:
    """Raises UsageError for a name that no data test has."""
    for name in names:
        if name not in NAMES and not name.startswith("schema: "):
            raise UsageError(f"no data test is called {name!r}{nearest(name, NAMES)}; there are {', '.join(NAMES)}")


def accepted(checks: list[Check], names: Sequence[str], who: str) -> list[Check]:
    """The checks, where a person takes what the named ones found for the truth."""
    return [_accepted(check, who) if check.name in names and check.answer is Answer.FAIL else check for check in checks]


def _accepted(check: Check, who: str) -> Check:
    return replace(
        check, answer=Answer.PASS, why=f"accepted by {who}: {check.why}", evidence={**check.evidence, "by": who}
    )


def _ground(table: Columns, target: str, reference: Profile | None, policy: DataPolicy, time: str) -> Iterator[Check]:
    count = rows_of(table)
    enough = count >= policy.min_rows
    told = f"{count} rows" + ("" if enough else f", and {policy.min_rows} are needed")
    yield _check("rows", enough, told, least=(count, policy.min_rows, "rows"), rows=count)
    if target not in table:
        yield _check("columns", False, f"the target {target!r} is not a column; there are {', '.join(table) or 'none'}")
    elif reference is not None:
        yield _columns({name: array for name, array in table.items() if name != time}, reference)


def _columns(table: Columns, reference: Profile) -> Check:
    gone = [name for name in reference.columns if name not in table]
    added = [name for name in table if name not in reference.columns]
    kinds = {name: (reference.columns[name].kind, kind_of(array)) for name, array in table.items() if name not in added}
    empty = {name for name, array in table.items() if missing(array).all()}
    other = [name for name, (was, now) in kinds.items() if was != now and name not in empty]
    if gone:
        return _check(
            "columns",
            False,
            f"column {_list(gone)} is gone since the last training",
            most=(len(gone), 0, COLUMNS),
            gone=gone,
        )
    if other:
        was, now = kinds[other[0]]
        return _check(
            "columns",
            False,
            f"column {_list(other)} was {was} and is {now}",
            most=(len(other), 0, COLUMNS),
            changed=other,
        )
    told = f"{len(table)} columns as before" if not added else f"new columns: {_list(added)}"
    return _check("columns", True, told, most=(0, 0, COLUMNS), warning=bool(added), added=added)


def _holes(found: dict[str, ColumnProfile], reference: Profile | None, policy: DataPolicy) -> Iterator[Check]:
    empty = [name for name, one in found.items() if one.missing >= 1]
    told = f"{_list(empty)} has no value" if empty else "every column has values"
    yield _check("empty columns", not empty, told, most=(len(empty), 0, COLUMNS))
    if reference is None:
        return
    rise = {
        name: one.missing - reference.columns[name].missing for name, one in found.items() if name in reference.columns
    }
    bad = [name for name, more in rise.items() if more > policy.missing]
    name = max(rise, key=lambda one: rise[one])
    why = f"missing values rose most in {name}: {found[name].missing:.1%}, {reference.columns[name].missing:.1%} before"
    known: dict[str, Any] = {"warning": rise[name] > policy.missing / 5, "rise": rise[name], "columns": bad}
    yield _check("missing values", not bad, why, most=(rise[name], policy.missing, SHARE), **known)


def _constants(found: dict[str, ColumnProfile], reference: Profile | None) -> Check:
    """A column that has one value now and had more before: a broken join, or a default filled in."""
    constant = [name for name, one in found.items() if one.distinct == 1]
    before = {} if reference is None else reference.columns
    became = [name for name in constant if name in before and before[name].distinct > 1]
    if became:
        told = f"{_list(became)} has one value only and had more before"
        return _check("constant columns", False, told, most=(len(became), 0, COLUMNS), columns=became)
    told = f"constant: {_list(constant)}" if constant else "no column is constant"
    return _check("constant columns", True, told, most=(0, 0, COLUMNS), warning=bool(constant), columns=constant)


def _units(table: Columns, found: dict[str, ColumnProfile], reference: Profile, policy: DataPolicy) -> Check:
    """Values far outside what was seen, or of another order of magnitude. Columns that were constant say nothing."""
    worst, problem, share, most = "", "", 0.0, None
    for name, one in found.items():
        before = reference.columns.get(name)
        if before is None or not before.quantiles or not one.quantiles or before.quantiles[1] == before.quantiles[-2]:
            continue
        low, high = before.quantiles[1], before.quantiles[-2]
        reach = policy.reach * (high - low)
        own = np.array(before.quantiles)
        usual = float(np.mean((own < low - reach) | (own > high + reach)))
        values = numbers(table[name]).reshape(-1)
        values = values[~np.isnan(values)]
        outside = float(np.mean((values < low - reach) | (values > high + reach))) - usual
        if outside > share:
            worst, share = name, outside
        width, wide = before.quantiles[95] - before.quantiles[5], one.quantiles[95] - one.quantiles[5]
        if width > 0 and not 1 / policy.spread <= wide / width <= policy.spread and wide > 0:
            problem = f"the spread of {name} is {wide / width:.3g} times what it was: another unit?"
            most = (max(wide / width, width / wide), policy.spread, "times")
    if share > policy.outside or most is None:
        most = (share, policy.outside, SHARE)
    if share > policy.outside:
        problem = f"{share:.1%} of {worst} lies far outside all that was seen before: another unit?"
    told = problem or (f"{share:.2%} of {worst} lies far outside" if worst else "values are where they were")
    return _check("ranges", not problem, told, most=most, warning=share > 0, outside=share, column=worst)


def _drift(table: Columns, reference: Profile, policy: DataPolicy) -> Check:
    """Warns only. KS on the reference's percentiles (a lower bound within 0.01), chi-square on its categories."""
    tried = {}
    for name, array in table.items():
        before = reference.columns.get(name)
        if before is not None:
            tried[name] = _moved(array, before, reference.rows)
    names = sorted(tried, key=lambda name: tried[name][1])
    passing = [rank for rank, name in enumerate(names, 1) if tried[name][1] <= policy.false_alarms * rank / len(names)]
    moved = [name for name in names[: max(passing, default=0)] if tried[name][0] >= policy.drift]
    moved.sort(key=lambda name: -tried[name][0])
    effects = {name: tried[name][0] for name in moved}
    told = f"drifted: {', '.join(f'{name} ({effects[name]:.2f})' for name in moved[:_SHOWN])}" if moved else "no drift"
    largest = max((effect for effect, _ in tried.values()), default=0.0)
    most = (largest, policy.drift, "effect")
    return _check("distribution", True, told, most=most, warning=bool(moved), effects=effects)


def _moved(array: Array, before: ColumnProfile, rows: int) -> tuple[float, float]:
    """Effect (KS distance or Cramer's V) and p of a column against its profile."""
    if before.kind == TEXT:
        now = profiles.column(array)
        names = sorted({*before.counts, *now.counts})
        counts = np.array([[one.counts.get(name, 0) for name in names] for one in (before, now)])
        if counts.shape[1] < 2 or (counts.sum(axis=1) == 0).any():
            return 0.0, 1.0
        statistic, p, *_ = chi2_contingency(counts)
        return math.sqrt(statistic / counts.sum()), float(p)
    values = np.sort(profiles.finite(array))
    if not len(values) or not before.quantiles:
        return 0.0, 1.0
    return _ks(values, np.array(before.quantiles), rows * (1 - before.missing))


def _ks(values: Array, quantiles: Array, rows: float) -> tuple[float, float]:
    """Largest distance of the distribution of sorted ``values`` to the band in which the percentiles leave the old."""
    edges = np.unique(quantiles)
    last = len(quantiles) - 1
    under = (np.searchsorted(quantiles, edges, side="left") - 1).clip(0) / last  # at most so much was below the edge
    upto = (np.searchsorted(quantiles, edges, side="right") - 1) / last  # at least so much was at or below it
    below = np.searchsorted(values, edges, side="left") / len(values)
    at = np.searchsorted(values, edges, side="right") / len(values)
    distance = float(max((upto - at).max(), (below - under - 1 / last).max(), 0.0))
    weight = math.sqrt(rows * len(values) / (rows + len(values)))
    return distance, float(kstwobign.sf(distance * weight))


def _duplicates(table: Columns, reference: Profile | None, policy: DataPolicy) -> Check:
    again = profiles.repeated(table)
    blocks = np.array([part.mean() for part in np.array_split(again, min(20, max(1, len(again) // 50)))])
    share, usual = float(again.mean()), float(np.median(blocks))
    before = usual if reference is None else reference.duplicates
    burst = float(blocks.max()) - max(usual, before)
    ok = share - before <= policy.duplicates and burst <= 2 * policy.duplicates
    told = (
        f"{share:.1%} of the rows repeat an earlier one ({before:.1%} before), {blocks.max():.1%} in the worst stretch"
    )
    rise = share - before
    known: dict[str, Any] = {"warning": rise > policy.duplicates / 4, "share": share, "before": before, "burst": burst}
    twice = 2 * policy.duplicates
    most = (burst, twice, SHARE) if burst > twice else (rise, policy.duplicates, SHARE)
    return _check("duplicates", ok, told, most=most, **known)


def _labels(
    table: Columns, target: str, reference: Profile | None, policy: DataPolicy, score: Array | None
) -> Iterator[Check]:
    holes = float(missing(table[target]).mean())
    yield _check("missing labels", holes == 0, f"{holes:.1%} of the rows have no label", most=(holes, 0, SHARE))
    shares = profiles.classes(table[target])
    if reference is not None and reference.classes and shares:
        yield _rates(shares, reference.classes, policy)
    if holes:
        return
    usable = score is not None and bool(np.isfinite(score).all())
    found = in_blocks(table, target, score if usable else None)
    if found is None:
        yield _check("label bursts", True, "too few rows, or no features, to look at stretches of time")
        return
    if shares:
        yield _rate_burst(found, policy)
    yield _noise(found, reference, policy.noise if shares else _QUANTITY * policy.noise)
    yield _upside_down(found, policy, by_champion=usable)


def _rates(now: dict[str, float], before: Any, policy: DataPolicy) -> Check:
    new = [name for name in now if name not in before]
    if new:
        return _check(
            "labels", False, f"label {_list(new)} was never seen before", most=(len(new), 0, "labels"), new=new
        )
    effects = {name: abs(_h(now.get(name, 0.0)) - _h(share)) for name, share in before.items()}
    name = max(effects, key=lambda one: effects[one])
    why = (
        f"label {name}: {now.get(name, 0.0):.1%} of the rows, {before[name]:.1%} before (Cohen's h {effects[name]:.2f})"
    )
    h = effects[name]
    return _check("labels", h < policy.rate, why, most=(h, policy.rate, "Cohen's h"), warning=h >= 0.2, h=h)


def _rate_burst(found: Blocks, policy: DataPolicy) -> Check:
    usual = float(np.median(found.rate))
    effects = np.array([abs(_h(rate) - _h(usual)) for rate in found.rate])
    at = int(effects.argmax())
    bad = effects[at] >= policy.block_rate and effects[at] * math.sqrt(found.rows[at]) > _Z
    why = f"label rate {found.rate[at]:.1%} {_where(found, at)}, {usual:.1%} in the median stretch"
    h = float(effects[at])
    return _check("label rate", not bad, why, most=(h, policy.block_rate, "Cohen's h"), h=h)


def _noise(found: Blocks, reference: Profile | None, limit: float) -> Check:
    """Labels that their neighbours contradict: in one stretch against the rest, or everywhere against the last time."""
    usual, at = float(np.median(found.noise)), int(found.noise.argmax())
    before = usual if reference is None or reference.noise is None else min(usual, reference.noise)
    rise = float(found.noise[at]) - before
    error = math.sqrt(max(before, 0.01) * (1 - before) / found.counted[at])
    bad = rise >= limit and rise > _Z * error
    why = f"{found.noise[at]:.1%} of the labels contradict their neighbours {_where(found, at)}; {before:.1%} is usual"
    return _check("label noise", not bad, why, most=(rise, limit, SHARE), rise=rise, usual=before)


def _upside_down(found: Blocks, policy: DataPolicy, *, by_champion: bool) -> Check:
    known = np.where(np.isnan(found.agreement), 1.0, found.agreement)
    at = int(known.argmin())
    ones = found.rate[at] * found.counted[at]
    zeros = found.counted[at] - ones
    error = math.sqrt((ones + zeros + 1) / (12 * max(ones, 1) * max(zeros, 1)))
    learned = by_champion or float(np.nanmax(found.agreement)) > 0.6
    bad = learned and known[at] < policy.agreement and (0.5 - known[at]) > _Z * error
    who = "the champion" if by_champion else "the other stretches"
    why = f"labels {_where(found, at)} agree least with {who}: AUC {known[at]:.2f}"
    auc, told = float(known[at]), why + (", upside down" if bad else "")
    return _check("label agreement", not bad, told, least=(auc, policy.agreement, "AUC"), auc=auc)


def _where(found: Blocks, at: int) -> str:
    return f"in rows {found.starts[at]} to {found.starts[at] + found.rows[at] - 1}"


def _h(share: float) -> float:
    """Cohen's arcsine of a proportion."""
    return 2 * math.asin(math.sqrt(min(max(share, 0.0), 1.0)))


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _check(
    name: str, ok: Any, why: str, *, most: Bound | None = None, least: Bound | None = None, **numbers_: Any
) -> Check:
    """``most``, ``least``: the figure, what it may be, and its unit."""
    bound = most or least
    if bound is not None:
        figure, limit, unit = bound
        numbers_ |= {"figure": figure, "at_most" if most else "at_least": limit, "unit": unit}
    return Check(name, Answer.PASS if ok else Answer.FAIL, why, numbers_)
