"""A broker in memory, for tests; ``fairlead.testing.broker_suite`` holds for it too."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.contracts.broker import HOLD_SECONDS, Message, Outgoing, Place, Since
from fairlead.contracts.errors import BodyTooLarge, FairleadError, NotFound, Unavailable
from fairlead.kit.clock import Clock, SystemClock


@dataclass(slots=True)
class Given:
    """A message that a member has. ``at``: when it last said so."""

    message: Message
    member: str
    at: float


@dataclass(slots=True)
class Group:
    """``next``: place in the log of the first message that nobody had; ``back``: given back or left behind."""

    next: int = 0
    back: deque[Message] = field(default_factory=deque)
    given: dict[str, Given] = field(default_factory=dict)


class MemoryHub:
    """The server: ``logs`` by name, made by ``create``.

    ``down``: does not answer.  ``failing``: so many publishes fail after they were stored in part.
    ``largest``: bytes of a body.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.logs: dict[str, list[Message]] = {}
        self.down = False
        self.failing = 0
        self.largest = 1 << 20
        self.changed = asyncio.Event()
        self._groups: dict[tuple[str, str], Group] = {}
        self._seen: dict[str, set[str]] = {}

    def create(self, name: str) -> None:
        self.logs.setdefault(name, [])

    def broker(self, place: Place) -> MemoryBroker:
        return MemoryBroker(self, place)

    def put(self, name: str, letter: Outgoing) -> None:
        """Store it, unless one of the same idempotency is there."""
        seen = self._seen.setdefault(name, set())
        if letter.idempotency and letter.idempotency in seen:
            return
        seen.add(letter.idempotency)
        headers = {**letter.headers, **({"idempotency-key": letter.idempotency} if letter.idempotency else {})}
        log = self.logs[name]
        log.append(Message(str(len(log) + 1), letter.body, headers, letter.key, 1, self.clock.wall_ms()))
        self.changed.set()

    def group(self, name: str, group: str) -> Group:
        return self._groups.setdefault((name, group), Group())

    def check(self, name: str) -> None:
        """Raises Unavailable, or NotFound."""
        if self.down:
            raise Unavailable("the broker in memory was told to be down")
        if name not in self.logs:
            raise NotFound(f"there is no {name!r} in memory; create it")


class MemoryBroker:
    """Broker on a ``MemoryHub``."""

    def __init__(self, hub: MemoryHub, place: Place) -> None:
        self._hub, self._name = hub, place.name

    async def source(self, group: str, member: str, since: Since | None = None) -> MemorySource:
        self._hub.check(self._name)
        if since is None:
            return MemorySource(self._hub, self._name, self._hub.group(self._name, group), member)
        return MemorySource(self._hub, self._name, Group(), member, since)

    async def target(self) -> MemoryTarget:
        self._hub.check(self._name)
        return MemoryTarget(self._hub, self._name)

    async def close(self) -> None:
        pass


class MemorySource:
    """Source of one group; without ``since`` the members share it."""

    def __init__(self, hub: MemoryHub, name: str, group: Group, member: str, since: Since | None = None) -> None:
        self._hub, self._name, self._group, self._member = hub, name, group, member
        self._end = -1
        if since is not None:
            log = hub.logs[name]
            self._end = len(log)
            after = int(since.id) - 1 if since.id else None
            first = (place for place, one in enumerate(log) if one.at_ms >= since.at_ms)
            group.next = next(first, self._end) if after is None else after
        self.ended = self._end >= 0 and group.next >= self._end

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self._hub.check(self._name)
                    if found := self._take(limit):
                        return found
                    self._hub.changed.clear()
                    await self._hub.changed.wait()
        return []

    def _take(self, limit: int) -> list[Message]:
        group, log, now = self._group, self._hub.logs[self._name], self._hub.clock.now()
        for identity, given in list(group.given.items()):
            if now - given.at > 3 * HOLD_SECONDS:
                del group.given[identity]
                group.back.append(given.message)
        found: list[Message] = []
        while group.back and len(found) < limit:
            again = group.back.popleft()
            found.append(again._replace(deliveries=again.deliveries + 1))
        end = len(log) if self._end < 0 else self._end
        while group.next < end and len(found) < limit:
            found.append(log[group.next])
            group.next += 1
        for message in found:
            group.given[message.id] = Given(message, self._member, now)
        self.ended = self._end >= 0 and group.next >= self._end and not group.back
        return found

    async def settle(self, messages: Sequence[Message]) -> None:
        self._hub.check(self._name)
        for message in messages:
            given = self._group.given.get(message.id)
            if given is not None and given.member == self._member:
                del self._group.given[message.id]

    async def hold(self) -> None:
        self._hub.check(self._name)
        for given in self._group.given.values():
            if given.member == self._member:
                given.at = self._hub.clock.now()

    async def lag(self) -> int | None:
        self._hub.check(self._name)
        return len(self._hub.logs[self._name]) - self._group.next + len(self._group.back)

    async def close(self) -> None:
        mine = [one for one in self._group.given.values() if one.member == self._member]
        for given in mine:
            del self._group.given[given.message.id]
        self._group.back.extend(given.message for given in mine)
        self._hub.changed.set()


class MemoryTarget:
    """Target that may store some of a failed publish, in any order: the worst that is allowed."""

    ordered = False

    def __init__(self, hub: MemoryHub, name: str) -> None:
        self._hub, self._name = hub, name

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        await asyncio.sleep(0)
        self._hub.check(self._name)
        if self._hub.failing:
            self._hub.failing -= 1
            for letter in [one for one in messages if len(one.body) <= self._hub.largest][1::2]:
                self._hub.put(self._name, letter)
            raise Unavailable("the broker in memory was told to fail")
        return [self._put(letter) for letter in messages]

    def _put(self, letter: Outgoing) -> FairleadError | None:
        if len(letter.body) > self._hub.largest:
            return BodyTooLarge(f"{len(letter.body)} bytes; {self._name!r} takes {self._hub.largest}")
        self._hub.put(self._name, letter)
        return None

    async def close(self) -> None:
        pass
