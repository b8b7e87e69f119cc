"""Finds in a text that comes in pieces what would be found in the whole of it, and lets go of the rest early.

What a detector finds depends only on what stands near: from ``reach`` characters before it begins to ``reach`` after
that. So a character is decided once ``reach`` more have come, or fewer where the detector knows that nothing is
pending. What was let go is kept for so long as it may decide about what is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.contracts.guardrail import Action, Channel, Eager
from fairlead.serve.llm.guard.masks import Stretch, label, stretches
from fairlead.serve.llm.guard.rules import Found, Rule, eager, look

_LEAD: Final = 64
"""Characters at the start of what is kept where a finding of open end may be one only because it was cut off there."""


_SPARE: Final = 64


class Decided(NamedTuple):
    """``text``: may be told.  ``found``: what begins in it.  ``until``: characters of the whole text that are decided.

    ``covered``: which of them were masked now.  ``blocked``: what ends the answer; the text ends before it.
    """

    text: str
    found: Sequence[Found]
    until: int
    covered: Sequence[Stretch] = ()
    blocked: Found | None = None


class _Open(NamedTuple):
    """A finding that goes on in what is not decided yet. ``end``: where it ends; -1: that is not known."""

    knows: Eager
    kind: str
    end: int


class Window:
    """One text. ``held`` never exceeds ``reach``, the largest of its rules'."""

    def __init__(self, rules: Sequence[Rule], channel: Channel) -> None:
        self._rules = tuple(rule for rule in rules if channel in rule.channels)
        self._channel = channel
        self._knows = [(rule.detector.reach, eager(rule)) for rule in self._rules]
        self.reach = max((rule.detector.reach for rule in self._rules), default=0)
        self._raw = ""
        self._base = 0
        self._seen = 0
        self._inside = False
        self._open: _Open | None = None

    @property
    def held(self) -> int:
        return len(self._raw) - self._seen

    def feed(self, text: str) -> Decided:
        """Some more of it."""
        if not self._rules:
            self._base += len(text)
            return Decided(text, (), self._base)
        self._raw += text
        return self._decide(last=False)

    def end(self) -> Decided:
        """There is no more."""
        return self._decide(last=True) if self._rules else Decided("", (), self._base)

    def _decide(self, *, last: bool) -> Decided:
        raw, seen = self._raw, self._seen
        start = seen
        if self._open is not None:
            start = self._goes_on(last)
            if self._open is not None:
                self._seen = start
                self._trim()
                covered = [Stretch("", self._base + seen - (len(raw) - len(self._raw)), self._base + self._seen)]
                return Decided("", (), self._base + self._seen, covered if start > seen else ())
        cut = len(raw) if last else max(start, len(raw) - self._hold())
        if cut == seen:
            return Decided("", (), self._base + seen)
        many = self._look(start)
        if not many and start == seen:
            return self._plain(cut)
        blocked = min(
            (one for one in many if one.action is Action.BLOCK and seen <= one.start < cut),
            key=lambda one: one.start,
            default=None,
        )
        if blocked is not None:
            cut = blocked.start
        covered = stretches(many)
        if start > seen:
            covered = stretches([*many, Found(_COVER, "", seen, start, 1.0)])
        text, clipped = self._text(covered, cut)
        begun = [one for one in many if seen <= one.start < cut] + ([blocked] if blocked else [])
        if cut > seen:
            self._inside = any(one.start < cut <= one.end for one in covered)
        self._open = self._opened(many, cut)
        self._seen = cut
        until = self._base + cut
        moved = [one._replace(start=one.start + self._base, end=one.end + self._base) for one in clipped]
        self._trim()
        return Decided(text, begun, until, moved, blocked)

    def _plain(self, cut: int) -> Decided:
        """Nothing is in it up to ``cut``."""
        text = self._raw[self._seen : cut]
        self._seen = cut
        self._inside = False
        until = self._base + cut
        self._trim()
        return Decided(text, (), until)

    def _hold(self) -> int:
        most = 0
        for reach, knows in self._knows:
            most = max(most, reach if knows is None else min(reach, knows.pending(self._raw[-reach:])))
        return most

    def _goes_on(self, last: bool) -> int:
        """Up to where the finding that is open covers what is held; it is closed where it ends."""
        assert self._open is not None  # noqa: S101 - asked only then
        knows, kind, end = self._open
        if end < 0:
            count, more = knows.rest(kind, self._raw[self._seen :], last)
            end = self._seen + count
            if more and not last:
                return end
        self._open = None
        return max(self._seen, end)

    def _look(self, start: int) -> list[Found]:
        many = look(self._rules, self._raw, self._channel)
        if not self._base:
            return many
        return [one for one in many if not (one.start < _LEAD and one.end > start and _endless(one))]

    def _text(self, covered: Sequence[Stretch], cut: int) -> tuple[str, list[Stretch]]:
        """What may be told of the characters up to ``cut``, and which of them are covered."""
        raw, at = self._raw, self._seen
        parts: list[str] = []
        clipped: list[Stretch] = []
        for one in covered:
            begins, ends = max(one.start, self._seen), min(one.end, cut)
            if begins >= ends:
                continue
            parts.append(raw[at:begins])
            if not (begins == self._seen and self._inside):
                parts.append(label(one.kind))
            clipped.append(Stretch(one.kind, begins, ends))
            at = ends
        parts.append(raw[at:cut])
        return "".join(parts), clipped

    def _opened(self, many: Sequence[Found], cut: int) -> _Open | None:
        """What covers characters after ``cut`` and may be cut off at its start before they are decided."""
        longest: _Open | None = None
        for one in many:
            knows = eager(one.rule)
            if knows is None or one.action is not Action.MASK or not one.start < cut <= one.end or not _endless(one):
                continue
            more = knows.rest(one.kind, self._raw[one.start : one.end], False)[1] and one.end == len(self._raw)
            if more:
                return _Open(knows, one.kind, -1)
            if cut < one.end and (longest is None or one.end > longest.end):
                longest = _Open(knows, one.kind, one.end)
        return longest

    def _trim(self) -> None:
        spare = self._seen - 2 * self.reach
        if spare > _SPARE:  # not for every character
            self._raw = self._raw[spare:]
            self._base += spare
            self._seen -= spare
            if self._open is not None and self._open.end >= 0:
                self._open = self._open._replace(end=self._open.end - spare)


_COVER: Final = Rule("", Action.MASK)


def _endless(one: Found) -> bool:
    knows = eager(one.rule)
    return knows is not None and knows.rest(one.kind, "", False)[1]
