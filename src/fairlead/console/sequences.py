"""Confidence sequences of a rollout's gates as charts: what is drawn over time, and how far the axis goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from fairlead.console import formats
from fairlead.console.facts.rollouts import Evidence

_REACH: Final = 4.0
"""Times the margin that the axis goes at most for bounds: those of the first looks are far away."""
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_SAID: Final = {"aborting": "rolled back", "promoting": "promoted", "keeping": "old version kept"}
_KINDS: Final = {"paused": "other", "aborting": "alert", "aborted": "alert"}
_ABOUT: Final = {
    "error_rate": "failed calls: the candidate's share less the champion's, in percentage points",
    "prediction_drift": "largest difference of the scores' distributions, 0 to 1",
    "flip_rate": "share of the decisions that differ on the same calls",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One gate. ``answer``, ``estimate``, ``lower``, ``upper``: of its newest look, None where there was nothing to
    compare.  ``same``: where both versions are alike.  ``ends``: of the axis.  ``looks``: how many had an estimate.
    ``data``: of the chart.
    """

    name: str
    about: str
    unit: str
    answer: str
    estimate: float | None
    lower: float | None
    upper: float | None
    margin: float
    same: float
    ends: tuple[float, float]
    looks: int
    data: Mapping[str, Any]


def sequences(evidence: Evidence) -> list[Drawn]:
    """Of every gate with a margin that was looked at, in the plan's order."""
    margins = {name: one["margin"] for look in evidence.looks for name, one in look["gates"].items()}
    return [_of(evidence, name, margin) for name, margin in margins.items() if margin is not None]


def measured(value: float | None, unit: str, why: str = formats.MISSING) -> str | Markup:
    """A bound or an estimate in the unit of its gate: ``0.12 pp``, ``1.05 x``, ``0.031``."""
    if value is None:
        return formats.none(why)
    if unit == "points":
        return formats.with_unit(formats.significant(100 * value), "pp")
    if unit == "percent":
        return formats.percent(value)
    return formats.with_unit(formats.significant(value), _TIMES if unit == "times" else "")


def unit_of(name: str) -> str:
    """``points``, ``times``, ``percent`` or ``number``."""
    if name.startswith("latency_"):
        return "times"
    return {"error_rate": "points", "flip_rate": "percent", "sample_ratio": "percent"}.get(name, "number")


def _of(evidence: Evidence, name: str, margin: float) -> Drawn:
    seen = [(look, look["gates"][name]) for look in evidence.looks if name in look["gates"]]
    known = [one for _, one in seen if one["estimate"] is not None]
    same = 1.0 if name.startswith("latency_") else 0.0
    unit, newest = unit_of(name), seen[-1][1]
    ends = _ends(known, margin, same, signed=unit == "points" or name.startswith("mean:"))
    about = "the candidate's quantile over the champion's" if unit == "times" else _ABOUT.get(name, "how much worse")
    return Drawn(
        name, about, unit, newest["answer"], newest["estimate"], newest["lower"], newest["upper"], margin, same, ends,
        len(known), _chart(evidence, seen, unit, margin, same, ends),
    )  # fmt: skip


def _ends(known: Sequence[Mapping[str, Any]], margin: float, same: float, *, signed: bool) -> tuple[float, float]:
    """Margin and newest look are in sight, and of the others the middle three quarters, within reason: the first looks
    at a step are far off."""
    low, high = min(same, margin), max(same, margin)
    if known:
        newest = known[-1]["estimate"]
        far = _REACH * max(abs(margin - same), abs(newest - same), 1e-9)
        uppers = [one["upper"] if one["upper"] is not None else same + far for one in known]
        lowers = [one["lower"] for one in known]
        low = min(low, newest, max(same - far, min(lowers[-1], _at(lowers, 0.25))))
        high = max(high, newest, min(same + far, max(uppers[-1], _at(uppers, 0.75))))
    edge = 0.08 * (high - low)
    return (low - edge if signed or low - edge > 0.0 else 0.0), high + edge


def _at(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def _chart(
    evidence: Evidence,
    seen: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    unit: str,
    margin: float,
    same: float,
    ends: tuple[float, float],
) -> dict[str, Any]:
    x: list[int] = []
    exact: dict[str, list[float | None]] = {"estimate": [], "lower": [], "upper": []}
    drawn: dict[str, list[float | None]] = {"estimate": [], "lower": [], "upper": []}
    before: Mapping[str, Any] | None = None
    for look, one in seen:
        if before is not None and (before["phase"], before["step"]) != (look["phase"], look["step"]):
            x.append((before["at_ms"] + look["at_ms"]) // 2)  # the counts of a step begin anew
            for values in (*exact.values(), *drawn.values()):
                values.append(None)
        before = look
        x.append(look["at_ms"])
        for part, values in exact.items():
            values.append(one[part])
            drawn[part].append(_drawn(part, one, ends))
    series = [
        {"label": label, "values": drawn[part], "exact": exact[part], "tone": "1", **more}
        for part, label, more in (
            ("estimate", "estimate", {}),
            ("upper", "at most", {"thin": True}),
            ("lower", "at least", {"thin": True}),
        )
    ]
    last = max([evidence.started_ms, *(one["at_ms"] for one in (*evidence.looks, *evidence.turns))])
    return {
        "x": x,
        "series": series,
        "bands": [[1, 2]],
        "unit": unit,
        "ends": ends,
        "level": {"value": margin, "label": "margin"},
        "same": same,
        "marks": _marks(evidence.turns),
        "span": [evidence.started_ms, max(last, evidence.started_ms + 1000)],
    }


def _drawn(part: str, one: Mapping[str, Any], ends: tuple[float, float]) -> float | None:
    """Within one height of the axis beyond it: what has no bound goes out of sight."""
    value: float | None = one[part]
    if value is None:
        return 2 * ends[1] - ends[0] if part == "upper" and one["estimate"] is not None else None
    return min(max(value, 2 * ends[0] - ends[1]), 2 * ends[1] - ends[0])


def _marks(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found, verdict = [], ""
    for one in turns:
        judged = one["verdict"] if one["verdict"] != verdict else ""
        verdict = one["verdict"]
        if one["phase"] in ("done", "aborted"):
            continue  # what led there is marked
        steps = one["phase"] in ("canary", "shadow")
        what = f"{one['weight']:g} %" if one["phase"] == "canary" else _SAID.get(one["phase"], one["phase"])
        answer = "pass" if steps else one["answer"]
        said = f"{answer}: {what}" if judged and answer != "inconclusive" else what
        found.append({"at": one["at_ms"], "label": said, "kind": _KINDS.get(one["phase"], "deploy")})
    return found
