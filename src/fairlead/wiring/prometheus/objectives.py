"""Objectives as recording rules and alerts on how fast their error budget burns.

What burns, and how fast is told, is ``monitor.burn``'s, which judges the windows of the store in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.figures import ANSWER_SECONDS, REQUEST_SECONDS
from fairlead.kit.spec.read import SpecFile
from fairlead.monitor.burn import CALLERS, FEWEST, OWN, Objective
from fairlead.wiring import slos

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True)
class Expressed:
    """An objective of an endpoint. ``bad`` and ``valid``: PromQL of rates of counters, with WINDOW for a window."""

    endpoint: str
    objective: Objective
    bad: str
    valid: str

    @property
    def record(self) -> str:
        return f"endpoint:fairlead_{self.objective.kind}_bad:ratio_rate"

    @property
    def labels(self) -> str:
        return f'{{endpoint="{self.endpoint}"}}'


def objectives(file: SpecFile) -> list[Expressed]:
    """All that the spec has. Raises UsageError for a latency that no histogram bounds."""
    found: list[Expressed] = []
    for name, endpoint in file.spec.endpoints.items():
        speaks = endpoint.speaks and endpoint.embedding is None
        found += [
            _available(name, one, speaks) if one.kind == "availability" else _quick(file, name, one, speaks)
            for one in slos.objectives(endpoint)
        ]
    return found


def _available(name: str, one: Objective, speaks: bool) -> Expressed:
    counter, label = ("fairlead_llm_answers_total", "outcome") if speaks else ("fairlead_requests_total", "code")
    of = f'endpoint="{name}"'
    own, callers = "|".join(OWN), "|".join(CALLERS)
    return Expressed(
        name,
        one,
        f'(sum(rate({counter}{{{of},{label}=~"{own}"}}[WINDOW])) or vector(0))',
        f'sum(rate({counter}{{{of},{label}!~"{callers}"}}[WINDOW]))',
    )


def _quick(file: SpecFile, name: str, one: Objective, speaks: bool) -> Expressed:
    histogram = "fairlead_llm_first_token_seconds" if speaks else "fairlead_request_seconds"
    bounds = ANSWER_SECONDS if speaks else REQUEST_SECONDS
    if one.bound not in bounds:
        under, over = [bound for bound in bounds if bound < one.bound], [bound for bound in bounds if bound > one.bound]
        near = " or ".join(f"{1000 * bound:g}" for bound in (*under[-1:], *over[:1]))
        where = file.at("endpoints", name, "slo", "latency_ms")
        raise UsageError(f"{where} is {1000 * one.bound:g}, no bound of the histogram that measures it; take {near}")
    of = f'endpoint="{name}"'
    return Expressed(
        name,
        one,
        f"(sum(rate({histogram}_count{{{of}}}[WINDOW])) - "
        f'sum(rate({histogram}_bucket{{{of},le="{float(one.bound)!r}"}}[WINDOW])))',
        f"sum(rate({histogram}_count{{{of}}}[WINDOW]))",
    )


def recording(one: Expressed) -> list[dict[str, Any]]:
    """The share of bad calls over each window."""
    labels = {"endpoint": one.endpoint}
    return [
        {
            "record": f"{one.record}{window}",
            "expr": f"{one.bad} / {one.valid}".replace("WINDOW", window),
            "labels": labels,
        }
        for window in WINDOWS
    ]


def alerts(one: Expressed) -> Iterator[dict[str, Any]]:
    """Those whose burn rate is faster than the budget; a short window of an objective has fewer."""
    objective = one.objective
    for burn, factor in objective.burns():
        share = factor * (1 - objective.target)
        seen, soon = (f"{one.record}{window}{one.labels}" for window in (burn.long, burn.short))
        many = f"{one.bad} * {burn.hours * 3600:g} >= {FEWEST}".replace("WINDOW", burn.long)
        yield {
            "alert": objective.alert,
            "expr": f"{seen} > {share:.6g} and {soon} > {share:.6g} and on() ({many})",
            "labels": {
                "endpoint": one.endpoint,
                "severity": burn.severity,
                "window": burn.long,
                "objective": objective.kind,
            },
            "annotations": {
                "summary": (
                    f"{one.endpoint}: the error budget of {objective.kind} burns {factor:g} times as fast as it may"
                ),
                "description": (
                    f"Objective: {objective.text} over {objective.seconds / 86_400:g} days. In the last {burn.long} "
                    "{{ $value | humanizePercentage }} were not; at this rate "
                    f"{100 * burn.budget:g} % of the budget goes in {burn.long}."
                ),
            },
        }
