"""What an embedding does not see: two questions that look alike and ask for different things. Pure, in English.

``overlap`` says how many of their words they share, ``replaced`` how many stand where the other has others, ``differ``
why the answer of one is none of the other's: one says "not" and the other does not, they name other numbers, other
names, an opposite. All err on the side of a miss: a
miss costs an answer, a false hit is a wrong one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+(?:[.,:/-]\d+)*%?")
_CODE: Final = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)+|\w*[^\W_]_[^\W_]\w*|[^\W\d]\w*(?=\(\))")
"""Dotted names, names with an underscore, and what is called with empty brackets."""
_TOKEN: Final = re.compile(r"[^\W_][\w.+#-]*[^\W_]|[^\W_]")
_NUMBER: Final = re.compile(r"\d")
_NEGATIONS: Final = frozenset(
    [
        "no",
        "not",
        "never",
        "none",
        "nobody",
        "nothing",
        "neither",
        "nor",
        "without",
        "cannot",
        "unable",
        "except",
        "fail",
        "fails",
        "failed",
        "isnt",
        "lack",
        "lacks",
    ]
)
_TAIL: Final = re.compile(r"n['\u2019]t$")
_HASTY_TEXT: Final = """
arent cant couldnt didnt doesnt dont hadnt hasnt havent mustnt neednt shouldnt wasnt werent wont wouldnt
"""
_DENIALS: Final = _NEGATIONS | frozenset(_HASTY_TEXT.split())
"""With those that are typed without their apostrophe."""
_NUMBERS: Final = {
    word: str(value)
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
    if word != "one"  # mostly a pronoun
} | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "million": "1000000"}
_OPPOSITES: Final = tuple(
    (frozenset(left.split()), frozenset(right.split()))
    for left, right in (
        (
            "enable enables enabled activate activated turn_on",
            "disable disables disabled deactivate deactivated turn_off",
        ),
        (
            "increase increases increased raise raised more higher up",
            "decrease decreases decreased lower lowered less down",
        ),
        ("add adds added insert", "remove removes removed delete deletes deleted"),
        ("before earlier until", "after later since"),
        ("first oldest", "last newest latest"),
        ("open opened opening", "close closed closing"),
        ("start starts started begin", "stop stops stopped end ends"),
        ("buy bought purchase", "sell sold"),
        ("send sent sending", "receive received receiving"),
        ("deposit deposited", "withdraw withdrew withdrawal"),
        ("minimum min least lowest smallest cheapest", "maximum max most highest largest"),
        ("encrypt encrypted encode", "decrypt decrypted decode"),
        ("install installed", "uninstall uninstalled"),
        ("lock locked block blocked freeze", "unlock unlocked unblock unfreeze"),
        ("import imported upload uploaded", "export exported download downloaded"),
        ("allow allowed permit accept accepted", "deny denied forbid reject rejected"),
        ("advantage advantages pros benefit benefits", "disadvantage disadvantages cons drawback drawbacks"),
        ("true right correct good best", "false wrong incorrect bad worst"),
        ("public", "private"),
        ("with", "without"),
        ("win won", "lose lost"),
        ("male man men husband", "female woman women wife"),
    )
)
_ASKED: Final = frozenset(["who", "what", "when", "where", "why", "which", "how", "whose"])
_COMMON: Final = frozenset(
    ["i", "im", "ive", "id", "ill", "a", "an", "the", "ok", "tv", "pc", "usb", "pdf", "api", "url", "id", "faq"]
)
_FILLER_TEXT: Final = """
a an the of to in on for at by with from and or as is are was were be been being am do does did doing done has
have had having i me my mine we our you your it its this that these those there here will would can could shall
should may might must if so then than just also very really please tell know want like need get got getting go
going how what when where which who why whose about into over any some such what's how's i'm i've
"""
_FILLERS: Final = frozenset(_FILLER_TEXT.split())
"""Words that say little of what is asked for."""
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ied", "edly", "ed", "ers", "er", "ly", "es", "s")
_SHORTEST: Final = 3
"""Letters that a stem has, at least."""
_REMEMBERED: Final = 8
"""Texts that were taken apart: a question is held against several."""
_OBLIGED: Final = frozenset(["must", "should"])
_BEGINNING: Final = 2
_OPENING: Final = 6
"""Words in which a question word is looked for: "can you tell me how" asks as "how" does."""
_SYNONYMS: Final = tuple(
    group.split()
    for group in (
        "use utilize utilise employ",
        "begin start commence",
        "happen occur",
        "buy purchase",
        "fix repair",
        "mistake error",
        "change alter modify",
        "show display",
        "help assist",
        "number amount quantity",
        "specify designate",
        "purpose goal aim objective",
        "method way technique",
        "create generate construct",
        "include contain comprise encompass",
        "allow permit enable",
        "provide supply furnish offer",
        "find locate",
        "obtain acquire",
        "phone telephone mobile",
        "photo picture image",
        "quick fast rapid",
        "required necessary needed",
        "particular specific certain",
        "decline reject refuse",
        "think believe",
        "feature option",
    )
)
"""Words that may stand in each other's place, whatever is asked."""


def differ(one: str, other: str) -> str:
    """Why they ask for different things: ``polarity``, ``number``, ``entity``, ``opposite``, ``asked``; else empty."""
    left, right = words(one), words(other)
    if _negated(left) != _negated(right):
        return "polarity"
    if _numbers(left) != _numbers(right):
        return "number"
    if _unnamed(one, other) or _unnamed(other, one):
        return "entity"
    if _opposed(left, right):
        return "opposite"
    return "asked" if _asks_otherwise(left, right) else ""


def overlap(one: str, other: str) -> float:
    """The share of the words that matter, of both together, that both have: 0.0 to 1.0. Word endings count for nothing.

    Source: Jaccard's index, over stems by a short list of English endings.
    """
    left, right = _stems(one), _stems(other)
    both = left | right
    return len(left & right) / len(both) if both else 1.0


def replaced(one: str, other: str) -> int:
    """Words that matter in whose place the other has other words, no synonyms of them: a trip to london, to paris.

    Those that one has beyond the other are none of them. Names are often typed without capitals, and nothing tells
    them from other words then.
    """
    left, right = (frozenset(_ALIKE.get(word, word) for word in _stems(text)) for text in (one, other))
    return min(len(left - right), len(right - left))


@lru_cache(_REMEMBERED)
def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words(text) if word not in _FILLERS)


def stem(word: str) -> str:
    """Without its ending, by a short list of English ones."""
    for end in _ENDINGS:
        if word.endswith(end) and len(word) - len(end) >= _SHORTEST:
            word = word.removesuffix(end)
            break
    if len(word) > _SHORTEST + 1 and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > _SHORTEST else word


@lru_cache(_REMEMBERED)
def words(text: str) -> tuple[str, ...]:
    """In small letters; numbers are words."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text))
    return tuple(word.casefold().replace("\u2019", "'") for word in found)


def _negated(said: tuple[str, ...]) -> bool:
    """Whether it says "not" an odd number of times."""
    return sum(word.replace("'", "") in _DENIALS or bool(_TAIL.search(word)) for word in said) % 2 == 1


def _numbers(said: tuple[str, ...]) -> Counter[str]:
    found = (_NUMBERS.get(word, word) for word in said if word in _NUMBERS or _NUMBER.search(word))
    return Counter(number.replace(",", "") for number in found)


def _names(text: str) -> frozenset[str]:
    """Words that are written as names: capitals that begin no sentence, and words of capitals or with digits."""
    found: set[str] = set()
    begins = True
    for match in re.finditer(r"[.!?]\s+|" + _TOKEN.pattern, unicodedata.normalize("NFKC", text)):
        word = match[0]
        if word[0] in ".!?":
            begins = True
            continue
        shouted = len(word) > 1 and word.isupper()
        if (word[0].isupper() and not begins) or shouted or any(letter.isupper() for letter in word[1:]):
            found.add(word.casefold())
        begins = False
    return frozenset(found - _COMMON)


def _unnamed(one: str, other: str) -> bool:
    """Whether ``one`` has a name that ``other`` has not: there it may begin a sentence, but not be a plain word."""
    named = _names(one) | _identifiers(one)
    if not named:
        return False
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", other))
    return not named <= _identifiers(other) | {word.casefold() for word in tokens if word != word.lower()}


def _identifiers(text: str) -> frozenset[str]:
    """Names of code: `set_column` is not `add_column`, however alike two questions about them are."""
    return frozenset(name.casefold() for name in _CODE.findall(unicodedata.normalize("NFKC", text)))


def _opposed(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    one, other = set(left), set(right)
    for these, those in _OPPOSITES:
        says, said = (bool(one & these), bool(one & those)), (bool(other & these), bool(other & those))
        if says != said and ((says[0] and said[1]) or (says[1] and said[0])):
            return True
    return False


def _asks_otherwise(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether question words differ: "who" is not answered by "when". What begins with one is a question, too."""
    (one, at), (other, there) = _asked(left), _asked(right)
    if one and other:
        return one != other
    return bool(one and at < _BEGINNING) or bool(other and there < _BEGINNING)


def _asked(said: tuple[str, ...]) -> tuple[str, int]:
    """The first question word among those that open it, and its place; empty where there is none."""
    for place, word in enumerate(said[:_OPENING]):
        begin = word.partition("'")[0]
        if begin in _ASKED or (place == 0 and begin in _OBLIGED):
            return begin, place
    return "", 0


_ALIKE: Final = {stem(word): group[0] for group in _SYNONYMS for word in group}
