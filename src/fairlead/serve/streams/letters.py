"""The messages that a worker writes: answers, and dead letters with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fairlead.contracts.broker import Message, Outgoing, Place
from fairlead.contracts.errors import FairleadError
from fairlead.kit.codec import json

PASSED_ON: Final = ("traceparent", "tracestate", "x-request-id", "correlation-id")
"""Headers of a message that its answer has too."""

OWN: Final = ("nats-msg-id", "nats-expected-stream", "idempotency-key", "fairlead-key")
"""Headers that mean something to a broker, or to us: a dead letter gets its own."""

WHY: Final = 1000
"""Letters of a reason that a header holds."""


class Letters:
    """Writes for one input. ``place``: where the messages come from.  ``group``: who reads them."""

    def __init__(self, place: Place, group: str) -> None:
        self._source = place.name
        self._once = f"{group}:{place.name}:"

    def answer(
        self, message: Message, body: bytes, headers: Mapping[str, str], request_id: str, version: str, prediction: str
    ) -> Outgoing:
        """``headers``: what the edge says of the body.  ``prediction``: empty where nothing is recorded."""
        more = {**headers, "x-request-id": request_id, "fairlead-version": version, "fairlead-source-id": message.id}
        if prediction:
            more["fairlead-prediction-id"] = prediction
        for name in PASSED_ON:
            if name in message.headers:
                more[name] = one_line(message.headers[name])
        return Outgoing(body, more, message.key, self._idempotency(message))

    def dead(self, message: Message, error: FairleadError, attempts: int, *, told: bool) -> Outgoing:
        """The message as it came, with the reason in its headers. ``told``: it goes to who waits for the answer
        (there is no place for dead letters), and says in its body what HTTP would say.
        """
        headers = {name: one_line(value) for name, value in message.headers.items() if name not in OWN}
        headers |= {
            "fairlead-error-code": error.code,
            "fairlead-error": one_line(str(error))[:WHY],
            "fairlead-source": self._source,
            "fairlead-source-id": message.id,
            "fairlead-attempts": str(attempts),
            "fairlead-deliveries": str(message.deliveries),
        }
        body = message.body
        if told:
            body = json.encode({"error": str(error), "code": error.code})
            headers["content-type"] = "application/json"
        return Outgoing(body, headers, message.key, f"{self._idempotency(message)}:dead")

    def _idempotency(self, message: Message) -> str:
        """Its time is part of it: a stream that was made anew counts from 1 again."""
        return f"{self._once}{message.id}@{message.at_ms:.0f}"


def emptied(letter: Outgoing) -> Outgoing:
    """A dead letter that fits anywhere: only what we say of it. Its source id says where the body is."""
    headers = {name: value for name, value in letter.headers.items() if name.startswith("fairlead-")}
    return letter._replace(body=b"", headers={**headers, "fairlead-body": f"left out: {len(letter.body)} bytes"})


def one_line(text: str) -> str:
    """As a header holds it in every broker."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
