"""What stands in the place of what must not be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from fairlead.contracts.guardrail import Action, Channel
from fairlead.serve.llm.guard.rules import Found, Rule, look

Label = Callable[[str, str], str]
"""What stands for a kind and a text."""

PLACEHOLDER: Final = re.compile(r"<([A-Z][A-Z_]{0,30})_(\d{1,6})>")
LONGEST: Final = 40
"""Characters of a placeholder, at most."""


_NESTED: Final = 64


class Stretch(NamedTuple):
    """Characters of a text that are covered, by one finding or by several that touch. ``kind``: of the first."""

    kind: str
    start: int
    end: int


def label(kind: str, _: str = "") -> str:
    """The same for everything of a kind."""
    return f"<{kind.upper().replace('-', '_')}>"


def stretches(many: Sequence[Found]) -> list[Stretch]:
    """What is masked, in order. Which kind names a stretch: that of the first detector among those that begin it."""
    told: list[Stretch] = []
    for one in sorted((one for one in many if one.action is Action.MASK), key=lambda one: one.start):
        if told and one.start <= told[-1].end:
            if one.end > told[-1].end:
                told[-1] = told[-1]._replace(end=one.end)
        else:
            told.append(Stretch(one.kind, one.start, one.end))
    return told


def masked(text: str, covered: Sequence[Stretch], name: Label = label) -> str:
    """The text with a name in the place of every stretch."""
    parts: list[str] = []
    end = 0
    for one in covered:
        parts += (text[end : one.start], name(one.kind, text[one.start : one.end]))
        end = one.end
    parts.append(text[end:])
    return "".join(parts)


def redacted(text: str, rules: Sequence[Rule], channel: Channel = Channel.ANSWER) -> str:
    """A text that may be written down: everything that the local detectors find is masked, whatever is done about it
    elsewhere. Pure.
    """
    if not text:
        return text
    hidden = [Found(_HIDING, one.kind, one.start, one.end, one.score) for one in look(rules, text, channel)]
    return masked(text, stretches(hidden))


_HIDING: Final = Rule("redact", Action.MASK)


def plain_json(text: str, change: Callable[[str], str]) -> str:
    """JSON text with every string in it changed, keys as well; what is no JSON is changed as one text.

    An escape hides nothing: the strings are seen as a reader of the JSON sees them. As it was where nothing changes.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return change(text)
    if _deep(document):
        return change(text)
    changed = _changed(document, change)
    return text if changed == document else json.dumps(changed, ensure_ascii=False)


def strings(text: str) -> list[str]:
    """Every string in a JSON text; what is no JSON is one."""
    told: list[str] = []

    def take(one: str) -> str:
        told.append(one)
        return one

    plain_json(text, take)
    return told


def _deep(document: Any) -> bool:
    """Whether it is nested further than anybody means it."""
    level: list[Any] = [document]
    for _ in range(_NESTED):
        if not level:
            return False
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
    return bool(level)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(one, change) for one in value]
    if isinstance(value, dict):
        return {change(key): _changed(one, change) for key, one in value.items()}
    return value


class Placeholders:
    """Names for the texts of one conversation: the same text has the same name, in the order in which they come.

    A caller sends the whole conversation each time, so a name stays what it was.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._texts: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._taken = {match[0] for text in taken for match in PLACEHOLDER.finditer(text)}
        """What somebody wrote that looks like a name: it must not become one."""

    def __len__(self) -> int:
        return len(self._texts)

    def __call__(self, kind: str, text: str) -> str:
        kind = kind.upper().replace("-", "_")[:31]
        text = self.back(text)
        found = self._names.get((kind, text))
        while found is None or found in self._taken:
            self._counts[kind] = number = self._counts.get(kind, 0) + 1
            found = f"<{kind}_{number}>"
        self._names[kind, text] = found
        self._texts[found] = text
        return found

    def back(self, text: str, change: Callable[[str], str] = str) -> str:
        """The text with what the names stand for; ``change``: made of each first."""
        if not self._texts or "<" not in text:
            return text
        return PLACEHOLDER.sub(
            lambda match: change(self._texts[match[0]]) if match[0] in self._texts else match[0], text
        )
