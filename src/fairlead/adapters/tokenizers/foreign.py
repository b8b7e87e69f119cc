"""The wall between what a template says and what callers say.

A chat template writes special tokens (``<|im_start|>``) between the texts of callers. Its output is one string, in
which the two look alike, unless the texts of callers are written in characters that no special token has: each
character of theirs that could be part of one is replaced by a stand-in of its own, before the template sees it, and
is put back once the special tokens were found. One character for one: lengths, slices and loops are as they were.

A special token can only be made of characters of the template then, whatever the template does with the text
(trims, joins, lowers, cuts), and comparisons (``'</think>' in content``) mean what they meant, as ``Said`` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, SupportsIndex

from fairlead.contracts.errors import BrokenModel, InvalidParameter

_BASE: Final = 0x10F000
"""Stand-ins are here, in the last plane for private use, where texts hardly ever have anything."""
_LAST: Final = 0x110000


class Wall:
    """Of one tokenizer. ``control``: the special tokens, as they are written. Raises BrokenModel."""

    def __init__(self, control: Iterable[str]) -> None:
        tokens = [one for one in control if one]
        self._characters = sorted({one for token in tokens for one in token if not one.isspace()})
        if len(self._characters) > _LAST - _BASE - 2:
            raise BrokenModel(f"the special tokens of the model have {len(self._characters)} different characters")
        self._longest = max(map(len, tokens), default=0)
        ends = {one for token in tokens for one in (token.strip()[:1], token.strip()[-1:]) if one}
        self._ends = ends
        self._touched = re.compile(f"[{re.escape(''.join(sorted(ends)))}]") if ends else None
        self._standing = self._tables(_BASE)
        self._clash = re.compile(f"[{chr(_BASE)}-{chr(_BASE + len(self._characters))}]")

    def _tables(self, base: int) -> Tables:
        whole = {ord(one): base + place for place, one in enumerate(self._characters)}
        near = {chr(code): chr(stand) for code, stand in whole.items() if chr(code) in self._ends}
        return Tables(whole, near, {stand: chr(code) for code, stand in whole.items()})

    def tables(self, texts: list[str]) -> Tables:
        """Stand-ins that none of these texts has. Raises InvalidParameter for a text of every character there is."""
        if not any(self._clash.search(one) for one in texts if not one.isascii()):
            return self._standing
        taken = sorted({ord(one) for text in texts for one in text if ord(one) >= 0xF0000})
        need, before = len(self._characters), 0xF0000 - 1
        for code in [*taken, _LAST]:
            if code - before > need:
                return self._tables(before + 1)
            before = code
        raise InvalidParameter("messages have nearly every character for private use; leave some of them out")

    def behind(self, text: str, tables: Tables) -> str:
        """A text of a caller, as a template may see it.

        A special token cannot begin or end in it. One that could lie around all of it is longer than it: so a short
        text is written in stand-ins only.
        """
        if self._touched is None or not text:
            return text
        if len(text) < self._longest:
            return _said(text.translate(tables.whole), tables, text)
        found = text
        for one in set(self._touched.findall(text)):
            found = found.replace(one, tables.near[one])
        return text if found is text else _said(found, tables, text)

    def all_behind(self, value: Any, tables: Tables, memory: dict[str, str]) -> Any:
        """The same for every text in a document of JSON. ``memory``: what was made of texts so far."""
        if isinstance(value, str):
            found = memory.get(value)
            if found is None:
                found = memory[value] = self.behind(value, tables)
            return found
        if isinstance(value, dict) or (not isinstance(value, list | tuple) and isinstance(value, Mapping)):
            behind = self.all_behind
            return {behind(name, tables, memory): behind(one, tables, memory) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.all_behind(one, tables, memory) for one in value]
        return value


class Tables:
    """``whole``: every character of a special token to its stand-in.  ``near``: those that one begins or ends with.

    ``back``: the way back.
    """

    __slots__ = ("_touched", "back", "near", "whole")

    def __init__(self, whole: dict[int, int], near: dict[str, str], back: dict[int, str]) -> None:
        self.whole, self.near, self.back = whole, near, back
        low, high = min(back, default=_BASE), max(back, default=_BASE)
        self._touched = re.compile(f"[{chr(low)}-{chr(high)}]")

    def plain(self, text: str) -> str:
        """What was said."""
        found = str.__str__(text)
        if not text.isascii():
            for one in set(self._touched.findall(found)):
                found = found.replace(one, self.back.get(ord(one), one))
        return found

    def stands(self, character: str) -> bool:
        """Whether it stands for another."""
        return ord(character) in self.back


class Said(str):
    """A text of a caller in stand-ins, which compares as what was said."""

    _tables: Tables
    _known: str | None

    def __str__(self) -> str:
        return self

    def _plain(self, other: Any) -> Any:
        return self._tables.plain(other) if isinstance(other, str) else other

    @property
    def _own(self) -> str:
        if self._known is None:
            self._known = self._tables.plain(self)
        return self._known

    def _cut(self, start: int, end: int) -> Said:
        return _said(str.__getitem__(self, slice(start, end)), self._tables)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._own == self._plain(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._own)

    def __contains__(self, other: object) -> bool:
        return self._plain(other) in self._own

    def __getitem__(self, key: SupportsIndex | slice) -> Said:
        return _said(str.__getitem__(self, key), self._tables)

    def __add__(self, other: str) -> Said:
        return _said(str.__add__(self, other), self._tables)

    def __radd__(self, other: str) -> Said:
        return _said(str.__add__(other, self), self._tables)

    def startswith(self, prefix: str | tuple[str, ...], *where: Any) -> bool:
        sought = tuple(map(self._plain, prefix)) if isinstance(prefix, tuple) else self._plain(prefix)
        return self._own.startswith(sought, *where)

    def endswith(self, suffix: str | tuple[str, ...], *where: Any) -> bool:
        sought = tuple(map(self._plain, suffix)) if isinstance(suffix, tuple) else self._plain(suffix)
        return self._own.endswith(sought, *where)

    def find(self, sought: str, *where: Any) -> int:
        return self._own.find(self._plain(sought), *where)

    def rfind(self, sought: str, *where: Any) -> int:
        return self._own.rfind(self._plain(sought), *where)

    def index(self, sought: str, *where: Any) -> int:
        return self._own.index(self._plain(sought), *where)

    def rindex(self, sought: str, *where: Any) -> int:
        return self._own.rindex(self._plain(sought), *where)

    def count(self, sought: str, *where: Any) -> int:
        return self._own.count(self._plain(sought), *where)

    def _pieces(self, parts: list[str], between: int) -> list[str]:
        found: list[str] = []
        place = 0
        for part in parts:
            found.append(self._cut(place, place + len(part)))
            place += len(part) + between
        return found

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        if sep is None:
            return [_said(one, self._tables) for one in str.split(self, None, maxsplit)]
        return self._pieces(self._own.split(self._plain(sep), maxsplit), len(sep))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        if sep is None:
            return [_said(one, self._tables) for one in str.rsplit(self, None, maxsplit)]
        return self._pieces(self._own.rsplit(self._plain(sep), maxsplit), len(sep))

    def splitlines(self, keepends: bool = False) -> list[str]:
        return [_said(one, self._tables) for one in str.splitlines(self, keepends)]

    def partition(self, sep: str) -> tuple[str, str, str]:
        before, middle, _ = self._own.partition(self._plain(sep))
        return self._three(len(before), len(middle))

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        before, middle, _ = self._own.rpartition(self._plain(sep))
        return self._three(len(before), len(middle))

    def _three(self, before: int, middle: int) -> tuple[str, str, str]:
        return self._cut(0, before), self._cut(before, before + middle), self._cut(before + middle, len(self))

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> str:
        if not old:
            return _said(str.replace(self, old, new, count), self._tables)
        return _said(str.join(new, self.split(old, count)), self._tables)

    def strip(self, chars: str | None = None) -> str:
        return self._stripped(self._own.lstrip(self._plain(chars)), self._own.strip(self._plain(chars)))

    def lstrip(self, chars: str | None = None) -> str:
        rest = self._own.lstrip(self._plain(chars))
        return self._stripped(rest, rest)

    def rstrip(self, chars: str | None = None) -> str:
        return self._stripped(str(self), self._own.rstrip(self._plain(chars)))

    def _stripped(self, begins: str, left: str) -> str:
        start = len(self) - len(begins)
        return self._cut(start, start + len(left))

    def removeprefix(self, prefix: str, /) -> str:
        return self._cut(len(prefix), len(self)) if prefix and self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> str:
        return self._cut(0, len(self) - len(suffix)) if suffix and self.endswith(suffix) else self

    def lower(self) -> str:
        return self._cased(self._own.lower())

    def upper(self) -> str:
        return self._cased(self._own.upper())

    def capitalize(self) -> str:
        return self._cased(self._own.capitalize())

    def title(self) -> str:
        return self._cased(self._own.title())

    def _cased(self, text: str) -> str:
        return _said(text.translate(self._tables.whole), self._tables)


def _said(text: str, tables: Tables, known: str | None = None) -> Said:
    made = Said(text)
    made._tables = tables  # noqa: SLF001 - the constructor of a str takes only the text
    made._known = known  # noqa: SLF001 - as above
    return made
