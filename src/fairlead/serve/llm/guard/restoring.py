"""Puts what was masked in a question back into its answer, also where a name comes in pieces."""

from __future__ import annotations

import json
import re
from typing import Final

from fairlead.contracts.engine import Event, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import CallDelta, Ended, Piece
from fairlead.serve.llm.ask import Later
from fairlead.serve.llm.guard.masks import LONGEST, Placeholders

_BEGUN: Final = re.compile(r"<(?:[A-Z][A-Z_]{0,30}\d{0,6})?\Z")


class Restoring(Later):
    """The rest of the line; what it tells goes through ``tell``. Holds at most the start of one name for each text."""

    __slots__ = ("_calls", "_held", "_names", "_tell")

    def __init__(self, names: Placeholders, tell: Tell) -> None:
        super().__init__()
        self._names = names
        self._tell = tell
        self._held: dict[str, str] = {"text": "", "reasoning": "", "refusal": ""}
        self._calls: dict[int, str] = {}

    def tell(self, event: Event) -> None:
        if self.cancelled:
            return
        if isinstance(event, Piece):
            event = event._replace(
                text=self._more("text", event.text),
                reasoning=self._more("reasoning", event.reasoning),
                refusal=self._more("refusal", event.refusal),
                calls=tuple(self._call(one) for one in event.calls),
            )
        elif isinstance(event, Ended | FairleadError):
            self._flush()
        if not self.cancelled:
            self._tell(event)

    def _more(self, channel: str, text: str) -> str:
        if not text:
            return text
        whole = self._held[channel] + text
        cut = _cut(whole)
        self._held[channel] = whole[cut:]
        return self._names.back(whole[:cut])

    def _call(self, one: CallDelta) -> CallDelta:
        if not one.arguments:
            return one
        whole = self._calls.get(one.place, "") + one.arguments
        cut = _cut(whole)
        self._calls[one.place] = whole[cut:]
        return one._replace(arguments=self._names.back(whole[:cut], _inside_json))

    def _flush(self) -> None:
        calls = tuple(CallDelta(place, arguments=text) for place, text in self._calls.items() if text)
        if calls or any(self._held.values()):
            held = self._held
            self._tell(Piece(held["text"], 0, calls, held["reasoning"], held["refusal"]))
        self._held = dict.fromkeys(self._held, "")
        self._calls = {}


def _cut(whole: str) -> int:
    """Where the start of a name that is not whole yet begins."""
    at = whole.rfind("<", max(0, len(whole) - LONGEST))
    return at if at >= 0 and _BEGUN.match(whole, at) else len(whole)


def _inside_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
