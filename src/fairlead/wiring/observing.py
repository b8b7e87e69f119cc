"""What a look at a rollout sees: both arms' windows of the current step, and what feedback says of their calls."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import EventStore, Window
from fairlead.contracts.plans import ROUTE
from fairlead.contracts.state import StateStore
from fairlead.monitor import labels, latency
from fairlead.monitor.outputs import guess, read_answers
from fairlead.monitor.summary import Summary
from fairlead.orchestrate.observed import Arm, Moments, Observed
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.orchestrate.routing import routed

Array = np.ndarray[Any, Any]

CANCELLED: Final = "cancelled"
"""The code of a call whose caller hung up: no fault of the version."""

EDGES: Final = np.concatenate([[0.0], latency.EDGES])

VALUE: Final = ("label", "reward")
"""Gates ``mean:label`` and ``mean:reward``: numbers that feedback gave. ``mean:accuracy`` is the other one there is."""

LATE_MS: Final = 2_000
"""Between a call and its window in the store, at most, where a window is shorter."""

IN_FLIGHT_MS: Final = 60_000
"""A call ends within this time, or is taken to be missing."""

_POSITION = re.compile(r"(.+)\[(\d+)]")


def observed(state: StateStore, rollout: Rollout, events: EventStore | None = None) -> Observed:
    """Counts since the step began. ``events``: where the calls of feedback are found; without it no gate on feedback
    sees anything. Raises what the stores raise."""
    plan = rollout.plan
    windows = state.windows(plan.endpoint, since_ms=rollout.since_ms)
    since = _applied(state, rollout, windows)
    if since is None:
        return Observed(edges=EDGES)
    windows = [one for one in windows if one.start_ms >= since]
    if routed(state, plan.endpoint) is not None and rollout.phase is not Phase.SHADOW:
        windows = _told_by_both(windows, ("candidate",) if rollout.weight >= 100.0 else ("champion", "candidate"))
    candidate = [one for one in windows if one.version == plan.candidate and one.arm in ("candidate", "shadow")]
    shadows = rollout.phase is Phase.SHADOW
    candidate = [one for one in candidate if (one.arm == "shadow") is shadows]
    champion = [one for one in windows if one.version == plan.champion and one.arm == "champion"]
    ended = _ended(champion, candidate)
    span: tuple[int, int | None] = (since, None)
    if until := rollout.control_until_ms:
        span = (rollout.control_since_ms, until)
        before = state.windows(plan.endpoint, since_ms=span[0], until_ms=until, version=plan.champion)
        champion = [one for one in before if one.arm == "champion" and one.start_ms + one.length_ms <= until]
    scores = _scores(champion, candidate)
    metrics = {one.name.removeprefix("mean:") for one in plan.gates if one.name.startswith("mean:")}
    means: Sequence[Mapping[str, Moments]] = ({}, {})
    if metrics and events is not None:
        means = (
            _means(events, state, plan.endpoint, plan.champion, span, metrics),
            _means(events, state, plan.endpoint, plan.candidate, (since, None), metrics),
        )
    pairs: Counter[str] = Counter()
    for one in candidate:
        pairs.update(one.pairs)
    return Observed(
        _arm(champion, scores[0], means[0]),
        _arm(candidate, scores[1], means[1]),
        EDGES,
        pairs=round(pairs["decided"]),
        flips=round(pairs["flips"]),
        ended=ended,
    )


def _applied(state: StateStore, rollout: Rollout, windows: Iterable[Window]) -> int | None:
    """From when every worker that answers follows the split of this step; None while one does not.

    A version may take long to load: until then its share goes to the others, which is no mismatch and no evidence.
    """
    endpoint = rollout.plan.endpoint
    split = state.get("split", endpoint)
    there = {one.key: one.body for one in state.all("applied") if one.key.rpartition("/")[0] == endpoint}
    followed = {
        key.rpartition("/")[2]: int(body["at_ms"])
        for key, body in there.items()
        if split is not None and body.get("revision") == split.revision and not body.get("error")
    }
    if f"{endpoint}/{ROUTE}" in there and ROUTE not in followed:  # a route in front of the servers is not there yet
        return None
    if not followed.keys() - {ROUTE} or not {_place(one) for one in windows} <= followed.keys():
        return None
    return max(rollout.since_ms, max(followed.values()) + round(rollout.plan.settle_seconds * 1000))


def _told_by_both(windows: Sequence[Window], arms: Iterable[str]) -> list[Window]:
    """Up to the moment that servers of both arms have told of: apart from each other they hand over at different times,
    and what one has not told yet would look like calls that went astray."""
    told = [newest for arm in arms if (newest := max((one.start_ms for one in windows if one.arm == arm), default=0))]
    if not told:
        return []
    late = max(LATE_MS, *(one.length_ms for one in windows))
    return [one for one in windows if one.start_ms <= min(told) - late]


def _ended(champion: Sequence[Window], candidate: Sequence[Window]) -> tuple[int, int]:
    """Calls of both arms without windows in which some may still be in flight.

    A call counts in the window in which it arrived, and not before it ended: a slow arm lags behind. How long a call
    may take is seen from those that ended; where all are fast, what is in flight does not matter.
    """
    slowest = min(max(_slowest_ms(champion), _slowest_ms(candidate)), IN_FLIGHT_MS)
    told = max((one.start_ms for one in (*champion, *candidate)), default=0)
    until = math.inf if slowest <= LATE_MS else told - slowest
    one, other = (
        sum(window.calls for window in arm if window.start_ms + window.length_ms <= until)
        for arm in (champion, candidate)
    )
    return one, other


def _slowest_ms(windows: Sequence[Window]) -> float:
    seconds = latency.Latency.none()
    for one in windows:
        seconds += latency.Latency.from_bytes(one.latency)
    (there,) = np.nonzero(seconds.counts)
    return float(latency.EDGES[there[-1]]) * 1000.0 if len(there) else math.inf


def _place(window: Window) -> str:
    """The worker's place, without its process and the reference."""
    return window.worker.removesuffix(f"-{window.reference}").rpartition(".")[0]


def _arm(windows: Iterable[Window], scores: Array, means: Mapping[str, Moments]) -> Arm:
    codes: Counter[str] = Counter()
    seconds = latency.Latency.none()
    for one in windows:
        codes.update(one.codes)
        seconds += latency.Latency.from_bytes(one.latency)
    calls = codes.total() - codes[CANCELLED]
    return Arm(calls, calls - codes[""], seconds.counts, scores, means)


def _scores(champion: Sequence[Window], candidate: Sequence[Window]) -> tuple[Array, Array]:
    """Counts of one output on one grid; empty where the arms have none in common.

    Only windows of the reference that the candidate is counted on now: bins of two references are not the same.
    """
    nothing = np.zeros(0, np.int64)
    if not candidate:
        return nothing, nothing
    reference = max(candidate, key=lambda one: one.start_ms).reference
    ours, theirs = (_outputs(one for one in arm if one.reference == reference) for arm in (champion, candidate))
    common = [name for name in ours if name in theirs]
    if not common:
        return nothing, nothing
    name = _score_of(common, ours)
    one, other = ours[name], theirs[name]
    if one.counts.any() or other.counts.any():
        return one.counts, other.counts
    texts = sorted({*one.texts, *other.texts})
    counted = [np.array([found.texts.get(text, 0) for text in texts], np.int64) for found in (one, other)]
    return counted[0], counted[1]


def _outputs(windows: Iterable[Window]) -> dict[str, Summary]:
    found: dict[str, Summary] = {}
    for window in windows:
        for name, data in window.columns.items():
            if not name.startswith("out."):
                continue
            summary = Summary.from_bytes(data)
            if name in found:
                found[name].add(summary)
            else:
                found[name] = summary
    return found


def _score_of(names: Sequence[str], outputs: Mapping[str, Summary]) -> str:
    """The last position of the first vector (of class probabilities, that is the last class); where there is none the
    output whose values spread over most bins."""
    positions = [found for name in names if (found := _POSITION.fullmatch(name))]
    if positions:
        first = min(found[1] for found in positions)
        return max((found for found in positions if found[1] == first), key=lambda found: int(found[2]))[0]
    return max(sorted(names), key=lambda name: np.count_nonzero(outputs[name].counts) + len(outputs[name].texts))


def _means(
    events: EventStore,
    state: StateStore,
    endpoint: str,
    version: str,
    span: tuple[int, int | None],
    metrics: Iterable[str],
) -> Mapping[str, Moments]:
    since, until = span
    joined = labels.read(
        events, state, endpoint, since_ms=since, until_ms=until, version=version, features=False, waiting=False
    )
    if not len(joined):
        return {}
    found = {}
    for metric in metrics:
        if metric in VALUE:
            values = np.array([one for one in joined.label.tolist() if isinstance(one, int | float)], np.float64)
        elif metric == "accuracy":
            task = guess(joined.frame, joined.label)
            answers = read_answers(joined, task).answers
            values = (answers.decisions == answers.label).astype(np.float64)
        else:
            raise UsageError(f"gate mean:{metric} is not known; use mean:label, mean:reward or mean:accuracy")
        if len(values) > 1:
            found[metric] = Moments(len(values), float(values.mean()), float(values.var(ddof=1)))
    return found
