"""What waits until its sentence was looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.contracts.generation import Piece
from fairlead.contracts.guardrail import Channel
from fairlead.serve.llm.guard.examine import Said

_END: Final = re.compile("[.!?\u2026\u3002\uff01\uff1f][\"')\\]]*\\s|\n")
LONG: Final = 400
"""Characters after which a sentence is looked at though it does not end."""
BEFORE: Final = 1000
"""Characters before a sentence that those who judge whole texts see with it."""

_FIELDS: Final = ("text", "reasoning", "refusal")


class Ready(NamedTuple):
    """``fields``: which texts of ``piece`` there are; ``said``: what they are."""

    piece: Piece
    fields: tuple[str, ...]
    said: tuple[Said, ...]


class Sentences:
    """``streams``: sentence by sentence; else all at once, at the end."""

    def __init__(self, streams: bool) -> None:
        self._streams = streams
        self._pieces: list[Piece] = []
        self._length = 0
        self._ended = False
        self._tail = ""
        self._past = dict.fromkeys(_FIELDS, "")

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        text = piece.text + piece.reasoning + piece.refusal
        self._length += len(text)
        self._ended = self._ended or _END.search(self._tail + text) is not None
        self._tail = (self._tail + text)[-3:]

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return self._streams and (self._ended or self._length >= LONG)

    def take(self) -> Ready | None:
        """What waits, as one piece; None: nothing does."""
        if not self._pieces:
            return None
        piece = self._pieces[0] if len(self._pieces) == 1 else _joined(self._pieces)
        self._pieces, self._length, self._ended, self._tail = [], 0, False, ""
        fields = tuple(field for field in _FIELDS if getattr(piece, field))
        return Ready(piece, fields, tuple(Said(Channel.ANSWER, getattr(piece, field)) for field in fields))

    def with_past(self, ready: Ready) -> list[Said]:
        """The same texts, each after what came before it; from now on they are the past themselves."""
        whole = [Said(Channel.ANSWER, self._past[field] + said.text) for field, said in self._of(ready)]
        for (field, _), said in zip(self._of(ready), whole, strict=True):
            self._past[field] = said.text[-BEFORE:]
        return whole

    @staticmethod
    def _of(ready: Ready) -> list[tuple[str, Said]]:
        return list(zip(ready.fields, ready.said, strict=True))


def changed(ready: Ready, texts: Sequence[Said]) -> Ready:
    """The same with other texts. What was told of the tokens of one that changed is left out."""
    if list(ready.said) == list(texts):
        return ready
    told = {field: said.text for field, said in zip(ready.fields, texts, strict=True)}
    piece = ready.piece._replace(
        text=told.get("text", ""), reasoning=told.get("reasoning", ""), refusal=told.get("refusal", ""), logprobs=()
    )
    return Ready(piece, ready.fields, tuple(texts))


def _joined(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        "".join(one.text for one in pieces),
        sum(one.tokens for one in pieces),
        (),
        "".join(one.reasoning for one in pieces),
        "".join(one.refusal for one in pieces),
        tuple(chosen for one in pieces for chosen in one.logprobs),
    )
