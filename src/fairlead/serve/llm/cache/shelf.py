"""Answers that are kept, by key: the newest and most wanted, within a bound of bytes and a time. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.contracts.generation import Ended, Piece
from fairlead.kit.memory import of_text

OVERHEAD = 600
"""Bytes of an entry beside its texts, about."""
_PIECE = 150
_CHOSEN = 250
"""Of a token with its probability, beside its text."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer. ``at``: monotonic seconds when it was given.  ``asked``: the words that it answers."""

    pieces: tuple[Piece, ...]
    ended: Ended
    at: float
    asked: str = ""

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return OVERHEAD + of_text(self.asked) + sum(map(_size, self.pieces))


def _size(one: Piece) -> int:
    said = of_text(one.text) + of_text(one.reasoning) + of_text(one.refusal)
    said += sum(of_text(call.arguments) for call in one.calls)
    return _PIECE + said + _CHOSEN * sum(1 + len(chosen.others) for chosen in one.logprobs)


class Shelf:
    """``most``: bytes.  ``seconds``: that an answer is good for."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self.gone: Callable[[bytes], None] = lambda _: None
        """Hears of keys that were let go."""
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.size = 0

    def get(self, key: bytes, now: float) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if now - found.at > self._seconds:
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, kept: Kept) -> None:
        """What is larger than an eighth of the whole is not kept."""
        if kept.size > self._most // 8:
            return
        old = self._kept.pop(key, None)
        self.size += kept.size - (old.size if old is not None else 0)
        self._kept[key] = kept
        while self.size > self._most:
            self.drop(next(iter(self._kept)))

    def drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found.size
            self.gone(key)

    def __len__(self) -> int:
        return len(self._kept)
