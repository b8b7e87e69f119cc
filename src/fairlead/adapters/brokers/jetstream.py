"""NATS JetStream: a durable pull consumer a group; answers are kept from being stored twice by ``Nats-Msg-Id``.

The key of a message is its header ``fairlead-key``. For an input the name may be a subject with wildcards.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from fairlead.contracts.broker import HOLD_SECONDS, Message, Outgoing, Place, Since
from fairlead.contracts.errors import BodyTooLarge, FairleadError, NotFound, StorageFull, Unavailable, UsageError
from fairlead.kit.places import only
from fairlead.kit.sentences import cause

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""Time for the server to say that it stored a message."""

WAITING_MOST: Final = 65_536
"""Messages of a group that may be in hand, over all its members."""

REPLAY_SECONDS: Final = 300.0
"""A replay that ended without a word is forgotten by the server after so long."""

_FULL: Final = (10023, 10026, 10047, 10077)
"""JetStream's codes for a stream or a server that has no room."""

_TROUBLES: Final = (NatsError, OSError, TimeoutError)


class JetStream:
    """Broker on one connection. Option of the URL: ``stream`` (else it is found by the subject)."""

    def __init__(self, place: Place) -> None:
        only(place, "stream")
        self._place = place
        self._client: Client | None = None
        self._targets: list[JetTarget] = []

    async def source(self, group: str, member: str, since: Since | None = None) -> JetSource:
        async with _talking(self._place):
            context = await self._context()
            stream = await self._stream(context)
            name, left = group, None
            if since is None:
                await self._shared(context, stream, group)
            else:
                name = f"{group}-{member}"
                left = await self._replay(context, stream, name, since)
            source = JetSource(context, self._place, stream, name, left)
            await source.open()
            return source

    async def target(self) -> JetTarget:
        async with _talking(self._place):
            context = await self._context()
            await self._stream(context)
            target = JetTarget(context._nc, self._place)  # noqa: SLF001 - the client of the context
            await target.open()
            self._targets.append(target)
            return target

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*_TROUBLES):
                await self._client.close()

    async def _shared(self, context: JetStreamContext, stream: str, group: str) -> None:
        """Make the group's consumer; one that is there stays as it was made."""
        subject = self._place.name
        try:
            found = (await context.consumer_info(stream, group)).config
        except NotFoundError:
            await context.add_consumer(stream, _consumer(subject, durable_name=group))
            return
        if found.deliver_subject or found.ack_policy != AckPolicy.EXPLICIT:
            raise UsageError(
                f"{self._place}: consumer {group!r} of stream {stream!r} is not a pull consumer with explicit "
                "acknowledgement; choose another name with --group"
            )
        if found.filter_subject not in (None, subject):
            raise UsageError(
                f"{self._place}: group {group!r} reads {found.filter_subject!r} of stream {stream!r}; choose another "
                "name with --group"
            )

    async def _replay(self, context: JetStreamContext, stream: str, name: str, since: Since) -> int:
        """Make a consumer of its own; how many messages it will read."""
        subject = self._place.name
        config = _consumer(subject, name=name, durable_name=name, inactive_threshold=REPLAY_SECONDS)
        if since.id:
            if not since.id.isdigit():
                raise UsageError(f"{self._place}: {since.id!r} is no sequence of a JetStream stream; give a number")
            config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, max(1, int(since.id))
        else:
            config.deliver_policy = DeliverPolicy.BY_START_TIME
            config.opt_start_time = datetime.fromtimestamp(since.at_ms / 1000, UTC)
        return (await context.add_consumer(stream, config)).num_pending or 0

    async def _context(self) -> JetStreamContext:
        if self._client is None:
            addresses = self._place.address.split(",")
            client = Client()
            connecting = client.connect(
                [f"nats://{address}" for address in addresses],
                user=self._place.user or None,
                password=self._place.password or None,
                connect_timeout=int(CONNECT_SECONDS),
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                skip_subject_validation=True,  # once is enough: the stream has it
                disconnected_cb=self._disconnected,
                error_cb=_unheard,
            )
            try:
                await asyncio.wait_for(connecting, CONNECT_SECONDS * len(addresses))  # alone it would try for ever
            except _TROUBLES:
                with contextlib.suppress(*_TROUBLES):
                    await client.close()
                raise
            self._client = client
        return self._client.jetstream(timeout=ANSWER_SECONDS)

    async def _stream(self, context: JetStreamContext) -> str:
        """The stream that keeps the subject. Raises NotFound."""
        named, subject = self._place.options.get("stream", ""), self._place.name
        try:
            if named:
                await context.stream_info(named)
                return named
            return await context.find_stream_name_by_subject(subject)
        except NotFoundError:
            what = f"there is no stream {named!r}" if named else f"no stream keeps the subject {subject!r}"
            raise NotFound(
                f"{self._place}: {what}; create one: nats stream add {named or 'NAME'} --subjects {subject} --defaults"
            ) from None

    async def _disconnected(self) -> None:
        for target in self._targets:
            target.lost()


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
            async with _talking(self._place):
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
        async with _talking(self._place):
            for message in messages:
                await self._client.publish(message.token, b"+ACK")
                if self._in_hand.get(message.id) == message.token:
                    del self._in_hand[message.id]

    async def hold(self) -> None:
        await self._tell(b"+WPI")

    async def lag(self) -> int | None:
        async with _talking(self._place):
            info = await self._context.consumer_info(self._stream, self._consumer)
        return None if info.num_pending is None else int(info.num_pending)

    async def close(self) -> None:
        with contextlib.suppress(*_TROUBLES, FairleadError):
            await self._subscription.unsubscribe()
            while self._arrived:
                self._message(self._arrived.popleft())
            await self._tell(b"-NAK")
            await self._client.flush(timeout=int(ANSWER_SECONDS))
            if self._left is not None:
                await self._context.delete_consumer(self._stream, self._consumer)

    async def _tell(self, word: bytes) -> None:
        async with _talking(self._place):
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


class JetTarget:
    """Publishes to one subject, many at once, each answered by the stream that stored it."""

    ordered = False

    def __init__(self, client: Client, place: Place) -> None:
        self._client = client
        self._place = place
        self._inbox = client.new_inbox()
        self._prefix = len(self._inbox) + 1
        self._numbers = itertools.count(1)
        self._waiting: dict[str, int] = {}
        """Number of a message to its place in the batch."""
        self._said: list[FairleadError | None] = []
        self._done = asyncio.Event()
        self._trouble: FairleadError | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        async with self._turn:
            self._waiting.clear()
            self._said = [None] * len(messages)
            self._trouble = None
            self._done.clear()
            async with _talking(self._place):
                if not self._client.is_connected:
                    raise Unavailable(f"{self._place}: the connection is lost")
                for place, message in enumerate(messages):
                    await self._send(place, message)
                if self._waiting:
                    await asyncio.wait_for(self._done.wait(), ANSWER_SECONDS)
            if self._trouble is not None:
                raise self._trouble
            return self._said

    async def close(self) -> None:
        with contextlib.suppress(*_TROUBLES):
            await self._subscription.unsubscribe()

    def lost(self) -> None:
        """The connection went away: nobody will say what became of what was sent."""
        self._fail(Unavailable(f"{self._place}: the connection was lost while messages were being stored"))

    async def _send(self, place: int, message: Outgoing) -> None:
        headers = dict(message.headers)
        if message.key:
            headers["fairlead-key"] = _one_line(message.key)
        if message.idempotency:
            headers["Nats-Msg-Id"] = headers["idempotency-key"] = message.idempotency
        number = str(next(self._numbers))
        self._waiting[number] = place
        try:
            await self._client.publish(self._place.name, message.body, f"{self._inbox}.{number}", headers or None)
        except MaxPayloadError:
            del self._waiting[number]
            most = self._client.max_payload
            self._said[place] = BodyTooLarge(
                f"{self._place}: an answer of {len(message.body)} bytes is larger than the server takes ({most}); "
                "raise max_payload of the NATS server"
            )

    async def _answered(self, message: Msg) -> None:
        place = self._waiting.pop(message.subject[self._prefix :], None)
        if place is None:
            return  # of an earlier try
        if message.headers and message.headers.get("Status") == "503":
            self._fail(Unavailable(f"{self._place}: no stream keeps it now"))
        elif b'"error"' in message.data:
            self._refused(place, json.loads(message.data).get("error") or {})
        if not self._waiting:
            self._done.set()

    def _refused(self, place: int, error: dict[str, Any]) -> None:
        said = f"{self._place}: {error.get('description', 'not stored')}"
        code = error.get("err_code")
        if code == 10054:  # over the stream's max_msg_size
            self._said[place] = BodyTooLarge(f"{said}; raise max_msg_size of the stream")
        else:
            self._fail((StorageFull if code in _FULL else Unavailable)(said))

    def _fail(self, trouble: FairleadError) -> None:
        if self._waiting or not self._done.is_set():
            self._trouble = self._trouble or trouble
            self._done.set()


def _consumer(subject: str, **more: Any) -> ConsumerConfig:
    return ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=3 * HOLD_SECONDS,
        max_ack_pending=WAITING_MOST,
        filter_subject=subject,
        **more,
    )


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@contextlib.asynccontextmanager
async def _talking(place: Place) -> AsyncIterator[None]:
    """What the client raises, as ours."""
    try:
        yield
    except _TROUBLES as error:
        raise Unavailable(f"{place} does not answer ({cause(error)}); is NATS with JetStream running there?") from error


async def _unheard(_: Exception) -> None:
    """What the client would print; whoever waits for an answer is told."""
