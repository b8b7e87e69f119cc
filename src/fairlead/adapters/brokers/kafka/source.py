"""Reads as one member of a consumer group, or a window of all partitions. The client blocks: it has its own threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from fairlead.adapters.brokers.kafka.offsets import Offsets
from fairlead.adapters.brokers.kafka.talking import ANSWER_SECONDS, LOOK_SECONDS, settings, talking
from fairlead.contracts.broker import HOLD_SECONDS, Message, Place, Since
from fairlead.contracts.errors import FairleadError, Unavailable, UsageError

_GONE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - its name in the client


class KafkaSource:
    """``replay``: reads from there to what is newest now, in no group."""

    def __init__(self, place: Place, group: str, replay: Since | None = None) -> None:
        self._place = place
        self.ended = False
        self._offsets = Offsets()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(2, "fairlead-kafka")
        self._kept: deque[Any] = deque()
        self._polled = time.monotonic()
        self._trouble = ""
        self._closed = False
        self._ends: dict[int, int] | None = None
        self._consumer = Consumer(
            settings(
                place,
                **{
                    "group.id": group,
                    "auto.offset.reset": "earliest",
                    "enable.auto.commit": False,
                    "error_cb": self._heard,
                },
            )
        )
        self._replay = replay

    async def open(self, partitions: Sequence[int]) -> None:
        """``partitions``: of the topic."""
        await self._run(self._open, partitions)

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        return [] if self.ended else await self._run(self._fetch, limit, seconds)

    async def settle(self, messages: Sequence[Message]) -> None:
        with self._lock:
            marks = self._offsets.settle(message.token for message in messages)
        if marks and self._ends is None:
            offsets = [TopicPartition(self._place.name, partition, offset) for partition, offset in marks]
            await self._run(self._commit, offsets)

    async def hold(self) -> None:
        """A member that does not ask for so long would lose its partitions: ask for nothing."""
        if time.monotonic() - self._polled > HOLD_SECONDS / 2:
            await self._run(self._ask_nothing)

    async def lag(self) -> int | None:
        found: int = await self._run(self._lag)
        return found

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(FairleadError):
            await self._run(self._consumer.close)
        self._pool.shutdown(wait=False)

    async def _run(self, act: Any, *given: Any) -> Any:
        def guarded() -> Any:
            with talking(self._place):
                return act(*given)

        return await asyncio.get_running_loop().run_in_executor(self._pool, guarded)

    def _open(self, partitions: Sequence[int]) -> None:
        if self._replay is None:
            self._consumer.subscribe([self._place.name], on_assign=self._changed, on_revoke=self._changed)
            return
        begins = {one.partition: one.offset for one in self._begins(partitions)}
        self._ends = {}
        for partition in list(begins):
            low, high = self._watermarks(partition)
            begins[partition] = high if begins[partition] < 0 else max(low, begins[partition])
            if begins[partition] < high:
                self._ends[partition] = high
        self._consumer.assign(
            [TopicPartition(self._place.name, partition, begins[partition]) for partition in self._ends]
        )
        self.ended = not self._ends

    def _begins(self, partitions: Sequence[int]) -> list[TopicPartition]:
        """Where a replay begins in each partition."""
        assert self._replay is not None  # noqa: S101 - asked before
        name, since = self._place.name, self._replay
        if since.id:
            first, mark, offset = since.id.partition("-")
            if not (first.isdigit() and (not mark or offset.isdigit())):
                raise UsageError(f"{self._place}: {since.id!r} is no PARTITION-OFFSET; give one such as 0-1200")
            if mark:
                return [TopicPartition(name, int(first), int(offset))]
            return [TopicPartition(name, partition, int(first)) for partition in partitions]
        asked = [TopicPartition(name, partition, since.at_ms) for partition in partitions]
        return list(self._consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS))

    def _watermarks(self, partition: int) -> tuple[int, int]:
        found = self._consumer.get_watermark_offsets(TopicPartition(self._place.name, partition), timeout=LOOK_SECONDS)
        if found is None:
            raise Unavailable(f"{self._place}: the leader of partition {partition} does not answer")
        return found

    def _fetch(self, limit: int, seconds: float) -> list[Message]:
        self._polled = time.monotonic()
        raw = [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]
        if not raw:
            first = self._consumer.poll(seconds)  # ``consume`` would wait until all are there
            if first is None:
                trouble, self._trouble = self._trouble, ""
                if trouble:
                    raise Unavailable(f"{self._place}: {trouble}")
                return []
            raw = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        self._trouble = ""
        found = []
        for one in raw:
            error = one.error()
            if error is not None:
                if error.code() in _GONE or error.fatal():
                    self._trouble = error.str()
                continue
            message = self._message(one)
            if message is not None:
                found.append(message)
        return found

    def _message(self, raw: Any) -> Message | None:
        partition, offset = raw.partition(), raw.offset()
        if self._ends is not None:
            end = self._ends.get(partition, 0)
            if offset >= end - 1:
                self._ends.pop(partition, None)
                self.ended = not self._ends
            if offset >= end:
                return None
        with self._lock:
            deliveries = self._offsets.give(partition, offset)
        headers = {name.lower(): (value or b"").decode("utf-8", "replace") for name, value in raw.headers() or ()}
        kind, at_ms = raw.timestamp()
        key = (raw.key() or b"").decode("utf-8", "surrogateescape")
        return Message(
            f"{partition}-{offset}",
            raw.value() or b"",
            headers,
            key,
            deliveries,
            0.0 if kind == TIMESTAMP_NOT_AVAILABLE else float(at_ms),
            (partition, offset),
        )

    def _commit(self, offsets: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID):
                raise  # else the partitions went to another member: they come again there

    def _ask_nothing(self) -> None:
        self._polled = time.monotonic()
        mine = self._consumer.assignment()
        self._consumer.pause(mine)
        found = self._consumer.poll(0)
        if found is not None:
            self._kept.append(found)
        self._consumer.resume(self._consumer.assignment())

    def _lag(self) -> int:
        left = len(self._kept)
        for at in self._consumer.position(self._consumer.assignment()):
            low, high = self._watermarks(at.partition)
            left += high - (at.offset if at.offset >= 0 else low)
        return left

    def _changed(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Partitions came or went."""
        with self._lock:
            self._offsets.forget(one.partition for one in partitions)

    def _heard(self, error: KafkaError) -> None:
        if error.code() in _GONE:
            self._trouble = error.str()
