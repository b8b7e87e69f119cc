"""What the NATS client raises, as ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from nats.errors import Error as NatsError

from fairlead.contracts.broker import Place
from fairlead.contracts.errors import Unavailable
from fairlead.kit.sentences import cause

ANSWER_SECONDS: Final = 5.0
"""Time for the server to answer, and to say that it stored a message."""

TROUBLES: Final = (NatsError, OSError, TimeoutError)


@contextlib.asynccontextmanager
async def talking(place: Place) -> AsyncIterator[None]:
    """What the client raises, as ours."""
    try:
        yield
    except TROUBLES as error:
        raise Unavailable(f"{place} does not answer ({cause(error)}); is NATS with JetStream running there?") from error
