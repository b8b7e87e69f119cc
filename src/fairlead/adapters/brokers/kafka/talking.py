"""What the Kafka client is told, and what it raises, as ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import KafkaException

from fairlead.contracts.broker import Place
from fairlead.contracts.errors import Unavailable
from fairlead.kit.sentences import cause

ANSWER_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 5.0


def settings(place: Place, **more: Any) -> dict[str, Any]:
    """``bootstrap.servers`` from the URL, its user and password as SASL, its options as they are."""
    found: dict[str, Any] = {"bootstrap.servers": place.address, "log_level": 2, "reconnect.backoff.max.ms": 2000}
    if place.user:
        found |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
        found |= {"sasl.username": place.user, "sasl.password": place.password}
    return {**found, **more, **place.options}


@contextlib.contextmanager
def talking(place: Place) -> Iterator[None]:
    """Raises Unavailable for what the client raises."""
    try:
        yield
    except KafkaException as error:
        raise Unavailable(f"{place} does not answer ({cause(error)}); is Kafka running there?") from error
