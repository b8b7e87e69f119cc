"""How much of a prompt the engine need not compute again: its prefix cache, followed from outside.

openvino-genai keeps the blocks of finished prompts and answers, and overwrites those that were not used for longest; it
tells nobody how many tokens of a prompt it found. What it does is known, so it is done here too: whole blocks only, and
with half of the blocks that there are, since those of running answers cannot be kept. So what is told is what was found
or a little less, never more than a block's rest. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

_Block = int


class Prefixes:
    """``block``: tokens of a block.  ``blocks``: how many there are."""

    def __init__(self, block: int, blocks: int) -> None:
        self._block = block
        self._most = blocks // 2
        self._kept: OrderedDict[_Block, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def found(self, prompt: Sequence[int]) -> int:
        """Tokens of a prompt that are kept; at least its last one is computed."""
        tokens = 0
        for block in self._blocks(prompt):
            if block not in self._kept:
                break
            self._kept.move_to_end(block)
            tokens += self._block
        return min(tokens, max(0, len(prompt) - 1))

    def keep(self, tokens: Sequence[int]) -> None:
        """The engine has computed these."""
        for block in self._blocks(tokens):
            self._kept[block] = None
            self._kept.move_to_end(block)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _blocks(self, tokens: Sequence[int]) -> Iterator[_Block]:
        """Each with all that stands before it."""
        before = 0
        for start in range(0, len(tokens) - self._block + 1, self._block):
            before = hash((before, tuple(tokens[start : start + self._block])))
            yield before
