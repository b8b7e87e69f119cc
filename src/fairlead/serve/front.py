"""One request on an inference route, whichever HTTP front it came through: resolve, read, submit, answer.

A front brings the headers and the body and puts the answer out; what a caller sees is made here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.sink import Sink
from fairlead.contracts.types import Reply
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.call import Call
from fairlead.serve.edges.edge import Answer, Edge
from fairlead.serve.endpoint import Live
from fairlead.serve.pipeline import Pipeline, timeout_ms

log = logging.getLogger("fairlead.serve")

Respond = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class Front:
    """What every exchange needs. ``max_body``: bytes, after decompression too."""

    pipeline: Pipeline
    sink: Sink
    max_body: int


class Exchange:
    """One request. ``route`` is the pattern, for the metrics; ``headers`` have lower-case names."""

    __slots__ = ("_call", "_front", "arrived", "edge", "headers", "live", "request_id", "route")

    def __init__(self, front: Front, edge: Edge, route: str, headers: Mapping[bytes, bytes]) -> None:
        self._front = front
        self.edge = edge
        self.route = route
        self.headers = headers
        self.arrived = front.pipeline.clock.now()
        self.request_id = _request_id(headers.get(b"x-request-id"))
        self.live: Live | None = None
        self._call: Call | None = None

    def resolve(self, endpoint: str | None, version: str | None) -> None:
        """Find the version that answers. Raises NotFound or Unavailable."""
        catalog = self._front.pipeline.catalog
        self.live = catalog.sole() if endpoint is None else catalog.resolve(endpoint, version)

    def submit(self, body: bytes, respond: Respond) -> None:
        """Read the body and send the call down the line; ``respond`` gets the one answer, maybe before this returns."""
        live = self.live
        assert live is not None  # noqa: S101 - resolve comes first
        try:
            given = self.headers.get(b"x-request-timeout-ms")
            limit = None if given is None else timeout_ms(given.decode("latin-1"))
            asked = self.edge.read(body, self.headers, live.signature)
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            respond(self.refuse(error))
            return

        def done(outcome: Reply | FairleadError) -> None:
            if not isinstance(outcome, Reply):
                respond(self._refused(outcome))
                return
            try:
                answer = self.edge.write(outcome, asked, live.signature)
            except Exception as error:  # noqa: BLE001 - as above
                respond(self.refuse(error))
            else:
                respond(Answer(answer.status, self._framed(answer, _told(outcome)), answer.body))

        self._call = self._front.pipeline.submit(
            live,
            asked.inputs,
            asked.parameters,
            done,
            request_id=self.request_id,
            arrived=self.arrived,
            timeout_ms=limit,
        )

    def cancel(self) -> None:
        """The caller hung up."""
        if self._call is not None and self.live is not None:
            self.live.cancel(self._call)

    def refuse(self, error: Exception) -> Answer:
        """The answer to a request that did not become a call; an error that is not ours goes to the log."""
        if not isinstance(error, FairleadError):
            fields = {"route": self.route, "request_id": self.request_id}
            log.error("request failed", exc_info=error, extra={"fields": fields})
            error = FairleadError(f"the server failed; its log has the cause under request id {self.request_id}")
        if self.live is None:
            self._front.sink.edge_error(self.route, error.code)
        else:
            self.live.meter.failed(error.code, self._front.pipeline.clock.now() - self.arrived)
        return self._refused(error)

    def _refused(self, error: FairleadError) -> Answer:
        answer = self.edge.refuse(error, self.request_id)
        more = [] if error.retry_after is None else [(b"retry-after", b"%d" % max(1, round(error.retry_after)))]
        return Answer(answer.status, self._framed(answer, more), answer.body)

    def _framed(self, answer: Answer, more: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        length = (b"content-length", b"%d" % len(answer.body))
        return [length, *answer.headers, *more, (b"x-request-id", self.request_id.encode())]


def _request_id(given: bytes | None) -> str:
    """The caller's own id where it can be echoed in a header and a log, else a fresh one."""
    if given and len(given) <= 128 and given.isascii():
        text = given.decode()
        if text.isprintable():
            return text
    return fresh_id()


def _told(reply: Reply) -> list[tuple[bytes, bytes]]:
    timing = reply.timing
    shown = b'queue;dur=%.3f, compute;dur=%.3f, batch;desc="%d rows"' % (
        timing.queue * 1000,
        timing.compute * 1000,
        timing.rows,
    )
    return [(b"server-timing", shown), (b"fairlead-version", reply.version.encode())]
