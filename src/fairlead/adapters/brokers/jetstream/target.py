"""Publishes many messages at once; the stream answers each that it stored."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError

from fairlead.adapters.brokers.jetstream.talking import ANSWER_SECONDS, TROUBLES, talking
from fairlead.contracts.broker import Outgoing, Place
from fairlead.contracts.errors import BodyTooLarge, FairleadError, StorageFull, Unavailable

_FULL: Final = (10023, 10026, 10047, 10077)
"""JetStream's codes for a stream or a server that has no room."""


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
            async with talking(self._place):
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
        with contextlib.suppress(*TROUBLES):
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


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
