"""Texts as a reader sees them: look-alikes become ASCII, what cannot be seen is taken out, and places are kept.

Digits of every script, full-width and mathematical letters, dashes and spaces of every kind, and the Cyrillic and Greek
letters that look like Latin ones. One character becomes one character (Unicode Standard Annex 15, and Technical
Standard 39 for what looks alike), so that only what is invisible moves anything.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

FEW: Final = 4
"""So many invisible characters in a row are passed over; more are no slip, and separate as a new line does."""

_HIDDEN: Final = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
INVISIBLE: Final = re.compile(f"[{_HIDDEN}\U000e0000-\U000e007f]+")

_ALIKE: Final = dict(
    zip(
        "аеорсухіјѕԁһԛԝѵАВЕНІЈКМОРСТУХЅԌԚԜαιορνυκτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcyxijsdhqwvABEHIJKMOPCTYXSGQWaiopvuktABEZHIKMNOPTYX",
        strict=True,
    )
)


class _Table(dict[int, str]):
    """Filled as characters come."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _plain(chr(code))
        return found


def _plain(one: str) -> str:
    if one.isascii():
        return one
    if one in _ALIKE:
        return _ALIKE[one]
    digit = unicodedata.decimal(one, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(one)
    if category == "Pd" or one == "\u2212":
        return "-"
    if category == "Zs":
        return " "
    alone = unicodedata.normalize("NFKC", one)
    return alone if len(alone) == 1 and alone.isascii() else one


_TABLE: Final = _Table()


class Folded(NamedTuple):
    """``at``: where each character of ``text`` stood, and the length last; None: where it stands."""

    text: str
    at: list[int] | None

    def place(self, index: int) -> int:
        """Where the character ``index`` of the folded text stood."""
        return index if self.at is None else self.at[index]

    def end(self, index: int) -> int:
        """Where a span that ends before character ``index`` of the folded text ended."""
        return index if self.at is None or index == 0 else self.at[index - 1] + 1


def fold(text: str) -> Folded:
    """The text to look for things in."""
    if text.isascii():
        return Folded(text, None)
    if INVISIBLE.search(text) is None:
        return Folded(text.translate(_TABLE), None)
    kept: list[str] = []
    at: list[int] = []
    end = 0
    for run in INVISIBLE.finditer(text):
        start, stop = run.span()
        kept.append(text[end:start])
        at.extend(range(end, start))
        if stop - start > FEW:
            kept.append("\n")
            at.append(start)
        end = stop
    kept.append(text[end:])
    at.extend(range(end, len(text) + 1))
    return Folded("".join(kept).translate(_TABLE), at)


def hidden(text: str) -> int:
    """How many of its characters cannot be seen."""
    return sum(len(run[0]) for run in INVISIBLE.finditer(text)) if not text.isascii() else 0
