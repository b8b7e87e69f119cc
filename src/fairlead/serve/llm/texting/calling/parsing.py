"""Calls of tools in what a model writes, found as it comes: text on one side, pieces of calls on the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.generation import CallDelta
from fairlead.serve.llm.texting.calling.objects import LONGEST_NAME, ObjectScan

Part = str | CallDelta


@dataclass(frozen=True, slots=True)
class Format:
    """How a family of models writes calls. ``opens``, ``closes``: marks around them, as they are written.

    ``bare``: an answer that begins with an object is a call, without a mark.
    ``named``: the name may stand before the object of arguments (``[TOOL_CALLS]f{...}``).
    ``short``: ids of calls have nine letters, as Mistral's templates ask for.
    """

    name: str
    opens: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    bare: bool = False
    named: bool = False
    short: bool = False

    @property
    def marks(self) -> frozenset[str]:
        """Those that are read, if they are special tokens."""
        return frozenset((*self.opens, *self.closes, *(("[ARGS]", "[CALL_ID]") if self.named else ())))


HERMES: Final = Format("hermes", ("<tool_call>",), ("</tool_call>",))
LLAMA3: Final = Format("llama3", ("<|python_tag|>",), bare=True)
MISTRAL: Final = Format("mistral", ("[TOOL_CALLS]",), named=True, short=True)
PHI: Final = Format("phi", ("<|tool_call|>", "functools"), ("<|/tool_call|>",))
JSON: Final = Format("json", bare=True)
FORMATS: Final = {one.name: one for one in (HERMES, LLAMA3, MISTRAL, PHI, JSON)}

_SEPARATORS: Final = "[],; \t\r\n"
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")


def chosen(template: str) -> Format:
    """The format that a chat template tells its model of."""
    for one in (HERMES, MISTRAL, LLAMA3, PHI):
        if any(mark in template for mark in one.opens):
            return one
    return JSON


class Parser:
    """Pure. ``names``: of the tools that are offered.  ``identity``: makes an id for the call of a place."""

    def __init__(self, format_: Format, names: Collection[str], identity: Callable[[int], str]) -> None:
        self._format, self._names, self._identity = format_, names, identity
        self._firsts = {one[0] for one in format_.opens}
        self.calls = 0
        """How many there were."""
        self._rest = ""
        self._space = ""
        self._raw = ""
        self._scan: ObjectScan | None = None
        self._told = False
        self._name = ""
        self._inside = False
        self._fresh = True
        self._out: list[Part] = []

    def feed(self, text: str) -> list[Part]:
        self._rest += text
        while self._rest and self._step():
            pass
        out, self._out = self._out, []
        return out

    def end(self) -> list[Part]:
        """What was held back, as what it is: of a call that is not whole, the part that there is."""
        if self._scan is not None:
            self._arguments(self._scan)
            if not self._told:
                self._text(self._raw + "".join(self._scan.raw))
        elif self._inside and not self.calls:
            self._text(self._raw)
        rest, self._rest, self._scan = self._rest, "", None
        if not self._inside or not self.calls:
            self._text(rest)
        if self._space and not self.calls:
            self._out.append(self._space)
        out, self._out = self._out, []
        return out

    def _step(self) -> bool:
        """One step; False: more must come first."""
        if self._scan is not None:
            return self._object(self._scan)
        return self._between() if self._inside else self._outside()

    def _text(self, text: str) -> None:
        """Text of the answer; spaces at its end wait: before a call they are nothing."""
        whole = self._space + text
        kept = whole.rstrip()
        self._space = whole[len(kept) :]
        if kept:
            self._fresh = False
            self._out.append(kept)

    def _outside(self) -> bool:
        if not self._fresh and not any(one in self._rest for one in self._firsts):
            text, self._rest = self._rest, ""
            self._text(text)
            return False
        found = [(at, mark) for mark in self._format.opens if (at := self._rest.find(mark)) >= 0]
        if self._format.bare and self._fresh and self._rest.lstrip()[:1] in ("{", "["):
            self._inside, self._raw = True, ""
            return True
        if not found:
            kept = len(self._rest) - max((_beginning(self._rest, one) for one in self._format.opens), default=0)
            text, self._rest = self._rest[:kept], self._rest[kept:]
            self._text(text)
            return False
        at, mark = min(found)
        self._text(self._rest[:at])
        self._rest = self._rest[at + len(mark) :]
        self._inside, self._raw = True, mark
        return True

    def _between(self) -> bool:
        """Inside, before an object or after one."""
        for mark in (*self._format.closes, *self._format.opens):
            if self._rest.startswith(mark):
                self._inside = mark in self._format.opens
                self._raw = mark if self._inside else ""
                self._rest = self._rest[len(mark) :]
                return True
            if mark.startswith(self._rest):
                return False
        first = self._rest[0]
        if first == "{":
            self._scan, self._told = ObjectScan(), False
            return True
        if first in _SEPARATORS and not (self._format.named and self._rest[:2] in ("[A", "[C")):
            self._raw += first
            self._rest = self._rest[1:]
            return True
        if self._format.named:
            return self._named()
        self._leave(self._rest)
        return bool(self._rest)

    def _named(self) -> bool:
        """The name of a call, which stands before its arguments."""
        found = _NAME.match(self._rest)
        if found is None or found.end() > LONGEST_NAME:
            self._leave(self._rest)
            return False
        after = self._rest[found.end() :]
        after = re.sub(r"^\s*(\[CALL_ID\][A-Za-z0-9]*)?\s*(\[ARGS\])?\s*", "", after)
        if not after or "[CALL_ID][ARGS]".startswith(after) or "[ARGS]".startswith(after):
            if len(self._rest) > 2 * LONGEST_NAME:
                self._leave(self._rest)
            return False
        if after[0] != "{":
            self._leave(self._rest)
            return False
        self._rest = after
        self._begin(found[0])
        self._scan, self._told = _Arguments(), True
        return True

    def _begin(self, name: str) -> None:
        self._space = ""
        self._out.append(CallDelta(self.calls, self._identity(self.calls), name))
        self.calls += 1

    def _leave(self, text: str) -> None:
        """What is there is no call after all."""
        self._inside = False
        self._rest = ""
        self._fresh = False
        self._text(text if self.calls else self._raw + text)
        self._raw = ""

    def _object(self, scan: ObjectScan) -> bool:
        used = scan.feed(self._rest)
        self._rest = self._rest[used:]
        if self._format.bare and not self._told and (scan.other or (scan.name and scan.name not in self._names)):
            scan.broken = True
        known = scan.name
        if not self._told and known and not scan.broken:
            self._told = True
            self._begin(scan.name)
        self._arguments(scan)
        if scan.whole or scan.broken:
            self._scan = None
            if not self._told:
                rest, self._rest = self._rest, ""
                self._leave("".join(scan.raw) + rest)
                return False
            self._raw = ""
        return bool(self._rest)

    def _arguments(self, scan: ObjectScan) -> None:
        if self._told and (text := scan.take()):
            self._out.append(CallDelta(self.calls - 1, arguments=text))


class _Arguments(ObjectScan):
    """An object that is the arguments themselves."""

    def _step(self, one: str) -> None:
        self._any = True
        self._taken.append(one)
        if self._string:
            self._in_string(one)
        elif one == '"':
            self._string = True
        elif one in "{[":
            self._depth += 1
        elif one in "}]":
            self._closed()

    def _said(self) -> None:
        """Nothing of it is looked at."""


def _beginning(text: str, mark: str) -> int:
    """How much of the end of a text may become a mark."""
    return next((one for one in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:one])), 0)
