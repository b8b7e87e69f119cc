"""Objectives as recording rules and alerts on how fast their error budget burns.

Several windows and burn rates for each objective: Beyer et al., The Site Reliability Workbook (2018), chapter 5. An
alert fires while the budget burns so fast over a long window and over a short one: the first so that a blip is no
alarm, the second so that it ends soon after the trouble did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.figures import ANSWER_SECONDS, REQUEST_SECONDS
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.slo import Slo

OWN: Final = (
    "internal", "model_failed", "model_error", "refused", "overloaded", "unavailable", "circuit_open", "engine_lost",
    "deadline_exceeded", "queue_full",
)  # fmt: skip
"""Codes of calls that the server owed an answer: what HTTP calls 5xx, and a queue that was full."""
CALLERS: Final = (
    "invalid_input", "malformed_body", "invalid_tensor", "invalid_parameter", "context_too_long", "content_blocked",
    "unauthenticated", "forbidden", "not_found", "body_too_large", "rate_limited", "over_budget", "cancelled",
)  # fmt: skip
"""Codes of calls that count neither way: the caller's doing, or over what was agreed."""

FEWEST: Final = 10
"""Bad calls in the long window under which nobody is woken."""


@dataclass(frozen=True, slots=True)
class Burning:
    """``budget``: share of the error budget that is gone when the ``long`` window burned at this rate all along."""

    long: str
    hours: float
    short: str
    budget: float
    severity: str

    def factor(self, window_seconds: float) -> float:
        """Times as fast as the budget allows."""
        return self.budget * window_seconds / 3600 / self.hours


BURNS: Final = (
    Burning("1h", 1, "5m", 0.02, "critical"),
    Burning("6h", 6, "30m", 0.05, "critical"),
    Burning("1d", 24, "2h", 0.10, "warning"),
    Burning("3d", 72, "6h", 0.10, "warning"),
)
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True)
class Objective:
    """Of one endpoint. ``bad`` and ``valid``: PromQL of counters' rates with WINDOW in the place of the window."""

    endpoint: str
    kind: str
    target: float
    seconds: float
    bad: str
    valid: str
    told: str

    @property
    def record(self) -> str:
        return f"endpoint:fairlead_{self.kind}_bad:ratio_rate"

    @property
    def labels(self) -> str:
        return f'{{endpoint="{self.endpoint}"}}'


def objectives(file: SpecFile) -> list[Objective]:
    """All that the spec has. Raises UsageError for a latency that no histogram bounds."""
    found: list[Objective] = []
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.slo is not None:
            found += _of(file, name, endpoint.slo, speaks=endpoint.speaks and endpoint.embedding is None)
    return found


def _of(file: SpecFile, name: str, slo: Slo, *, speaks: bool) -> Iterator[Objective]:
    if slo.availability is not None:
        counter, label = ("fairlead_llm_answers_total", "outcome") if speaks else ("fairlead_requests_total", "code")
        of = f'endpoint="{name}"'
        own, callers = "|".join(OWN), "|".join(CALLERS)
        yield Objective(
            name, "availability", slo.availability, slo.window,
            f'(sum(rate({counter}{{{of},{label}=~"{own}"}}[WINDOW])) or vector(0))',
            f'sum(rate({counter}{{{of},{label}!~"{callers}"}}[WINDOW]))',
            f"{100 * slo.availability:g} % of the calls are answered",
        )  # fmt: skip
    if slo.latency_ms is not None:
        histogram = "fairlead_llm_first_token_seconds" if speaks else "fairlead_request_seconds"
        bounds = ANSWER_SECONDS if speaks else REQUEST_SECONDS
        bound = slo.latency_ms / 1000
        if bound not in bounds:
            under, over = [one for one in bounds if one < bound], [one for one in bounds if one > bound]
            near = " or ".join(f"{1000 * one:g}" for one in (*under[-1:], *over[:1]))
            where = file.at("endpoints", name, "slo", "latency_ms")
            raise UsageError(f"{where} is {slo.latency_ms:g}, no bound of the histogram that measures it; take {near}")
        of = f'endpoint="{name}"'
        what = "first tokens" if speaks else "answers"
        yield Objective(
            name, "latency", slo.latency_share, slo.window,
            f"(sum(rate({histogram}_count{{{of}}}[WINDOW])) - "
            f'sum(rate({histogram}_bucket{{{of},le="{float(bound)!r}"}}[WINDOW])))',
            f"sum(rate({histogram}_count{{{of}}}[WINDOW]))",
            f"{100 * slo.latency_share:g} % of the {what} are there within {slo.latency_ms:g} ms",
        )  # fmt: skip


def recording(one: Objective) -> list[dict[str, Any]]:
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


def alerts(one: Objective) -> Iterator[dict[str, Any]]:
    """Those whose burn rate is faster than the budget; a short window of an objective has fewer."""
    for burn in BURNS:
        factor = burn.factor(one.seconds)
        if factor < 1:
            continue
        share = factor * (1 - one.target)
        if share >= 1:  # no share of bad calls burns so fast
            continue
        seen, soon = (f"{one.record}{window}{one.labels}" for window in (burn.long, burn.short))
        many = f"{one.bad} * {burn.hours * 3600:g} >= {FEWEST}".replace("WINDOW", burn.long)
        yield {
            "alert": f"Fairlead{one.kind.capitalize()}BudgetBurn",
            "expr": f"{seen} > {share:.6g} and {soon} > {share:.6g} and on() ({many})",
            "labels": {"endpoint": one.endpoint, "severity": burn.severity, "window": burn.long, "objective": one.kind},
            "annotations": {
                "summary": f"{one.endpoint}: the error budget of {one.kind} burns {factor:g} times as fast as it may",
                "description": (
                    f"Objective: {one.told} over {one.seconds / 86_400:g} days. In the last {burn.long} "
                    "{{ $value | humanizePercentage }} were not; at this rate "
                    f"{100 * burn.budget:g} % of the budget goes in {burn.long}."
                ),
            },
        }
