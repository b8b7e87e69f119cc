"""Calls of tools in an answer: held until they are whole, then looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.generation import CallDelta
from fairlead.contracts.guardrail import Action, Channel
from fairlead.serve.llm.guard.arguments import Allowed
from fairlead.serve.llm.guard.examine import Said
from fairlead.serve.llm.guard.masks import plain_json, strings
from fairlead.serve.llm.guard.rules import Found, Rule

TOOLS: Final = "tools"


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Calls:
    """Of one answer."""

    def __init__(self, allowed: Allowed | None, refusing: Action) -> None:
        self._allowed = allowed
        self._rule = Rule(TOOLS, refusing)
        self._calls: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, deltas: Sequence[CallDelta]) -> None:
        for delta in deltas:
            call = self._calls.setdefault(delta.place, _Call())
            call.id = call.id or delta.id
            call.name += delta.name
            call.arguments += delta.arguments

    def wrong(self) -> list[Found]:
        """Those that are not allowed, by kind ``tool`` or ``arguments``."""
        if self._allowed is None:
            return []
        kinds = [self._allowed.wrong(call.name, call.arguments) for call in self._calls.values()]
        return [Found(self._rule, kind, 0, 1, 1.0) for kind in kinds if kind]

    def said(self) -> list[Said]:
        """Every text of their arguments."""
        return [Said(Channel.ANSWER, text) for call in self._calls.values() for text in strings(call.arguments)]

    def whole(self, texts: Sequence[Said]) -> tuple[CallDelta, ...]:
        """The calls, with these texts in the order of ``said``."""
        left = iter(texts)
        return tuple(
            CallDelta(place, call.id, call.name, plain_json(call.arguments, lambda _: next(left).text))
            for place, call in self._calls.items()
        )

    def unseen(self) -> tuple[CallDelta, ...]:
        """The calls as they are."""
        return tuple(CallDelta(place, one.id, one.name, one.arguments) for place, one in self._calls.items())
