"""What a tokenizer is here, whatever file it was read from: ids of texts and conversations, bytes of ids."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import tokenizers

from fairlead.adapters.tokenizers.conversation import Conversation
from fairlead.adapters.tokenizers.foreign import Wall
from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Message, Tool

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
"""The library would start a thread for each core, for one text, and warn of every process that is forked later."""

Spelling = Literal["bytes", "pieces", "words", "plain"]
"""How tokens stand for text: GPT-2's letters for bytes; ``▁`` for a space and ``<0xNN>`` for a byte; BERT's ``##``."""
_SPACE: Final = "\u2581"
_SHORT: Final = 1024
"""Characters that are encoded at once: a third of a millisecond."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class Added:
    """A token that is found in a text as it is written, before the model cuts the rest.

    ``special``: it is never text.  ``lstrip``, ``rstrip``: it takes the spaces beside it.
    """

    id: int
    text: str
    special: bool
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file says of a tokenizer. ``tokens``: as the model spells them, by id; None for a gap.

    ``tokenizer``: with model, normalizer and pre-tokenizer, and without added tokens.
    ``templates``: for conversations, by name.  ``words``: special tokens by name, for them.
    ``unknown``: id of what the model puts for text that it has no tokens for; -1 for none.
    """

    tokenizer: tokenizers.Tokenizer
    tokens: Sequence[str | None]
    added: Sequence[Added]
    spelling: Spelling
    ends: tuple[int, ...]
    begin: tuple[int, ...] = ()
    final: tuple[int, ...] = ()
    pads: bool = False
    templates: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    unknown: int = -1


class Vocabulary:
    """A ``Tokenizer`` of what a file says.

    Special tokens are told to the library under secret names of this process, so that no text can have them; where a
    conversation's template wrote one, its name is put in its place (see ``foreign``). So are those that a template
    writes although they are not special (``<tool_call>``). Other added tokens are found in every text, as ever.
    """

    def __init__(self, contents: Contents) -> None:
        self.ends, self.begin, self.final = contents.ends, contents.begin, contents.final
        self.pads = contents.pads
        self.marks: Mapping[int, str] = {one.id: one.text for one in contents.added if one.special}
        written = "".join(contents.templates.values())
        control = [one for one in contents.added if one.text.strip() and (one.special or one.text in written)]
        self._tokenizer = contents.tokenizer
        self._control = frozenset(one.id for one in control) - {contents.unknown}
        self._longest = max((len(one.text) for one in control), default=0)
        self._names: dict[str, str] = {}
        self._ids: dict[int, int] = {}
        self._add(contents.added, control)
        wall = Wall(one.text for one in control)
        self._conversation = Conversation(contents.templates, contents.words, wall) if contents.templates else None
        self._found = re.compile("|".join(map(re.escape, sorted(self._names, key=len, reverse=True))) or r"(?!)")
        self.chats = self._conversation is not None
        self.template = self._conversation.source(tools=True) if self._conversation else ""
        self._pieces = _pieces(contents)

    def _add(self, added: Sequence[Added], control: Sequence[Added]) -> None:
        secret = secrets.token_hex(8)
        names = {one.text: f"\ufdd0{secret}{place:x}\ufdd1" for place, one in enumerate(control)}
        self._names = names
        given = [
            tokenizers.AddedToken(
                names.get(one.text, one.text), lstrip=one.lstrip, rstrip=one.rstrip,
                single_word=one.single_word and one.text not in names, normalized=one.normalized,
            )
            for one in added if one.text.strip() or not one.special
        ]  # fmt: skip
        self._tokenizer.add_tokens(given)
        for one in added:
            found = self._tokenizer.token_to_id(names.get(one.text, one.text))
            if found is not None and found != one.id:
                self._ids[found] = one.id

    @property
    def size(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        ids = self._encoded(text)
        return ids if self._control.isdisjoint(ids) else self._around(text)

    def _encoded(self, text: str) -> list[int]:
        try:
            ids = self._cut(text)
        except TypeError:  # half a pair of UTF-16, as JSON can write it: no text has one
            ids = self._cut(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        other = self._ids
        return ids if not other or other.keys().isdisjoint(ids) else [other.get(one, one) for one in ids]

    def _cut(self, text: str) -> list[int]:
        if len(text) < _SHORT:
            found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        else:  # which lets other threads run
            found = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return found

    def _around(self, text: str) -> list[int]:
        """A text in which the model itself finds a special token (a unigram model may): cut in the middle of it."""
        found: list[int] = []
        for part in _cut(text, self._names, max(1, self._longest // 2)):
            found += [one for one in self._encoded(part) if one not in self._control]
        return found

    def piece(self, token: int) -> bytes:
        return self._pieces[token] if 0 <= token < len(self._pieces) else b""

    def decode(self, ids: Sequence[int]) -> str:
        data = b"".join([self.piece(one) for one in ids])
        return (data[1:] if self.pads and data.startswith(b" ") else data).decode("utf-8", "replace")

    def converse(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        if self._conversation is None:
            raise InvalidParameter("messages: the model has no chat template; send a prompt as text instead")
        text, tables = self._conversation.render(messages, tools)
        names = self._names
        return self._encoded(tables.plain(self._found.sub(lambda one: names[one[0]], text)))


def _cut(text: str, tokens: Mapping[str, str], short: int) -> list[str]:
    """A text in pieces, of which none has a whole token."""
    found, rest = [], text
    while rest:
        places = [(at, len(one)) for one in tokens if (at := rest.find(one)) >= 0]
        if not places:
            break
        at, length = min(places)
        end = at + max(1, min(short, length // 2))
        found.append(rest[:end])
        rest = rest[end:]
    return [*found, rest] if rest else found


def _pieces(contents: Contents) -> list[bytes]:
    """The bytes of every token."""
    letters = _letters() if contents.spelling == "bytes" else {}
    found = [_piece(one, contents.spelling, letters) if one is not None else b"" for one in contents.tokens]
    for one in contents.added:
        if one.id >= len(found):
            found.extend([b""] * (one.id + 1 - len(found)))
        found[one.id] = b"" if one.special else _added(one.text, contents.spelling)
    return found


def _added(text: str, spelling: Spelling) -> bytes:
    return (text.replace(_SPACE, " ") if spelling == "pieces" else text).encode("utf-8", "replace")


def _piece(token: str, spelling: Spelling, letters: Mapping[str, int]) -> bytes:
    if spelling == "bytes":
        try:
            return bytes([letters[one] for one in token])
        except KeyError:
            return token.encode("utf-8", "replace")
    if spelling == "pieces":
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode("utf-8", "replace")
    if spelling == "words":
        return (token[2:] if token.startswith("##") else f" {token}").encode("utf-8", "replace")
    return token.encode("utf-8", "replace")


def _letters() -> dict[str, int]:
    """GPT-2's letter of each byte: printable ones of Latin-1 are themselves, the others come after U+0100 in order."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [one for one in range(256) if one not in kept]
    return {chr(one): one for one in kept} | {chr(256 + place): one for place, one in enumerate(others)}
