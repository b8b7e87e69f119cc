"""Detector ``pii``: what tells of a person, or opens a door, by its form and its checksum."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Channel, DetectorOptions, Finding
from fairlead.kit.config import nearest
from fairlead.kit.folding import Folded, fold
from fairlead.kit.options import given
from fairlead.serve.llm.guard.pii import addresses, numbers, secrets
from fairlead.serve.llm.guard.pii.spans import REACH, SLACK, Span

_FINDERS: Final[dict[str, Callable[[str], Iterator[Span]]]] = {
    "private_key": secrets.private_keys,
    "jwt": secrets.jwts,
    "key": secrets.keys,
    "bearer": secrets.bearers,
    "url_credentials": addresses.credentials,
    "email": addresses.emails,
    "iban": addresses.ibans,
    "card": numbers.cards,
    "ssn": numbers.numbers_of_insured,
    "ip": addresses.addresses,
}
"""In the order in which they name what two of them find."""
KINDS: Final = (*_FINDERS, "phone")
_NO_PHONE: Final = ("iban", "card", "ssn", "ip")
_NUMBERS: Final = ("iban", "card", "ssn", "phone")
_DIGITS: Final = re.compile(r"\d(?:\D{0,3}\d){5}")
_DIGIT: Final = re.compile(r"[0-9]")
_JOINS: Final = re.compile(r"[A-Za-z]{0,4}[.,;:#]?|[-()/+]{1,3}|.?bearer|.?basic", re.IGNORECASE)
_SHORT: Final = 7
_DASHES: Final = "-----"


class Pii:
    """Pure, and linear in the length of the text."""

    name = "pii"
    cost = 0.0002

    def __init__(self, options: DetectorOptions) -> None:
        given(options.options or {}, {}, "detector pii")
        for kind in options.kinds:
            if kind not in KINDS:
                raise UsageError(f"detector pii finds no {kind!r}{nearest(kind, KINDS)}; it finds {', '.join(KINDS)}")
        self._kinds = tuple(kind for kind in KINDS if not options.kinds or kind in options.kinds)
        self._others = tuple(kind for kind in self._kinds if kind not in _NUMBERS)
        self._least = 0.5 if options.threshold is None else options.threshold
        self.reach = max(REACH[kind] for kind in self._kinds)

    def find(self, text: str, channel: Channel) -> Sequence[Finding]:  # noqa: ARG002 - the contract names it
        folded = fold(text)
        plain = folded.text
        if _DIGIT.search(plain) is None and not _may(plain):
            return ()
        kinds = self._kinds if _DIGITS.search(plain) else self._others
        spans = [span for kind in kinds if kind in _FINDERS for span in _FINDERS[kind](plain)]
        if "phone" in kinds:
            taken = [span for span in spans if span.kind in _NO_PHONE]
            taken += [one for kind in _NO_PHONE if kind not in self._kinds for one in _FINDERS[kind](plain)]
            spans += numbers.phones(plain, taken)
        found = []
        for span in spans:
            start, end = folded.place(span.start), folded.end(span.end)
            if span.kind == "private_key":
                end = _end(folded, span.end, text)
            if span.score >= self._least and (span.kind in secrets.OPEN or end - start <= REACH[span.kind] - SLACK):
                found.append(Finding(span.kind, start, end, span.score))
        return _merged(found)

    def pending(self, text: str) -> int:
        """How many characters at the end may belong to something that is not whole yet."""
        window = text[-self.reach :]
        folded = fold(window)
        plain = folded.text
        line = plain.rfind("\n") + 1
        at = start = len(plain)
        last = True
        while at > line:
            cut = max(line - 1, plain.rfind(" ", line, at))
            word = plain[cut + 1 : at]
            if last or (word and not word.isalpha() and _DIGIT.search(word)):
                start = cut + 1
            elif word and not (len(word) <= _SHORT and _JOINS.fullmatch(word)):
                break
            at, last = cut, False
        dashes = plain.find(_DASHES, max(0, len(plain) - 64))
        if dashes >= 0:
            start = min(start, dashes)
        return len(window) - folded.place(start)

    def rest(self, kind: str, text: str, last: bool) -> tuple[int, bool]:
        """How far a finding whose end was not seen goes on in ``text``, and whether it may go on after it."""
        if kind not in secrets.OPEN:
            return 0, False
        folded = fold(text)
        count, more = secrets.rest(kind, folded.text, last)
        return (_end(folded, count, text) if kind == "private_key" else folded.end(count)), more


def _end(folded: Folded, end: int, text: str) -> int:
    """Where a private key ended; one without an end reaches the end of the text, also what is invisible there."""
    return len(text) if end == len(folded.text) and not secrets.ends(folded.text) else folded.end(end)


def _may(plain: str) -> bool:
    """Whether a text without a digit may have something."""
    return "@" in plain or plain.count(":") > 1 or secrets.marked(plain)


def _merged(found: list[Finding]) -> list[Finding]:
    """In order; those of one kind that overlap are one."""
    found.sort(key=lambda one: (one.start, KINDS.index(one.kind)))
    last: dict[str, int] = {}
    kept: list[Finding] = []
    for one in found:
        at = last.get(one.kind)
        if at is not None and one.start < kept[at].end:
            before = kept[at]
            kept[at] = Finding(one.kind, before.start, max(before.end, one.end), max(before.score, one.score))
        else:
            last[one.kind] = len(kept)
            kept.append(one)
    return kept
