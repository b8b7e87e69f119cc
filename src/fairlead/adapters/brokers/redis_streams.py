"""Redis Streams: a consumer group; what a member left behind goes to another after a while.

An entry has the field ``body``; ``key`` is its key, every other field a header. Redis keeps no duplicates out: an
answer has the field ``idempotency-key``. How durable a stored entry is, the server's settings say (``appendfsync``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, OutOfMemoryError, RedisError, ResponseError

from fairlead.contracts.broker import HOLD_SECONDS, Message, Outgoing, Place, Since
from fairlead.contracts.errors import FairleadError, NotFound, StorageFull, Unavailable, UsageError
from fairlead.kit.places import only
from fairlead.kit.sentences import cause

ANSWER_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0

LEFT_MS: Final = round(3 * HOLD_SECONDS * 1000)
"""What a member has had for so long without a word goes to another."""

LOOK_SECONDS: Final = 5.0
"""Between two looks for what others left behind."""

HELD_AT_ONCE: Final = 1000
_LAST: Final = 2**64 - 1
_TROUBLES: Final = (RedisError, OSError, TimeoutError)


class RedisStreams:
    """Broker on one pool of connections. Option of the URL: ``db``."""

    def __init__(self, place: Place) -> None:
        only(place, "db")
        self._place = place
        self._client = _connected(place)

    async def source(self, group: str, member: str, since: Since | None = None) -> RedisSource:
        name = self._place.name
        async with _talking(self._place):
            if not await self._exists():
                raise NotFound(
                    f"{self._place}: there is no stream {name!r}; add its first message (redis-cli XADD {name} '*' "
                    f"body '{{...}}'), or make it empty: redis-cli XGROUP CREATE {name} {group} 0 MKSTREAM"
                )
            if since is None:
                await self._group(group, "0")
                return RedisSource(self._client, self._place, group, member)
            begin, end = _begin(self._place, since), (0, 0)
            for identity, _ in await self._client.xrevrange(name, count=1):
                end = _pair(identity.decode())
            replay, (at, number) = f"{group}-{member}", begin
            await self._group(replay, f"{at}-{number - 1}" if number else f"{at - 1}-{_LAST}")
            return RedisSource(self._client, self._place, replay, member, end, ended=end < begin)

    async def target(self) -> RedisTarget:
        async with _talking(self._place):
            await self._exists()  # else it comes into being with its first entry
        return RedisTarget(self._client, self._place)

    async def close(self) -> None:
        with contextlib.suppress(*_TROUBLES):
            await self._client.aclose()

    async def _exists(self) -> bool:
        """Raises UsageError for a key that is something else."""
        kind: str = (await self._client.type(self._place.name)).decode()
        if kind not in ("none", "stream"):
            raise UsageError(f"{self._place}: the key {self._place.name!r} is a {kind}, not a stream; name another one")
        return kind == "stream"

    async def _group(self, group: str, after: str) -> None:
        try:
            await self._client.xgroup_create(self._place.name, group, after)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


class RedisSource:
    """One member of a group. ``end``: the last entry of a replay."""

    def __init__(
        self,
        client: Any,
        place: Place,
        group: str,
        member: str,
        end: tuple[int, int] | None = None,
        *,
        ended: bool = False,
    ) -> None:
        self._client = client
        self._place = place
        self._group, self._member = group, member
        self._end = end
        self.ended = ended
        self._in_hand: set[str] = set()
        self._look_at = 0.0

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        if self.ended:
            return []
        async with _talking(self._place):
            if time.monotonic() >= self._look_at and (found := await self._left_behind(limit)):
                return found
            ask: list[Any] = ["XREADGROUP", "GROUP", self._group, self._member, "COUNT", limit]
            ask += ["BLOCK", max(1, round(seconds * 1000)), "STREAMS", self._place.name, ">"]
            answer = await self._client.execute_command(*ask)
        entries = answer[0][1] if answer else []
        if self._end is not None:
            return self._of_replay(entries)
        return [self._message(entry) for entry in entries]

    async def settle(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        identities = [message.id for message in messages]
        async with _talking(self._place):
            await self._client.execute_command("XACK", self._place.name, self._group, *identities)
        self._in_hand.difference_update(identities)

    async def hold(self) -> None:
        await self._claim(0)

    async def lag(self) -> int | None:
        async with _talking(self._place):
            for group in await self._client.xinfo_groups(self._place.name):
                if group["name"].decode() == self._group:
                    lag = group.get("lag")
                    return None if lag is None else int(lag)
        return None

    async def close(self) -> None:
        name, group = self._place.name, self._group
        with contextlib.suppress(*_TROUBLES, FairleadError):
            if self._end is not None:
                await self._client.xgroup_destroy(name, group)
                return
            await self._claim(LEFT_MS + 1)  # as if it had lain here: others take it when they look next
            if not await self._client.xpending_range(name, group, "-", "+", 1, self._member):
                await self._client.xgroup_delconsumer(name, group, self._member)

    async def _claim(self, idle_ms: int) -> None:
        """Say that what is in hand was last touched ``idle_ms`` ago. It counts as no delivery."""
        waiting = list(self._in_hand)
        async with _talking(self._place):
            for at in range(0, len(waiting), HELD_AT_ONCE):
                some = waiting[at : at + HELD_AT_ONCE]
                ask: list[Any] = ["XCLAIM", self._place.name, self._group, self._member, 0, *some]
                await self._client.execute_command(*ask, "IDLE", idle_ms, "JUSTID")

    async def _left_behind(self, limit: int) -> list[Message]:
        """Take over what members that are gone had; looks again at once where there may be more."""
        name, group = self._place.name, self._group
        found = await self._client.execute_command(
            "XAUTOCLAIM", name, group, self._member, LEFT_MS, "0-0", "COUNT", limit
        )
        entries = [entry for entry in found[1] if entry is not None and entry[1] is not None]
        if not entries:
            self._look_at = time.monotonic() + LOOK_SECONDS
        messages = []
        for entry in entries:
            identity = entry[0].decode()
            pending = await self._client.xpending_range(name, group, identity, identity, 1)
            messages.append(self._message(entry, pending[0]["times_delivered"] if pending else 2))
        return messages

    def _of_replay(self, entries: Sequence[Any]) -> list[Message]:
        """Only what there was when it began; says when that is all."""
        assert self._end is not None  # noqa: S101 - of a replay
        fresh = [entry for entry in entries if _pair(entry[0].decode()) <= self._end]
        self.ended = not fresh or _pair(fresh[-1][0].decode()) >= self._end
        return [self._message(entry) for entry in fresh]

    def _message(self, entry: Sequence[Any], deliveries: int = 1) -> Message:
        identity = entry[0].decode()
        body, key, headers = b"", "", {}
        fields = iter(entry[1])
        for name, value in zip(fields, fields, strict=True):
            if name == b"body":
                body = value
            elif name == b"key":
                key = value.decode("utf-8", "surrogateescape")
            else:
                headers[name.decode("utf-8", "replace").lower()] = value.decode("utf-8", "replace")
        self._in_hand.add(identity)
        return Message(identity, body, headers, key, deliveries, float(identity.partition("-")[0]))


class RedisTarget:
    """Adds entries in one transaction: all of them or none."""

    ordered = True

    def __init__(self, client: Any, place: Place) -> None:
        self._client = client
        self._place = place

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        pipeline = self._client.pipeline(transaction=True)
        for message in messages:
            fields: list[Any] = ["body", message.body]
            if message.key:
                fields += ["key", message.key.encode("utf-8", "surrogateescape")]
            if message.idempotency:
                fields += ["idempotency-key", message.idempotency]
            for pair in message.headers.items():
                fields += pair
            pipeline.execute_command("XADD", self._place.name, "*", *fields)
        async with _talking(self._place):
            await pipeline.execute()
        return [None] * len(messages)

    async def close(self) -> None:
        """Nothing: the broker has the connections."""


def _connected(place: Place) -> Any:
    """A client; its commands are typed for several protocols at once, hence Any. Raises UsageError."""
    host, mark, port = place.address.rpartition(":")
    if not mark or place.address.endswith("]"):
        host, port = place.address, "6379"
    db = place.options.get("db", "0")
    if not db.isdigit() or not port.isdigit() or "," in place.address:
        raise UsageError(f"{place}: expected one HOST:PORT, and a number for db, found {db!r}")
    client: Any = Redis(
        host=host.strip("[]"),
        port=int(port),
        db=int(db),
        username=place.user or None,
        password=place.password or None,
        ssl=place.scheme == "rediss",
        protocol=2,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),  # trying again is for who asked
    )
    for command in ("XREADGROUP", "XAUTOCLAIM", "XCLAIM"):
        client.response_callbacks[command] = _raw
    return client


def _begin(place: Place, since: Since) -> tuple[int, int]:
    """The first entry of a replay."""
    if not since.id:
        return max(since.at_ms, 1), 0
    try:
        return _pair(since.id)
    except ValueError:
        raise UsageError(
            f"{place}: {since.id!r} is no id of a Redis stream; give one such as 1700000000000-0"
        ) from None


def _pair(identity: str) -> tuple[int, int]:
    at, _, number = identity.partition("-")
    return int(at), int(number or 0)


def _raw(answer: Any, **_: Any) -> Any:
    """An answer as it came: making dictionaries of it costs more than reading it."""
    return answer


@contextlib.asynccontextmanager
async def _talking(place: Place) -> AsyncIterator[None]:
    """What the client raises, as ours."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StorageFull(
            f"{place}: Redis has no memory left ({cause(error)}); trim streams or raise maxmemory"
        ) from error
    except BusyLoadingError as error:
        raise Unavailable(f"{place}: Redis is still loading its data") from error
    except ResponseError as error:
        raise Unavailable(f"{place}: Redis refused ({cause(error)})") from error
    except _TROUBLES as error:
        raise Unavailable(f"{place} does not answer ({cause(error)}); is Redis running there?") from error
