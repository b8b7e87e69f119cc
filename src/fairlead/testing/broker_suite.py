"""What every broker must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", broker_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_my_broker(check):
        await check(broker_suite.Site(MyBroker, make_an_empty_stream))

The checks run against a real server; each makes streams of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from fairlead.contracts.broker import Broker, Message, Outgoing, Place, Since, Source
from fairlead.contracts.errors import BodyTooLarge, NotFound, Unavailable, UsageError

SECONDS: Final = 30.0
"""Longest that a message takes to come: members of a group may have to agree first."""


@dataclass(frozen=True, slots=True)
class Site:
    """``broker``: what the entry point is.  ``fresh``: a new, empty stream, queue or topic.

    ``shares``: members of a group share what there is message by message (else by partition).
    ``groups``: several groups each get every message.  ``replays``: what was settled can be read again.
    ``unique``: a message published twice is stored once.  ``absent``: a place that is not there is refused.
    ``makes``: a place that is written to comes into being.
    ``largest``: bytes that are too many for one message, 0 where there is no such limit.
    ``down``: a place where nothing listens.
    """

    broker: Callable[[Place], Broker]
    fresh: Callable[[], Awaitable[Place]]
    shares: bool = True
    groups: bool = True
    replays: bool = True
    unique: bool = False
    absent: bool = True
    makes: bool = False
    largest: int = 0
    down: Place | None = None


async def bodies_and_headers_come_as_they_were_sent(site: Site) -> None:
    async with _Open(site) as opened:
        letters = [
            Outgoing(b'{"a":1}', {"traceparent": "00-1-2-01", "x-request-id": "r 1"}, "k1", "id-1"),
            Outgoing(bytes(range(256)), {}, "", "id-2"),
            Outgoing(b"", {"fairlead-error": "ü ist kein é: 50 %"}, "schlüssel", "id-3"),
        ]
        said = await (await opened.broker().target()).publish(letters)
        _expect(said == [None, None, None], "all are stored")
        found = await _all(await opened.source(), 3)
        by_body = {message.body: message for message in found}
        for letter in letters:
            message = by_body.get(letter.body)
            if message is None:
                raise AssertionError(f"{letter.body[:20]!r} came back")
            _expect(message.key == letter.key, f"the key {letter.key!r} came back, found {message.key!r}")
            _expect(message.deliveries == 1, "the first delivery counts 1")
            for name, value in letter.headers.items():
                _expect(message.headers.get(name) == value, f"header {name}: {value!r}, found {message.headers}")
            _expect(message.headers.get("idempotency-key") == letter.idempotency, "the idempotency key is a header")
        _expect(len({message.id for message in found}) == 3, "ids differ")


async def messages_of_one_key_come_in_order(site: Site) -> None:
    async with _Open(site) as opened:
        await opened.send(200, key="k")
        found = await _all(await opened.source(), 200)
        _expect([int(one.body) for one in found] == list(range(200)), "in the order in which they were published")


async def a_fetch_keeps_to_its_limit_and_its_time(site: Site) -> None:
    async with _Open(site) as opened:
        source = await opened.source()
        began = time.monotonic()
        _expect(await source.fetch(5, 0.3) == [], "nothing of an empty stream")
        _expect(time.monotonic() - began < SECONDS, "within its time")
        await opened.send(20)
        found: list[Message] = []
        while len(found) < 20:
            some = await _some(source, 5)
            _expect(len(some) <= 5, f"5 at most, found {len(some)}")
            found += some
            await source.settle(some)
        _expect(sorted(int(one.body) for one in found) == list(range(20)), "each once")


async def times_are_those_of_the_broker(site: Site) -> None:
    async with _Open(site) as opened:
        before = time.time() * 1000
        await opened.send(1)
        message = (await _all(await opened.source(), 1))[0]
        _expect(not message.at_ms or abs(message.at_ms - before) < 5_000, f"Unix milliseconds, found {message.at_ms}")


async def what_is_settled_never_comes_again(site: Site) -> None:
    async with _Open(site) as opened:
        await opened.send(10)
        source = await opened.source()
        found = await _all(source, 10)
        await source.settle(found[:7])
        await source.settle(found[:7])  # again: changes nothing
        await source.close()
        left = await _all(await opened.source(), 3)
        _expect({one.body for one in left} >= {one.body for one in found[7:]}, "what was not settled comes again")
        _expect(await _quiet(await opened.source()), "and nothing else")


async def what_is_not_settled_comes_again_with_its_id(site: Site) -> None:
    async with _Open(site) as opened:
        await opened.send(5, key="k")
        first = await opened.source()
        found = await _all(first, 5)
        await first.close()
        again = await _all(await opened.source("second"), 5)
        _expect([one.id for one in found] == [one.id for one in again], "the same ids, in the same order")
        _expect([one.body for one in found] == [one.body for one in again], "the same bodies")


async def members_share_the_messages(site: Site) -> None:
    if not site.shares:
        return
    async with _Open(site) as opened:
        one, other = await opened.source("one"), await opened.source("other")
        await opened.send(40)
        found: list[Message] = []
        while len(found) < 40:
            for source in (one, other):
                some = await source.fetch(5, 0.5)
                await source.settle(some)
                found += some
        _expect(sorted(int(message.body) for message in found) == list(range(40)), "each message goes to one member")


async def groups_do_not_share(site: Site) -> None:
    if not site.groups:
        return
    async with _Open(site) as opened:
        await opened.send(5)
        one = await opened.source()
        await one.settle(await _all(one, 5))
        other = await opened.broker().source("another", "one")
        opened.sources.append(other)
        _expect(len(await _all(other, 5)) == 5, "another group gets every message")


async def holding_keeps_what_is_in_hand(site: Site) -> None:
    async with _Open(site) as opened:
        await opened.send(3)
        source = await opened.source()
        found = await _all(source, 3)
        await source.hold()
        await source.settle(found)
        await source.hold()
        _expect(await _quiet(source), "what was held and settled is gone")


async def lag_says_what_is_left(site: Site) -> None:
    async with _Open(site) as opened:
        source = await opened.source()
        await opened.send(30)
        found = await _all(source, 30)
        await source.settle(found)
        _expect(await _becomes(source, 0), "nothing is left")


async def a_replay_reads_again_and_ends(site: Site) -> None:
    if not site.replays:
        return
    async with _Open(site) as opened:
        await opened.send(10)
        source = await opened.source()
        found = await _all(source, 10)
        await source.settle(found)
        there = [one.body for one in found]
        for since, expected in ((Since(at_ms=1), there), (Since(id=found[4].id), [*there[4:], b"0"])):
            replay = await opened.broker().source("replay", "one", since)
            opened.sources.append(replay)
            await opened.send(1)  # after it began: not part of it
            again = await _to_the_end(replay)
            _expect([one.body for one in again] == expected, f"from {since}, in order, to its end")
            await replay.settle(again)
            await replay.close()
            await source.settle(await _all(source, 1))
        _expect(await _quiet(source), "the group does not notice")


async def a_replay_of_nothing_ends(site: Site) -> None:
    if not site.replays:
        return
    async with _Open(site) as opened:
        replay = await opened.broker().source("replay", "one", Since(at_ms=1))
        opened.sources.append(replay)
        _expect(await _to_the_end(replay) == [], "nothing, and its end")


async def a_message_published_again_is_stored_once(site: Site) -> None:
    if not site.unique:
        return
    async with _Open(site) as opened:
        target = await opened.broker().target()
        for _ in range(2):
            await target.publish([Outgoing(b"1", {}, "", "same"), Outgoing(b"2", {}, "", "other")])
        found = await _all(await opened.source(), 2)
        _expect([one.body for one in found] == [b"1", b"2"], "once each")


async def what_is_too_large_is_told_alone(site: Site) -> None:
    if not site.largest:
        return
    async with _Open(site) as opened:
        letters = [Outgoing(b"1", {}, "", "a"), Outgoing(b"x" * site.largest, {}, "", "b"), Outgoing(b"3", {}, "", "c")]
        said = await (await opened.broker().target()).publish(letters)
        _expect(isinstance(said[1], BodyTooLarge), f"the large one is refused, found {said[1]!r}")
        _expect(said[0] is None and said[2] is None, "the others are stored")
        found = await _all(await opened.source(), 2)
        _expect(sorted(one.body for one in found) == [b"1", b"3"], "and come")


async def a_place_that_is_not_there_is_named(site: Site) -> None:
    if not site.absent:
        return
    absent = replace(await site.fresh(), name="fairlead-absent")
    for reading in (True,) if site.makes else (True, False):
        broker = site.broker(absent)
        try:
            await (broker.source("g", "one") if reading else broker.target())
        except (NotFound, UsageError) as error:
            _expect("fairlead-absent" in str(error), f"the sentence names it: {error}")
        else:
            raise AssertionError("NotFound was raised")
        finally:
            await broker.close()


async def a_broker_that_is_down_is_unavailable(site: Site) -> None:
    if site.down is None:
        return
    broker = site.broker(site.down)
    try:
        await broker.source("g", "one")
    except Unavailable as error:
        _expect(site.down.address in str(error), f"the sentence names the address: {error}")
    else:
        raise AssertionError("Unavailable was raised")
    finally:
        await broker.close()


CHECKS = (
    bodies_and_headers_come_as_they_were_sent,
    messages_of_one_key_come_in_order,
    a_fetch_keeps_to_its_limit_and_its_time,
    times_are_those_of_the_broker,
    what_is_settled_never_comes_again,
    what_is_not_settled_comes_again_with_its_id,
    members_share_the_messages,
    groups_do_not_share,
    holding_keeps_what_is_in_hand,
    lag_says_what_is_left,
    a_replay_reads_again_and_ends,
    a_replay_of_nothing_ends,
    a_message_published_again_is_stored_once,
    what_is_too_large_is_told_alone,
    a_place_that_is_not_there_is_named,
    a_broker_that_is_down_is_unavailable,
)


class _Open:
    """One empty stream, and what was opened on it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._brokers: list[Broker] = []
        self.sources: list[Source] = []

    async def __aenter__(self) -> Self:
        self._place = await self._site.fresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        for source in self.sources:
            await source.close()
        for broker in self._brokers:
            await broker.close()

    def broker(self) -> Broker:
        self._brokers.append(self._site.broker(self._place))
        return self._brokers[-1]

    async def source(self, member: str = "one") -> Source:
        source = await self.broker().source("group", member)
        self.sources.append(source)
        return source

    async def send(self, count: int, key: str = "") -> None:
        """``count`` messages whose bodies are 0, 1, 2 ..."""
        target = await self.broker().target()
        said = await target.publish([Outgoing(str(number).encode(), {}, key) for number in range(count)])
        _expect(said == [None] * count, "all are stored")


async def _some(source: Source, limit: int) -> list[Message]:
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        if found := await source.fetch(limit, 0.5):
            return found
    raise AssertionError(f"no message came in {SECONDS:g} seconds")


async def _all(source: Source, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        found += await _some(source, count - len(found))
    return found


async def _to_the_end(source: Source) -> list[Message]:
    found: list[Message] = []
    ends = time.monotonic() + SECONDS
    while not source.ended:
        found += await source.fetch(100, 0.3)
        _expect(time.monotonic() < ends, f"a replay ends; {len(found)} came")
    return found


async def _quiet(source: Source) -> bool:
    return await source.fetch(1, 0.5) == []


async def _becomes(source: Source, lag: int) -> bool:
    for _ in range(50):
        found = await source.lag()
        if found is None or found == lag:
            return True
        await asyncio.sleep(0.1)
    return False


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
