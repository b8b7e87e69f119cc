"""Numbers of people: payment cards, social security, telephone.

A number alone says little: what its checksum and its form leave open, words near it decide (``score``).
Sources: ISO/IEC 7812 (Luhn, issuers), SSA POMS RM 10201 (areas that are never given out), ITU-T E.164 (15 digits).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from fairlead.serve.llm.guard.pii.spans import BEFORE, Span

# Each begins with the first character itself and looks back from behind it: so the scan for it is quick.
_CARD: Final = re.compile(
    r"\d(?<!\d\d)(?<!\d[.,]\d)(?="
    r"(\d{11,18}(?!\d)"
    r"|\d{3}([ -])\d{4}\2\d{4}\2\d{4}(?:\2\d{1,3})?(?!\d)"
    r"|\d{3}([ -])\d{6}\3\d{4,5}(?!\d)"
    r"|(?<!\d[ -]\d)(?:[ -]\d(?!\d)){12,18}(?![ -]?\d)))"
)
_CARD_WORDS: Final = re.compile(r"card|visa|master|amex|american express|credit|debit|\bcc\b|payment", re.IGNORECASE)
_SSN: Final = re.compile(r"\d(?<![\w-]\d)\d\d([- ]?)(?!00)\d\d\1(?!0000)\d{4}(?![\w-])")
_NO_AREA: Final = ("000", "666", "9")
_SSN_WORDS: Final = re.compile(r"\bssn|social|soc\.? sec|taxpayer|\bitin|\btin\b", re.IGNORECASE)

_SEP: Final = r"(?: ?\(|\)[ -]?| - |[ .\-/])"
_RUN: Final = re.compile(
    r"[+(\d](?<![\w.,@#$€£/][+(\d])(?<!\d[ .\-/)(][+(\d])(?<!\d\) [+(\d])(?<!\d - [+(\d])(?<!\d \([+(\d])"
    r"(?:(?<=(\+)) ?\(?\d|(?<=\()\d|(?<=\d))"
    rf"(?:{_SEP}?\d){{5,24}}+\)?(?!{_SEP}?\d)( ?(?:x|ext\.? ?|#)\d{{1,6}})?+(?![\w%])"
)
_GROUP: Final = re.compile(r"\d+")
_DATE: Final = re.compile(
    r"\(?(?:(?:19|20)\d\d([-/.])[01]?\d\1[0-3]?\d|[0-3]?\d([-/.])[0-3]?\d\2(?:19|20)?\d\d)(?![-/.]?\d)[ -]?"
)
_PHONE_WORDS: Final = re.compile(
    r"phone|\btel|mobil|\bcell|\bfax|\bcall|\bdial|\bring\b|\bdesk\b|\boffice\b|contact|\breach|\btext\b|\bsms|whatsapp"
    r"|messag|answer|hotline|voicemail|\bext\b|\bhandy|telefon|numer[oi] di|rufnummer",
    re.IGNORECASE,
)
_AFTER: Final = re.compile(r" ?\(?(?:office|fax|mobile|cell|home|work|desk|tel|phone)\b", re.IGNORECASE)
_OTHERS: Final = re.compile(
    r"\b(?:order|invoice|id|ref|reference|isbn|account|tracking|ticket|serial|version|zip|card|page|line)\b[^.?!]{0,12}$",
    re.IGNORECASE,
)


def cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        found = match[0] + match[1]
        digits = re.sub(r"\D", "", found)
        if _issued(digits) and luhn(digits):
            words = _CARD_WORDS.search(text[max(0, match.start() - BEFORE) : match.start()])
            sure = words is not None or (len(digits) > 13 and digits[0] in "3456")
            if len(digits) > 12 or words is not None:
                yield Span("card", match.start(), match.end(1), 1.0 if sure else 0.6)


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of the others."""
    doubled = sum(int("0246813579"[int(one)]) for one in digits[-2::-2])
    return (doubled + sum(int(one) for one in digits[::-2])) % 10 == 0


def _issued(digits: str) -> bool:
    """Whether some network gives out numbers that begin so, and are so long."""
    if digits[0] in "56":
        return True
    if digits[0] == "4":
        return len(digits) in (13, 16, 19)
    if digits[0] == "2":
        return ("2221" <= digits[:4] <= "2720" and len(digits) == 16) or (digits[:4] == "2131" and len(digits) == 15)
    if digits[0] == "3":
        return len(digits) >= 14
    return digits[:4] == "1800" and len(digits) == 15


def numbers_of_insured(text: str) -> Iterator[Span]:
    """Social security numbers of the United States. Without dashes only beside words that say so."""
    for match in _SSN.finditer(text):
        if match[0].startswith(_NO_AREA):
            continue
        words = _SSN_WORDS.search(text[max(0, match.start() - BEFORE) : match.start()])
        if match[1] == "-" or words:
            yield Span("ssn", match.start(), match.end(), 1.0 if words else 0.8)


def phones(text: str, taken: Sequence[Span]) -> Iterator[Span]:
    """``taken``: spans that are something else."""
    for match in _RUN.finditer(text):
        start, end = match.span()
        if any(one.start < end and start < one.end for one in taken):
            continue
        before = text[max(0, start - BEFORE) : start]
        words = _PHONE_WORDS.search(before) is not None or _AFTER.match(text[end : end + 12]) is not None
        found = _phone(match, words)
        if found is not None:
            offset, score = found
            if not words and _OTHERS.search(before):
                score -= 0.4
            if score > 0:
                yield Span("phone", start + offset, end, round(score, 2))


def _phone(match: re.Match[str], words: bool) -> tuple[int, float] | None:
    """Where in a run of digits the telephone number begins, and how sure that is."""
    run = match[0]
    body = run[: len(run) - len(match[2] or "")]
    dated = _DATE.match(body)
    groups = [(one.start(), len(one[0])) for one in _GROUP.finditer(body, dated.end() if dated else 0)]
    digits = sum(length for _, length in groups)
    sure = 0.45 * words
    if match[1] and not dated:
        return (0, min(1.0, 0.6 + sure)) if 7 <= digits <= 15 else None
    if body.startswith(("00", "(00")) and 10 <= digits <= 16:
        return 0, 0.55 + sure
    while len(groups) > 1 and (digits > 12 or (groups[0][1] == 5 and digits >= 12)):
        digits -= groups.pop(0)[1]
    if not 7 - words <= digits <= 12:
        return None
    at = groups[0][0]
    if at and body[at - 1] == "(":
        at -= 1
    return at, min(1.0, _form(body[at:], [length for _, length in groups], digits) + sure + 0.2 * bool(match[2]))


def _form(told: str, groups: list[int], digits: int) -> float:
    """How much a number without a country looks like one that is called."""
    if groups == [3, 2, 4]:
        return 0.2
    if groups[-3:] == [3, 3, 4] and digits <= 11:
        return 0.6
    if told.startswith("("):
        return 0.55
    if told[0] == "0" and digits >= 9 and groups != [5, 4]:
        return 0.55 if len(groups) > 1 else 0.4
    return {1: 0.2, 2: 0.3}.get(len(groups), 0.35)
