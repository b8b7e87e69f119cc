"""The broker: one connection, a durable pull consumer a group.

The key of a message is its header ``fairlead-key``. For an input the name may be a subject with wildcards.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any, Final

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from fairlead.adapters.brokers.jetstream.source import JetSource
from fairlead.adapters.brokers.jetstream.talking import ANSWER_SECONDS, TROUBLES, talking
from fairlead.adapters.brokers.jetstream.target import JetTarget
from fairlead.contracts.broker import HOLD_SECONDS, Place, Since
from fairlead.contracts.errors import NotFound, UsageError
from fairlead.kit.places import only

CONNECT_SECONDS: Final = 3.0

WAITING_MOST: Final = 65_536
"""Messages of a group that may be in hand, over all its members."""

REPLAY_SECONDS: Final = 300.0
"""A replay that ended without a word is forgotten by the server after so long."""


class JetStream:
    """Broker on one connection. Option of the URL: ``stream`` (else it is found by the subject)."""

    def __init__(self, place: Place) -> None:
        only(place, "stream")
        self._place = place
        self._client: Client | None = None
        self._targets: list[JetTarget] = []

    async def source(self, group: str, member: str, since: Since | None = None) -> JetSource:
        async with talking(self._place):
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
        async with talking(self._place):
            context = await self._context()
            await self._stream(context)
            target = JetTarget(context._nc, self._place)  # noqa: SLF001 - the client of the context
            await target.open()
            self._targets.append(target)
            return target

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*TROUBLES):
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
            except TROUBLES:
                with contextlib.suppress(*TROUBLES):
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


def _consumer(subject: str, **more: Any) -> ConsumerConfig:
    return ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=3 * HOLD_SECONDS,
        max_ack_pending=WAITING_MOST,
        filter_subject=subject,
        **more,
    )


async def _unheard(_: Exception) -> None:
    """What the client would print; whoever waits for an answer is told."""
