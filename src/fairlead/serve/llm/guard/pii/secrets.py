"""Keys, tokens and private keys: how those that give them out mark them.

A token may be longer than any window: what ``find`` sees the head of is masked to its end, and ``rest`` says how far it
goes on in what comes later. Sources: the formats that providers publish for secret scanning; RFC 7519 (JWT), RFC 7468
(PEM), RFC 6750 (bearer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fairlead.serve.llm.guard.pii.spans import Span

_C: Final = r"[A-Za-z0-9_\-+/=~]"
_TAIL: Final = re.compile(rf"(?:{_C}|\.(?={_C}))*+")
_FREE: Final = r"(?<![A-Za-z0-9_\-])"

_MARKS: Final = (
    ("sk-", 20), ("sk_live_", 16), ("sk_test_", 16), ("rk_live_", 16), ("ghp_", 30), ("gho_", 30), ("ghu_", 30),
    ("ghs_", 30), ("ghr_", 30), ("github_pat_", 30), ("glpat-", 20), ("xoxb-", 10), ("xoxp-", 10), ("xoxa-", 10),
    ("xoxr-", 10), ("xoxs-", 10), ("AIza", 30), ("ya29.", 20), ("hf_", 30), ("gsk_", 30), ("npm_", 30), ("pypi-", 30),
    ("SG.", 20), ("shpat_", 30), ("dop_v1_", 30), ("AGE-SECRET-KEY-1", 30), ("AKIA", 16), ("ASIA", 16), ("fl_", 40),
)  # fmt: skip
"""How keys begin, and how many characters follow at least."""
_KEYS: Final = {mark: re.compile(rf"{_FREE}{re.escape(mark)}(?={_C}{{{least}}})") for mark, least in _MARKS}
_AWS: Final = re.compile(r"[A-Z0-9]{16}(?![A-Za-z0-9])")
_OURS: Final = re.compile(r"[a-z2-7]{16}_[a-z2-7]{32}")
_ASSIGNED: Final = re.compile(
    r"(?:api[_\-]?key|secret|token|access[_\-]?key|passw(?:or)?d)[\"']?\s{0,2}[:=]\s{0,2}[\"']?"
    rf"(?=({_C}{{16,48}}))(?=[A-Za-z_\-+/=~]{{0,40}}[0-9])",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(rf"(?:bearer|basic) (?={_C}{{16}})(?=[A-Za-z_\-+/=~]{{0,40}}[0-9])", re.IGNORECASE)
_JWT: Final = re.compile(rf"{_FREE}(?=eyJ[A-Za-z0-9_\-]{{16}})")
_BEGIN: Final = re.compile(r"-----BEGIN [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----")
_END: Final = re.compile(r"-----END [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----")
_END_LENGTH: Final = 64

OPEN: Final = frozenset({"key", "bearer", "jwt", "private_key"})
"""Kinds of no bounded length."""


def marked(text: str) -> bool:
    """Whether something in it begins as secrets do that need no digit."""
    return "eyJ" in text or "-----BEGIN " in text or any(mark in text for mark in _KEYS)


def keys(text: str) -> Iterator[Span]:
    for mark, pattern in _KEYS.items():
        if mark in text:
            for match in pattern.finditer(text):
                if (mark in ("AKIA", "ASIA") and not _AWS.match(text, match.end())) or (
                    mark == "fl_" and not _OURS.match(text, match.end())
                ):
                    continue
                yield Span("key", match.start(), tail(text, match.end()), 1.0)
    if ("=" in text or ":" in text) and _named(text.lower()):
        for match in _ASSIGNED.finditer(text):
            yield Span("key", match.end(), tail(text, match.end()), 0.8)


def _named(text: str) -> bool:
    return any(word in text for word in ("key", "secret", "token", "passw"))


def bearers(text: str) -> Iterator[Span]:
    if not any(word in text for word in ("earer ", "EARER ", "asic ", "ASIC ")):
        return
    for match in _BEARER.finditer(text):
        yield Span("bearer", match.end(), tail(text, match.end()), 0.9)


def jwts(text: str) -> Iterator[Span]:
    if "eyJ" in text:
        for match in _JWT.finditer(text):
            yield Span("jwt", match.start(), tail(text, match.start()), 1.0)


def private_keys(text: str) -> Iterator[Span]:
    if "-----BEGIN " not in text:
        return
    at = 0
    while (match := _BEGIN.search(text, at)) is not None:
        ended = _END.search(text, match.end())
        at = ended.end() if ended else len(text)
        yield Span("private_key", match.start(), at, 1.0)


def ends(text: str) -> bool:
    """Whether a text ends as a private key does."""
    found = list(_END.finditer(text[-_END_LENGTH:]))
    return bool(found) and found[-1].end() == min(len(text), _END_LENGTH)


def tail(text: str, at: int) -> int:
    """Where a token that reaches ``at`` ends."""
    found = _TAIL.match(text, at)
    return found.end() if found else at


def rest(kind: str, text: str, last: bool) -> tuple[int, bool]:
    """How many characters at the start of ``text`` still belong to a secret, and whether it may go on after them."""
    if kind == "private_key":
        ended = _END.search(text)
        if ended:
            return ended.end(), False
        return (len(text), False) if last else (max(0, len(text) - _END_LENGTH), True)
    end = tail(text, 0)
    return end, end == len(text) or (end == len(text) - 1 and text[end] == ".")
