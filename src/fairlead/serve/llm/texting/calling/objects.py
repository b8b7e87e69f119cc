"""A call that is written as a JSON object, read as it comes."""

from __future__ import annotations

import json
from typing import Final

DEEPEST: Final = 64
LONGEST_NAME: Final = 256
_ARGUMENTS: Final = ("arguments", "parameters")
_NAMES: Final = ("name", "function")
_KNOWN: Final = frozenset((*_ARGUMENTS, *_NAMES, "id", "type"))


class ObjectScan:
    """``{"name": "f", "arguments": {...}}`` in either order; ``parameters`` for arguments, as Llama writes it. Pure.

    ``name``: once it is known.  ``arguments``: what came of them, as the model wrote it, since they were last taken.
    ``broken``: it is no such object.  ``whole``: it ended.  ``other``: it has something that no call has.
    """

    def __init__(self) -> None:
        self.name = ""
        self.raw: list[str] = []
        """Everything, for the case that it is no call."""
        self.whole = False
        self.broken = False
        self.other = False
        self._taken: list[str] = []
        self._any = False
        self._depth = 0
        self._string = False
        self._escaped = False
        self._word: list[str] = []
        self._key = ""
        self._value = False
        self._captures = False

    def take(self) -> str:
        """What came of the arguments since; ``{}`` at the end of a call that has none."""
        found = "".join(self._taken)
        self._taken.clear()
        if self.whole and not self._any:
            self._any = True
            return "{}"
        return found

    def feed(self, text: str) -> int:
        """How many characters belong to it: all, or those up to its end."""
        for place, one in enumerate(text):
            self._step(one)
            if self.whole or self.broken:
                self.raw.append(text[: place + 1])
                return place + 1
        self.raw.append(text)
        return len(text)

    def _step(self, one: str) -> None:
        if self._captures:
            self._taken.append(one)
        if self._string:
            self._in_string(one)
        elif one == '"':
            self._string = True
            self._word = [one]
            if self._depth == 1 and not self._value:
                self._key = ""
        elif one in "{[":
            self._opened(one)
        elif one in "}]":
            self._closed()
        elif self._depth == 1:
            self._between(one)

    def _in_string(self, one: str) -> None:
        if self._depth == 1:
            self._word.append(one)
        if self._escaped:
            self._escaped = False
        elif one == "\\":
            self._escaped = True
        elif one == '"':
            self._string = False
            if self._depth == 1:
                self._said()

    def _said(self) -> None:
        """A text at the top of the object is whole."""
        try:
            found = json.loads("".join(self._word), strict=False)
        except ValueError:
            self.broken = True
            return
        if not self._value:
            self._key = found
            self.other = self.other or found not in _KNOWN
        elif self._key in _NAMES:
            self.name = found
            self.broken = not 0 < len(found) <= LONGEST_NAME
        elif self._key in _ARGUMENTS:
            self._any = True
            self._taken.append(found)

    def _opened(self, one: str) -> None:
        self._depth += 1
        self.broken = self._depth > DEEPEST or (self._depth == 1 and one != "{")
        if self._depth == 2:
            if not self._value:
                self.broken = True
            elif self._key in _ARGUMENTS:
                self._captures = self._any = True
                self._taken.append(one)

    def _closed(self) -> None:
        self._depth -= 1
        if self._depth == 1:
            self._captures = False
        self.whole = self._depth == 0

    def _between(self, one: str) -> None:
        if one == ":":
            self.broken = not self._key
            self._value = True
        elif one == ",":
            self._value = False
            self._key = ""
        elif not self._value and not one.isspace():
            self.broken = True
