"""How attacks on language models are worded, in families; also where the words are encoded.

The families are those of the public taxonomies (OWASP LLM01, MITRE ATLAS AML.T0051 and AML.T0054). Every pattern is
bounded, so that a text takes time in proportion to its length.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from typing import Final

from fairlead.kit.folding import fold, hidden

_DROP: Final = (
    r"(?:ignor|disregard|forget|overrid|bypass|neglect|discard|skip|do not follow|don't follow|stop following"
    r"|pay no attention to)\w*"
)
_ORDERS: Final = (
    r"(?:instruction|prompt|rule|direction|guideline|directive|programming|command|constraint|restriction"
    r"|content polic|safety|training|polic)\w*"
)
_OLD: Final = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|all|any|every|initial|original|system|your|you were given)"
)
_FREE: Final = (
    r"(?:no|without(?: any)?|free (?:of|from)|not bound by(?: any)?|lack of|ignores?(?: all)?) "
    r"(?:\w+ ){0,3}(?:rule|restriction|limit|filter|censor|ethic|moral|guideline|polic|boundar|warning|disclaimer)\w*"
)
_SAY: Final = (
    r"(?:reveal|show|print|output|repeat|display|tell me|give me|leak|recite|dump|write out|what (?:is|are|was|were))"
)
_HIDDEN: Final = r"(?:system|initial|hidden|original|secret|developer|configuration)"
_BE: Final = (
    r"(?:you are (?:now|going to)|from now on|pretend|act(?:ing)? as|imagine|role-?play|simulate|stay in character"
    r"|call(?:ed)? yourself)"
)
_NOT: Final = r"(?:never|must not|cannot|can't|don't|do not|will not|won't|shall not)"
_REFUSE: Final = r"(?:refus|declin|apologi[sz]|say (?:that )?(?:you|it) (?:can't|cannot)|warn|break character)\w*"
_GAP: Final = r"[^.!?\n]{0,40}"

_INJECTIONS: Final = (
    # Orders to drop the orders that there are.
    rf"\b{_DROP}\b{_GAP}\b{_OLD}\b{_GAP}\b{_ORDERS}",
    rf"\b(?:ignore|forget|disregard) (?:everything|all|anything)\b{_GAP}\b(?:above|before|said|told|learned|know)",
    r"\b(?:new|updated|real|actual) (?:system )?(?:instructions?|directives?) ?(?::|are\b)",
    # The same in other languages.
    r"\b(?:ignor|olvida|descarta)\w* (?:\w+ ){0,3}(?:instrucciones|instruções|instruccións|órdenes)\b",
    (
        rf"\b(?:ignore[rz]?|oublie[rz]?)\b{_GAP}\b(?:instructions|consignes|directives)\b{_GAP}"
        r"\b(?:pr[eé]c[eé]dent|ant[eé]rieur|ci-dessus)"
    ),
    rf"\b(?:ignorier|vergiss|vergess|missacht)\w*\b{_GAP}\b(?:anweisung|anordnung|regel|vorgabe|instruktion)",
    r"(?:忽略|无视|忘记|忘掉)[^。\n]{0,12}(?:指令|指示|提示|规则|说明)",
    r"(?:以前|上記|これまで|前)の[^。\n]{0,6}(?:指示|命令|プロンプト)を?(?:無視|忘れ)",
    # To tell what was to stay hidden.
    rf"\b{_SAY}\b{_GAP}\b{_HIDDEN}\b[^.!?\n]{{0,12}}\b(?:prompt|instruction|message|configuration|rules)",
    (
        rf"\b(?:repeat|output|print|copy)\b{_GAP}\b(?:text|words|everything|all|sentences?)\b{_GAP}"
        r"\b(?:above|before (?:this|the)|preceding|verbatim)"
    ),
    # Modes that do not exist.
    (
        r"\b(?:debug|maintenance|admin(?:istrator)?|sudo|god|root|diagnostic) (?:mode|override|access)\b[^.!?\n]{0,30}"
        r"(?:[:.]|\b(?:on|enabled?|activated?|display|granted|now|system)\b)"
    ),
    # Marks of templates, which only a server writes.
    (
        r"<\|im_(?:start|end)\|>|\[/?inst\]|<</?sys>>|<\|(?:system|assistant|endoftext)\|>"
        r"|^#{2,3} ?(?:system|instruction)s? ?:"
    ),
)
_JAILBREAKS: Final = (
    rf"\b{_BE}\b[^\n]{{0,160}}\b(?:{_FREE}|unfiltered|uncensored|unrestricted|amoral|jailb(?:reak|roken)\w*)",
    (
        r"\bdo anything now\b|\bstrive to avoid norms\b|\balways intelligent and machiavellian\b|\bdan (?:mode|\d)"
        r"|\bdeveloper mode (?:enabled|output|activated|on)\b|\bchatgpt (?:with|in) developer mode\b"
        r"|\bjailbreak(?:ed)? (?:mode|prompt|ai)\b"
    ),
    (
        rf"\b{_NOT}\b (?:ever )?{_REFUSE}[^.!?\n]{{0,60}}"
        r"\b(?:answer|request|prompt|question|order|response|illegal|unethical|immoral|anything)"
    ),
)
_HINTS: Final = re.compile(
    r"ignor|disregard|forget|overrid|bypass|neglect|discard|skip|follow|attention|instruc|directive|olvida|oublie"
    r"|vergess|vergiss|missacht|message|忽略|无视|忘|無視|prompt|configuration|rules|above|before"
    r"|preceding|verbatim|mode|override|access|<|\[|#"
)
"""One of these is in every attack that ``_INJECTIONS`` knows."""
_JAIL_HINTS: Final = re.compile(
    r"now|going|pretend|act(?:ing)? as|imagine|role-?play|simulate|character|yourself|anything|norms|machiavellian"
    r"|dan|jailb|developer mode|refus|declin|apolog|say|warn"
)
"""The same of ``_JAILBREAKS``."""
_FAMILIES: Final = tuple(
    (kind, hints, [re.compile(one, re.MULTILINE) for one in many])
    for kind, hints, many in (("injection", _HINTS, _INJECTIONS), ("jailbreak", _JAIL_HINTS, _JAILBREAKS))
)
SURE: Final = 0.9
ENCODED: Final = 0.97
"""How sure a phrase is that somebody took the trouble to encode."""
MANY_HIDDEN: Final = 8
"""Invisible characters that are no emoji and no script: that many hide something."""

_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/_-]{24,4096}={0,2}")
_HEX: Final = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ :]?){16,2048}")
_ROT: Final = re.compile(r"\b(?:vtaber|qvfertneq|flfgrz|cebzcg|vafgehpgvba|sbetrg)", re.IGNORECASE)
"""ignore, disregard, system, prompt, instruction, forget."""
_MOST_BLOBS: Final = 64


def told(text: str) -> dict[str, float]:
    """By kind, how sure it is that the text attacks."""
    found = _plain(fold(text).text, SURE)
    for blob in blobs(text):
        for kind, score in _plain(blob, ENCODED).items():
            found[kind] = max(score, found.get(kind, 0.0))
    if hidden(text) >= MANY_HIDDEN and any("\U000e0000" <= one <= "\U000e007f" for one in text):
        smuggled = "".join(chr(ord(one) - 0xE0000) for one in text if "\U000e0020" <= one <= "\U000e007e")
        if sum(map(str.isalpha, smuggled)) >= MANY_HIDDEN:
            found["injection"] = ENCODED
    return found


def blobs(text: str) -> Iterator[str]:
    """What is encoded in a text, decoded once: base64, hexadecimal, the whole by rot13."""
    for place, match in enumerate(_BASE64.finditer(text)):
        if place >= _MOST_BLOBS:
            break
        blob = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            yield from _readable(base64.b64decode(blob + "=" * (-len(blob) % 4)))
        except (binascii.Error, ValueError):
            continue
    for place, match in enumerate(_HEX.finditer(text)):
        if place >= _MOST_BLOBS:
            break
        yield from _readable(bytes.fromhex(re.sub(r"[ :]", "", match[0])))
    if _ROT.search(text):
        yield codecs.decode(text, "rot13")


def _readable(data: bytes) -> Iterator[str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    if sum(one.isprintable() or one.isspace() for one in text) > 0.9 * len(text):
        yield fold(text).text


def _plain(text: str, score: float) -> dict[str, float]:
    text = text.lower()
    return {
        kind: score
        for kind, hints, patterns in _FAMILIES
        if hints.search(text) and any(pattern.search(text) for pattern in patterns)
    }
