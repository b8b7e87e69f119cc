"""Which detectors look at what, and what is done about what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fairlead.contracts.guardrail import Action, Channel, Detector, Eager, Finding, RemoteDetector

CHEAP: Final = 0.001
"""Seconds for a thousand characters up to which a detector is asked on the event loop, piece by piece."""
ORDER: Final = (Action.FLAG, Action.MASK, Action.BLOCK)


@dataclass(frozen=True, slots=True)
class Rule:
    """One detector of a list. ``action``: for every kind that ``actions`` does not name.

    ``opens``: where it does not answer, or not in time, the text passes; else it does not.
    ``calls``: it looks at the arguments of tool calls as well.
    """

    name: str
    action: Action
    local: Detector | None = None
    remote: RemoteDetector | None = None
    actions: Mapping[str, Action] = field(default_factory=dict)
    channels: frozenset[Channel] = frozenset({Channel.USER, Channel.TOOL, Channel.ANSWER})
    opens: bool = False
    calls: bool = True

    @property
    def detector(self) -> Detector | RemoteDetector:
        if self.local is not None:
            return self.local
        assert self.remote is not None  # noqa: S101 - one of them is given
        return self.remote

    @property
    def quick(self) -> bool:
        """Whether it can be asked about every piece of a stream."""
        return self.local is not None and self.local.reach > 0 and self.local.cost <= CHEAP

    def act(self, kind: str) -> Action:
        return self.actions.get(kind, self.action)


class Found(NamedTuple):
    """``start``, ``end``: characters of the text; nothing of it is kept."""

    rule: Rule
    kind: str
    start: int
    end: int
    score: float

    @property
    def action(self) -> Action:
        return self.rule.act(self.kind)


def ordered(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Cheap ones first, what another server is asked last; else as they are given."""
    return tuple(sorted(rules, key=lambda rule: (rule.remote is not None, rule.detector.cost)))


def found(rule: Rule, findings: Sequence[Finding], length: int) -> list[Found]:
    """What a detector says, within the text: a stranger's may say anything."""
    told = []
    for one in findings:
        start, end = max(0, one.start), min(length, one.end)
        if start < end:
            told.append(Found(rule, one.kind, start, end, one.score))
    return told


def look(rules: Sequence[Rule], text: str, channel: Channel) -> list[Found]:
    """What the local detectors find."""
    told: list[Found] = []
    for rule in rules:
        if rule.local is not None and channel in rule.channels:
            told += found(rule, rule.local.find(text, channel), len(text))
    return told


def eager(rule: Rule) -> Eager | None:
    known: object = rule.local
    return known if isinstance(known, Eager) else None


def counts(many: Sequence[Found]) -> dict[tuple[str, str, str], int]:
    """How often, by detector, kind and action."""
    told: dict[tuple[str, str, str], int] = {}
    for one in many:
        key = (one.rule.name, one.kind, str(one.action))
        told[key] = told.get(key, 0) + 1
    return told
