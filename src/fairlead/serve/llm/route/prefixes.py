"""Which replica has seen the beginning of a prompt before: its engine may still have it in its cache. Pure.

A prompt is cut into blocks of characters, and a block is known by the hash of all that comes before it and itself, as
engines know the blocks of their caches. Text is near enough: what is equal in text is equal in tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from fairlead.contracts.generation import Generation, Message

DEEPEST: Final = 128
"""Blocks of a prompt that are looked at: whoever agrees for so long is the same conversation."""
_IDS: Final = 4
"""Characters that an id of a token counts for."""


def blocks(asked: Generation, size: int) -> list[int]:
    """Hashes of the whole blocks of a prompt, ``size`` characters each; each one of all up to its end."""
    text = _text(asked, size * DEEPEST)
    found: list[int] = []
    before = repr((asked.adapter, [one.name for one in asked.tools])).encode()
    for at in range(0, len(text) - size + 1, size):
        before = blake2b(before + text[at : at + size].encode("utf-8", "surrogatepass"), digest_size=8).digest()
        found.append(int.from_bytes(before))
    return found


def _text(asked: Generation, most: int) -> str:
    """The prompt as one text, cut after ``most``."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return prompt[:most]
    parts: list[str] = []
    length = 0
    for one in prompt:
        parts.append(f"{one.role}\x1f{one.content}\x1e" if isinstance(one, Message) else f"{one:0{_IDS}x}")
        length += len(parts[-1])
        if length >= most:
            break
    return "".join(parts)[:most]


class Seen:
    """``limit``: blocks that are remembered; the ones that were not asked for longest go first."""

    __slots__ = ("_blocks", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[int, int] = OrderedDict()
        """To the replicas that have seen it: bit n for number n."""

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, found: Sequence[int]) -> tuple[int, int]:
        """How many blocks from the first on some replica has seen, and which have: bit n for number n."""
        depth, who = 0, -1
        for one in found:
            also = who & self._blocks.get(one, 0)
            if not also:
                break
            depth, who = depth + 1, also
        return (depth, who) if depth else (0, 0)

    def learn(self, found: Sequence[int], replica: int) -> None:
        """It sees them now."""
        for one in reversed(found):  # the first blocks are shared by most, and are to be forgotten last
            self._blocks[one] = self._blocks.get(one, 0) | 1 << replica
            self._blocks.move_to_end(one)
        while len(self._blocks) > self._limit:
            self._blocks.popitem(last=False)

    def forget(self, replica: int) -> None:
        """It was lost, and its cache with it."""
        keep = ~(1 << replica)
        self._blocks = OrderedDict((one, left) for one, who in self._blocks.items() if (left := who & keep))
