"""Pulls messages: as many as are wanted are asked for at once, and come as they are there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from fairlead.adapters.brokers.jetstream.talking import ANSWER_SECONDS, TROUBLES, talking
from fairlead.contracts.broker import Message, Place
from fairlead.contracts.errors import FairleadError, Unavailable


class JetSource:
    """Pulls for one consumer. ``left``: of a replay, how many messages there are."""

    def __init__(
        self, context: JetStreamContext, place: Place, stream: str, consumer: str, left: int | None = None
    ) -> None:
        self._context = context
        self._client: Client = context._nc  # noqa: SLF001 - the client of the context
        self._place = place
        self._stream, self._consumer = stream, consumer
        self._left = left
        self.ended = left == 0
        self._inbox = self._client.new_inbox()
        self._pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._numbers = itertools.count(1)
        self._asked: dict[str, list[float]] = {}
        """Pull requests under way: the reply subject, how many messages it may still give, and until when."""
        self._arrived: deque[Msg] = deque()
        self._in_hand: dict[str, str] = {}
        """Message id to where it is acknowledged."""
        self._news = asyncio.Event()
        self._trouble = ""

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._take)

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while not self._arrived and not self.ended:
            now = loop.time()
            if now >= ends:
                return []
            self._news.clear()
            async with talking(self._place):
                if not self._client.is_connected:
                    raise Unavailable(f"{self._place}: the connection is lost")
                await self._ask(limit, now, ends - now)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), ends - now)
            if self._trouble:
                trouble, self._trouble = self._trouble, ""
                raise Unavailable(f"{self._place}: consumer {self._consumer!r}: {trouble}")
        arrived = self._arrived
        found = [self._message(arrived.popleft()) for _ in range(min(limit, len(arrived)))]
        return found if self._left is None else self._of_replay(found)

    async def settle(self, messages: Sequence[Message]) -> None:
        async with talking(self._place):
            for message in messages:
                await self._client.publish(message.token, b"+ACK")
                if self._in_hand.get(message.id) == message.token:
                    del self._in_hand[message.id]

    async def hold(self) -> None:
        await self._tell(b"+WPI")

    async def lag(self) -> int | None:
        async with talking(self._place):
            info = await self._context.consumer_info(self._stream, self._consumer)
        return None if info.num_pending is None else int(info.num_pending)

    async def close(self) -> None:
        with contextlib.suppress(*TROUBLES, FairleadError):
            await self._subscription.unsubscribe()
            while self._arrived:
                self._message(self._arrived.popleft())
            await self._tell(b"-NAK")
            await self._client.flush(timeout=int(ANSWER_SECONDS))
            if self._left is not None:
                await self._context.delete_consumer(self._stream, self._consumer)

    async def _tell(self, word: bytes) -> None:
        async with talking(self._place):
            for where in list(self._in_hand.values()):
                await self._client.publish(where, word)

    async def _ask(self, limit: int, now: float, seconds: float) -> None:
        """Have at least half of ``limit`` messages on their way."""
        for reply, (left, until) in list(self._asked.items()):
            if left <= 0 or until <= now:
                del self._asked[reply]
        under_way = sum(int(left) for left, _ in self._asked.values())
        wanted = limit - under_way
        if wanted <= 0 or (under_way and wanted < limit // 2):
            return
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._asked[reply] = [wanted, now + seconds + 1.0]
        request = b'{"batch":%d,"expires":%d}' % (wanted, max(1, int(seconds * 1e9)))
        await self._client.publish(self._pull, request, reply=reply)

    async def _take(self, message: Msg) -> None:
        """A message, or what became of a pull request."""
        status = (message.headers or {}).get("Status") if not message.data else None
        if status is None:
            self._arrived.append(message)
            for asked in self._asked.values():  # they are served in turn
                if asked[0] > 0:
                    asked[0] -= 1
                    break
        else:
            self._asked.pop(message.subject, None)
            said = (message.headers or {}).get("Description", "")
            if status == "503" or (status == "409" and "Deleted" in said):
                self._trouble = said or "it is not there, or not yet"
        self._news.set()

    def _message(self, raw: Msg) -> Message:
        words = raw.reply.split(".")
        at = 2 if len(words) < 11 else 4  # with a domain and an account before them
        deliveries, sequence, nanoseconds = int(words[at + 2]), words[at + 3], int(words[at + 5])
        headers = {name.lower(): value for name, value in raw.headers.items()} if raw.headers else {}
        self._in_hand[sequence] = raw.reply
        key = headers.pop("fairlead-key", "")
        return Message(sequence, raw.data, headers, key, deliveries, nanoseconds / 1e6, raw.reply)

    def _of_replay(self, found: list[Message]) -> list[Message]:
        """Only what there was when it began; says when that is all."""
        fresh: list[Message] = []
        for message in found:
            if message.deliveries == 1:
                if not self._left:
                    continue
                self._left -= 1
            fresh.append(message)
        if not self._left:
            self.ended = True
        return fresh
