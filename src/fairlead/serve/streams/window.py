"""What a stream worker has in hand, and what may happen to it next. Pure: no broker, no clock, no loop.

A message goes through four stages: it runs, its answer is ready, the answer is being published, the answer is stored.
Then it is acknowledged and leaves. Answers of one key are published in the order in which their messages came: where
the destination may store a later one without an earlier one, the next one of a key waits until the one before it is
stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from fairlead.contracts.broker import Message, Outgoing

ANSWERS, DEAD = 0, 1
"""The two destinations."""

REMEMBERED: Final = 8192
"""Ids of the newest messages that were answered: one that the broker delivers again is only acknowledged again."""

Settled = tuple["Item", Message]
"""An item, and the delivery of it that is acknowledged."""


class Stage(IntEnum):
    RUNNING = 0
    READY = 1
    LEAVING = 2
    STORED = 3


class Item:
    """One message in hand. ``began``: when it came (monotonic).  ``attempts``: how often it was tried."""

    __slots__ = ("attempts", "began", "message", "outgoing", "outlet", "stage")

    def __init__(self, message: Message, began: float) -> None:
        self.message = message
        self.began = began
        self.attempts = 0
        self.stage = Stage.RUNNING
        self.outgoing: Outgoing | None = None
        self.outlet = ANSWERS


class _Chain:
    """Messages of one key, in order. ``leaving``: so many of the first ones are being published."""

    __slots__ = ("items", "leaving")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.leaving = 0


class Window:
    """``limit``: most messages in hand.  ``ordered``: of each destination, whether it keeps order by itself."""

    def __init__(self, limit: int, ordered: Sequence[bool]) -> None:
        self._limit = limit
        self._ordered = tuple(ordered)
        self._items: dict[str, Item] = {}
        self._chains: dict[str, _Chain] = {}
        self._leaving: tuple[deque[Item], deque[Item]] = (deque(), deque())
        self._stored: list[Item] = []
        self._answered: dict[str, None] = {}
        self.count = 0
        """Messages in hand."""

    @property
    def room(self) -> int:
        return max(0, self._limit - self.count)

    def admit(self, message: Message, now: float) -> Item | None:
        """Take a message in. None for one that is in hand already, or was answered: nothing is to be run."""
        if message.deliveries > 1:
            known = self._items.get(message.id)
            if known is not None:
                known.message = message  # the newest delivery is the one that can be acknowledged
                return None
        item = Item(message, now)
        self.count += 1
        self._items[message.id] = item
        if message.deliveries > 1 and message.id in self._answered:
            item.stage = Stage.STORED
            self._stored.append(item)
            return None
        if message.key:
            chain = self._chains.get(message.key)
            if chain is None:
                chain = self._chains[message.key] = _Chain()
            chain.items.append(item)
        return item

    def ready(self, item: Item, outgoing: Outgoing, outlet: int) -> None:
        """What is to be published for ``item``, and where."""
        item.outgoing, item.outlet, item.stage = outgoing, outlet, Stage.READY
        key = item.message.key
        if key:
            self._advance(self._chains[key])
        else:
            self._leave(item)

    def divert(self, item: Item, outgoing: Outgoing) -> None:
        """The answer that was being published can never be stored: this goes out in its place, as a dead letter."""
        item.outgoing, item.outlet = outgoing, DEAD
        self._leave(item)

    def take(self, outlet: int, most: int) -> list[Item]:
        """What is to be published there now, in order. Each ends in ``stored`` or ``divert``."""
        waiting = self._leaving[outlet]
        if len(waiting) <= most:
            batch = list(waiting)
            waiting.clear()
            return batch
        return [waiting.popleft() for _ in range(most)]

    def stored(self, items: Sequence[Item]) -> None:
        """These are durable: they may be acknowledged, and the next ones of their keys published."""
        for item in items:
            item.stage = Stage.STORED
            item.outgoing = None
            self._remember(item.message.id)
            key = item.message.key
            if key:
                chain = self._chains[key]
                if chain.items[0] is item:
                    chain.items.popleft()
                else:
                    chain.items.remove(item)
                chain.leaving -= 1
                if chain.items:
                    self._advance(chain)
                else:
                    del self._chains[key]
        self._stored += items

    def to_settle(self) -> list[Settled]:
        """What may be acknowledged now. Each ends in ``settled``."""
        batch, self._stored = self._stored, []
        return [(item, item.message) for item in batch]

    def settled(self, batch: Sequence[Settled]) -> None:
        """These were acknowledged, in the delivery that they name; one delivered again meanwhile goes round again."""
        for item, message in batch:
            if item.message is not message:
                self._stored.append(item)
                continue
            self.count -= 1
            if self._items.get(message.id) is item:
                del self._items[message.id]

    def _leave(self, item: Item) -> None:
        item.stage = Stage.LEAVING
        self._leaving[item.outlet].append(item)

    def _advance(self, chain: _Chain) -> None:
        """Let go what the order of the key allows: the first, and behind it those that cannot overtake it."""
        items = chain.items
        while chain.leaving < len(items):
            item = items[chain.leaving]
            if item.stage is not Stage.READY:
                return
            if chain.leaving and not (self._ordered[item.outlet] and items[chain.leaving - 1].outlet == item.outlet):
                return
            chain.leaving += 1
            self._leave(item)

    def _remember(self, identity: str) -> None:
        self._answered[identity] = None
        if len(self._answered) > REMEMBERED:
            del self._answered[next(iter(self._answered))]
