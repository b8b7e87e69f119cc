"""Responses that are kept for ``previous_response_id`` and ``GET /v1/responses/{id}``: in memory, within bounds.

Each caller has their own: nobody finds another's. The oldest go first; nothing outlives the process. That is honest
only where one process answers: with several workers nothing is kept, and callers are told.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.generation import Message
from fairlead.kit.memory import of_text
from fairlead.serve.openai.api import KEPT
from fairlead.serve.openai.refusals import Gone, unsupported

BYTES: Final = 64 * 1024 * 1024
"""Of them all."""
_RECORD: Final = 200
"""Of a message or a call, beside its texts, about."""


@dataclass(frozen=True, slots=True)
class Kept:
    """``document``: as it was answered.  ``turns``: the conversation up to and with it, without instructions."""

    document: bytes
    turns: tuple[Message, ...]

    @property
    def size(self) -> int:
        return len(self.document) + sum(map(_size, self.turns))


def _size(one: Message) -> int:
    calls = sum(_RECORD + of_text(call.arguments) + of_text(call.name) + of_text(call.id) for call in one.calls)
    return _RECORD + of_text(one.content) + of_text(one.name) + of_text(one.answers) + calls


class Shelf:
    """``most``: responses that are kept, 0 for none."""

    def __init__(self, most: int = KEPT, size: int = BYTES) -> None:
        self._most, self._bytes = most, size
        self._held: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._size = 0

    @property
    def keeps(self) -> bool:
        return self._most > 0

    def put(self, caller: str, identity: str, kept: Kept) -> None:
        self.forget(caller, identity)
        self._held[caller, identity] = kept
        self._size += kept.size
        while len(self._held) > self._most or self._size > self._bytes:
            _, old = self._held.popitem(last=False)
            self._size -= old.size

    def get(self, caller: str, identity: str, param: str) -> Kept:
        """Raises Gone; Invalid where nothing is kept."""
        if not self.keeps:
            raise unsupported(
                param, "is not supported: a server of several workers keeps no responses. Send the whole conversation."
            )
        found = self._held.get((caller, identity))
        if found is None:
            if param == "previous_response_id":
                raise Gone(
                    f"Previous response with id '{identity[:100]}' not found.", param, "previous_response_not_found"
                )
            raise Gone(f"Response with id '{identity[:100]}' not found.", param, None)
        return found

    def forget(self, caller: str, identity: str) -> None:
        old = self._held.pop((caller, identity), None)
        if old is not None:
            self._size -= old.size
