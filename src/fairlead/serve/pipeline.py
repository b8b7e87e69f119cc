"""The straight line: admit -> resolve -> run -> emit.

An edge resolves the version (it needs the signature to read the body), reads, and submits. From ``submit`` to the
edge's ``done`` there is no task and no await: the batcher's flush answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fairlead.contracts.errors import FairleadError, InvalidParameter, ModelFailed
from fairlead.contracts.types import Parameters, Reply, Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.call import Call
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

    def submit(
        self,
        live: Live,
        inputs: Tensors,
        parameters: Parameters,
        done: Callable[[Reply | FairleadError], None],
        *,
        request_id: str,
        arrived: float,
        timeout_ms: float | None = None,
    ) -> Call:
        """Send a call down the line; ``done`` gets its one outcome, on the event loop, maybe before this returns."""

        def emit(call: Call) -> None:
            self.in_flight -= 1
            outcome = call.outcome
            seconds = self.clock.now() - arrived
            if isinstance(outcome, Reply):
                timing = outcome.timing
                live.meter.answered(seconds, call.rows, timing.queue, timing.compute)
                done(outcome)
            elif outcome is not None:
                live.meter.failed(outcome.code, seconds)
                if isinstance(outcome, ModelFailed):
                    _log_failure(live, outcome, request_id)
                done(outcome)

        self.in_flight += 1
        deadline = None if timeout_ms is None else min(arrived + timeout_ms / 1000, arrived + live.deadline)
        call = live.call(inputs, parameters, emit, arrived=arrived, deadline=deadline)
        live.submit(call)
        return call


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


def _log_failure(live: Live, error: ModelFailed, request_id: str) -> None:
    cause = error.__cause__
    log.error(
        "model failed",
        exc_info=cause if isinstance(cause, Exception) else None,
        extra={
            "fields": {
                "endpoint": live.endpoint,
                "version": live.version,
                "request_id": request_id,
                "error": str(error),
            }
        },
    )
