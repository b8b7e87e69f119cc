"""The plan of a rollout: what is to be tried, how, and what is asked of it. Checked once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from fairlead.contracts.access import shows_caller
from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.orchestrate.verdict import Gate, gate, judged


class Strategy(StrEnum):
    """Canary: growing shares.  Blue-green: checked at 0 %, then all at once.  Shadow: never seen by a caller."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    SHADOW = "shadow"


def _usual() -> tuple[Gate, ...]:
    return tuple(gate(name) for name in ("error_rate", "latency_p99", "prediction_drift"))


@dataclass(frozen=True, slots=True)
class Plan:
    """From version ``champion`` to ``candidate`` of ``model`` on ``endpoint``.

    ``steps``: percent of the calls, growing; blue-green knows only 100, whatever is given.  ``alpha``: chance of a
    false abort over the whole rollout, and of each false pass.  ``shadow``: percent of the calls that the candidate
    answers unseen before its first step (0: none), of which ``shadow_calls`` are needed.

    A step ends not before ``min_calls`` answered by the candidate and ``min_seconds``; when ``max_seconds`` are over
    and nothing is decided, ``on_timeout`` says ``pause`` or ``abort``.  ``settle_seconds``: how long after a new split
    calls are not counted, because workers learn of it at different times.  ``keep_seconds``: how long the old version
    stays loaded after the promotion, to be reverted to at once.  ``sticky``: as in ``TrafficSplit``.
    """

    endpoint: str
    model: str
    champion: str
    candidate: str
    strategy: Strategy = Strategy.CANARY
    steps: tuple[float, ...] = (5.0, 25.0, 50.0, 100.0)
    gates: tuple[Gate, ...] = field(default_factory=_usual)
    alpha: float = 0.05
    min_calls: int = 200
    min_seconds: float = 30.0
    max_seconds: float = 86_400.0
    on_timeout: str = "pause"
    shadow: float = 0.0
    shadow_calls: int = 200
    settle_seconds: float = 2.0
    keep_seconds: float = 0.0
    sticky: str = ""
    alias: str = "champion"

    @property
    def ladder(self) -> tuple[float, ...]:
        """The shares that are really taken, one after the other; empty for shadow alone."""
        return {Strategy.SHADOW: (), Strategy.BLUE_GREEN: (100.0,)}.get(self.strategy, self.steps)

    @property
    def shadows(self) -> bool:
        """Whether the rollout begins at 0 %: in shadow, or for blue-green only loaded beside the champion."""
        return self.shadow > 0.0 or self.strategy is not Strategy.CANARY

    @property
    def comparisons(self) -> int:
        """How many tests share ``alpha``: each gate and the sample ratio, at each step."""
        return (len(self.gates) + 1) * (len(self.ladder) + self.shadows)

    def split(self, weight: float, shadow: float = 0.0, *, salt: str) -> TrafficSplit:
        """The champion keeps what the candidate does not get."""
        shares = (
            Share(self.champion, "champion", 100.0 - weight),
            Share(self.candidate, "candidate", weight, shadow),
        )
        return TrafficSplit(self.endpoint, self.model, shares, self.sticky, salt)

    def alone(self, version: str, *, salt: str) -> TrafficSplit:
        """Everything to one version, as outside a rollout."""
        return TrafficSplit(self.endpoint, self.model, (Share(version, "champion", 100.0),), self.sticky, salt)


def checked(plan: Plan) -> Plan:
    """The plan itself when it makes sense. Raises UsageError with the field, its value and what it may be."""
    for problem in _problems(plan):
        raise UsageError(f"rollout of {plan.endpoint!r}: {problem}")
    return plan


def _problems(plan: Plan) -> list[str]:
    found = [
        f"{name} is empty; name one"
        for name in ("endpoint", "model", "champion", "candidate", "alias")
        if not getattr(plan, name)
    ]
    if plan.champion == plan.candidate:
        found.append(f"version {plan.candidate} is the champion already; name another version")
    if not 0.0 < plan.alpha < 0.5:
        found.append(f"alpha {plan.alpha:g} must lie between 0 and 0.5")
    if not 0.0 <= plan.shadow <= 100.0:
        found.append(f"shadow {plan.shadow:g} must be a percentage")
    if shows_caller(plan.sticky):
        found.append(f"sticky {plan.sticky} is a secret, and what decides is recorded; name another header")
    if plan.on_timeout not in ("pause", "abort"):
        found.append(f"on_timeout {plan.on_timeout!r} must be pause or abort")
    if min(plan.min_calls, plan.shadow_calls) < 1:
        found.append("min_calls and shadow_calls must be at least 1")
    if min(plan.min_seconds, plan.settle_seconds, plan.keep_seconds) < 0 or plan.max_seconds <= plan.min_seconds:
        found.append("seconds must not be negative, and max_seconds must exceed min_seconds")
    return found + _gate_problems(plan) + _step_problems(plan)


def _gate_problems(plan: Plan) -> list[str]:
    found = []
    if len({one.name for one in plan.gates}) != len(plan.gates):
        found.append("a gate is named twice")
    if plan.ladder and not any(judged(one, paired=False) for one in plan.gates):
        found.append("no gate can be judged on live calls; add error_rate")
    if plan.shadow > 0.0 and not any(judged(one, paired=True) for one in plan.gates):
        found.append("no gate can be judged in shadow; add error_rate, or leave shadow out")
    return found


def _step_problems(plan: Plan) -> list[str]:
    if plan.strategy is Strategy.SHADOW:
        return [] if plan.shadow > 0.0 else ["strategy shadow needs shadow, the percentage of the calls to copy"]
    if plan.strategy is Strategy.BLUE_GREEN:
        return []
    steps = plan.steps
    if not steps or min(steps) <= 0.0 or max(steps) > 100.0 or any(b <= a for a, b in pairwise(steps)):
        return [f"steps {list(steps)} must grow and lie above 0 and at most at 100"]
    if steps[0] == 100.0 and plan.shadow <= 0.0:
        return ["the first step leaves the champion no calls to compare with; start lower, or in shadow"]
    return []
