"""The straight line: admit -> resolve -> run -> emit.

An edge resolves the version (it needs the signature to read the body), reads, and submits. From ``submit`` to the
edge's ``done`` there is no task and no await: the batcher's flush answers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fairlead.contracts.errors import FairleadError, InvalidParameter, ModelFailed
from fairlead.contracts.types import Reply
from fairlead.kit.clock import Clock
from fairlead.serve.call import LANES, Call
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live

log = logging.getLogger("fairlead.serve")

MAX_TIMEOUT_MS = 24 * 3600 * 1000


class Pipeline:
    """What every edge talks to."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.catalog = catalog
        self.clock = clock
        self.in_flight = 0
        """Calls submitted and not answered yet."""

    def submit(self, live: Live, call: Call) -> None:
        """Send a call down the line; its ``done`` gets the outcome, on the event loop, maybe before this returns."""
        self.in_flight += 1
        live.enter(call)

    def emit(self, live: Live, call: Call, headers: Mapping[bytes, bytes], unit: str = "", size: int = 0) -> str:
        """Measure and record a call that has its outcome; called once by the edge that made it, before it answers.

        ``unit``: what a split went by.  ``size``: bytes of the body.  Returns the prediction id, empty where nothing
        is recorded.
        """
        self.in_flight -= 1
        outcome = call.outcome
        seconds = self.clock.now() - call.arrived
        if type(outcome) is Reply:
            timing = outcome.timing
            live.meter.answered(seconds, call.rows, timing.queue, timing.compute)
        elif isinstance(outcome, FairleadError):
            live.meter.failed(outcome.code, seconds)
        tape = live.tape
        return "" if tape is None else tape.add(call, seconds, headers, unit, size)


def timeout_ms(value: str) -> float:
    """The ``x-request-timeout-ms`` header. Raises InvalidParameter."""
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = -1.0
    if not 0 < milliseconds <= MAX_TIMEOUT_MS:
        raise InvalidParameter(
            f"x-request-timeout-ms is {value[:40]!r}; expected milliseconds, above 0 and up to {MAX_TIMEOUT_MS}"
        )
    return milliseconds


def lane_of(value: str) -> int:
    """The ``x-request-priority`` header. Raises InvalidParameter."""
    try:
        return LANES.index(value)
    except ValueError:
        raise InvalidParameter(f"x-request-priority is {value[:40]!r}; expected {', '.join(LANES)}") from None


def log_failure(live: Live, error: ModelFailed, request_id: str) -> None:
    """A model that raised: the caller gets a sentence and an id, the log the cause."""
    cause = error.__cause__
    log.error(
        "model failed",
        exc_info=cause,
        extra={
            "fields": {
                "endpoint": live.endpoint,
                "version": live.version,
                "request_id": request_id,
                "error": str(error),
            }
        },
    )
