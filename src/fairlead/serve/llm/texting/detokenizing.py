"""Text of ids, as they come: what is not yet a whole character is held back."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping

_utf8 = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Pure. ``piece``: the bytes of a token.  ``shown``: text of special tokens that are wanted, by id.

    ``begins``: the text begins here, and a first space is none (``Tokenizer.pads``). All that ``feed`` and ``end``
    gave, put together, is what ``Tokenizer.decode`` says of all ids.
    """

    __slots__ = ("_begins", "_decode", "_piece", "_shown")

    def __init__(self, piece: Callable[[int], bytes], shown: Mapping[int, bytes], begins: bool) -> None:
        self._piece, self._shown = piece, shown
        self._begins = begins
        self._decode = _utf8("replace").decode

    def feed(self, ids: Iterable[int]) -> str:
        piece, shown = self._piece, self._shown
        data = b"".join([piece(one) or shown.get(one, b"") for one in ids] if shown else [piece(one) for one in ids])
        if self._begins and data:
            self._begins = False
            if data[:1] == b" ":
                data = data[1:]
        return self._decode(data)

    def end(self) -> str:
        """What was held back, as U+FFFD."""
        return self._decode(b"", True)
