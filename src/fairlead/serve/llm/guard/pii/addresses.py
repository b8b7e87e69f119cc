"""Addresses of people, machines and accounts: e-mail, IP, credentials in URLs, IBAN.

Every pattern is bounded, and what it decides depends only on what stands near (``spans.REACH``).
Sources: RFC 5321 section 4.5.3.1 (lengths), RFC 4291, ISO 13616 and the IBAN registry (lengths by country).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from fairlead.serve.llm.guard.pii.spans import Span

_LOCAL: Final = 64
_DOMAIN: Final = re.compile(r"(?:[^\W_](?:[^\W_]|-){0,62}\.){1,8}[^\W\d_]{2,24}(?!-?[^\W_])")
_DOMAIN_LENGTH: Final = 62
_QUADS: Final = re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_HEXES: Final = re.compile(r"(?<![\w:])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{6,45}+(?![\w:])")
_CREDENTIALS: Final = re.compile(r"://(?!\$\{)([^\s/@:<>\"']{0,40}:(?![$<])[^\s/@<>\"']{1,64})@")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")
_IBAN_REST: Final = re.compile(r"(?:[ -]?[A-Za-z0-9])*+")

_LENGTHS: Final = {
    15: "NO", 16: "BE BI", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
    21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS", 23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",     25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL NI SV", 29: "BR EG PS QA UA",
    30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_LENGTH: Final = {country: length for length, told in _LENGTHS.items() for country in told.split()}


def emails(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        start = _local(text, at)
        if start < at and (start == 0 or text[start - 1] != "@"):
            match = _DOMAIN.match(text[at + 1 : at + 1 + _DOMAIN_LENGTH])
            if match is not None:
                yield Span("email", start, at + 1 + match.end(), 1.0)
        at = text.find("@", at + 1)


def _local(text: str, at: int) -> int:
    start = at
    while start > 0 and at - start < _LOCAL and (text[start - 1].isalnum() or text[start - 1] in "._%+-'"):
        start -= 1
    while start < at and text[start] in ".-'%":
        start += 1
    return start


def addresses(text: str) -> Iterator[Span]:
    """Of machines."""
    if text.count(".") >= 3:
        for match in _QUADS.finditer(text):
            if all(int(part) < 256 for part in match[0].split(".")):
                yield Span("ip", match.start(), match.end(), 1.0)
    if text.count(":") >= 2:
        for match in _HEXES.finditer(text):
            told = match[0].rstrip(".")
            if sum(map(bool, told.split(":"))) >= 3 and _is_six(told):
                yield Span("ip", match.start(), match.start() + len(told), 1.0)


def _is_six(told: str) -> bool:
    try:
        ipaddress.IPv6Address(told)
    except ValueError:
        return False
    return True


def credentials(text: str) -> Iterator[Span]:
    """``user:password`` in a URL."""
    if "://" in text and "@" in text:
        for match in _CREDENTIALS.finditer(text):
            yield Span("url_credentials", match.start(1), match.end(1), 1.0)


def ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        length = _LENGTH.get(match[1].upper())
        if length is None:
            continue
        rest = _IBAN_REST.match(text[match.end() : match.end() + 2 * length])
        end = _whole(rest[0] if rest else "", length - 4)
        if end < 0:
            continue
        stop = match.end() + end
        told = text[match.start() : stop].replace(" ", "").replace("-", "")
        if not text[stop : stop + 1].isalnum() and _is_iban(told):
            yield Span("iban", match.start(), stop, 1.0)


def _whole(rest: str, wanted: int) -> int:
    """The end of the first ``wanted`` letters and digits; -1: there are fewer."""
    for index, one in enumerate(rest):
        wanted -= one.isalnum()
        if not wanted:
            return index + 1
    return -1


def _is_iban(told: str) -> bool:
    """ISO 7064, mod 97-10."""
    turned = told[4:] + told[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1
