"""One inference request, whichever front it came through: resolve, read, submit, answer.

A front brings the headers and the body and puts the answer out; what a caller sees is made here, once.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.contracts.access import Caller
from fairlead.contracts.audit import Auditor
from fairlead.contracts.errors import FairleadError, ModelFailed, RateLimited, Unauthenticated
from fairlead.contracts.sink import Sink
from fairlead.contracts.types import Reply
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.access.gate import Gate
from fairlead.serve.call import STANDARD, Call, Dropped
from fairlead.serve.coarsening import Coarsening
from fairlead.serve.cycle import Begin
from fairlead.serve.edges.edge import Answer, Edge
from fairlead.serve.endpoint import Live
from fairlead.serve.pipeline import Pipeline, lane_of, log_failure, timeout_ms
from fairlead.serve.split import Split

log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Front:
    """What every exchange needs. ``max_body``: bytes, after decompression too.

    ``gate``: knows who may call; None: nobody is asked.  ``audit``: what is done is written down there.
    ``coarse``: endpoints that tell less than they know, by name.  ``direct``: what else may go the short way, by path.
    """

    pipeline: Pipeline
    sink: Sink
    max_body: int
    gate: Gate | None = None
    audit: Auditor | None = None
    coarse: dict[str, Coarsening] = field(default_factory=dict)
    direct: dict[bytes, Begin] = field(default_factory=dict)


class Exchange(ABC):
    """One request; a front subclasses it with how it answers.

    ``route`` is the pattern, for the metrics; ``headers`` have lower-case names.
    """

    tells = True
    """Whether a refusal of the gate is the answer of this exchange."""

    __slots__ = (
        "_asked",
        "_call",
        "_front",
        "_named",
        "_request_id",
        "_size",
        "_split",
        "_unit",
        "arrived",
        "caller",
        "edge",
        "headers",
        "live",
        "route",
    )

    def __init__(self, front: Front, edge: Edge, route: str, headers: Mapping[bytes, bytes]) -> None:
        self._front = front
        self.edge = edge
        self.route = route
        self.headers = headers
        self.arrived = front.pipeline.clock.now()
        self.live: Live | None = None
        self.caller: Caller | None = None
        self._request_id = ""
        self._call: Call | None = None
        self._split: Split | None = None
        self._named = False
        self._size = 0
        self._unit = ""

    @abstractmethod
    def put(self, answer: Answer, more: bytes) -> None:
        """Put the one answer out. ``more``: what ``told`` or ``later`` made; empty for neither."""

    @abstractmethod
    def told(self, reply: Reply, identity: str) -> bytes:
        """Header fields of a reply, as ``put`` takes them."""

    @abstractmethod
    def fields(self, lines: bytes) -> bytes:
        """More header fields: lines of HTTP, each ended by CRLF."""

    @abstractmethod
    def later(self, seconds: int) -> bytes:
        """The header field that says when to come again."""

    @abstractmethod
    def drop(self) -> None:
        """Close the connection without an answer."""

    def certificate(self) -> Certificate | None:
        """What the caller's connection showed; None for nothing."""
        return None

    def challenge(self) -> bytes:
        """The header field that says how to show who one is; empty where the protocol has none."""
        return b""

    @property
    def request_id(self) -> str:
        """The caller's own id where it can be echoed, else a fresh one."""
        if not self._request_id:
            self._request_id = request_id(self.headers.get(b"x-request-id"))
        return self._request_id

    def resolve(self, endpoint: str | None, version: str | None) -> None:
        """Find who calls and the version that answers. Raises Unauthenticated, Forbidden, NotFound or Unavailable."""
        catalog, gate = self._front.pipeline.catalog, self._front.gate
        if gate is not None:
            self.caller, self.live = gate.enter(self, catalog, endpoint, version)
        else:
            self.live = catalog.sole() if endpoint is None else catalog.resolve(endpoint, version)
        self._named = version is not None

    def submit(self, body: bytes) -> None:
        """Read the body and send the call down the line; ``respond`` is called once, maybe before this returns."""
        try:
            live = self._answering()
            deadline = self.deadline(live)
            urgent = self.headers.get(b"x-request-priority")
            lane = STANDARD if urgent is None else lane_of(urgent.decode("latin-1"))
            if live.batcher.shedding.standing:
                self._early(live, lane, deadline)
            asked = self.edge.read(body, self.headers, live.signature)
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            self.refuse(error)
            return
        self._asked = asked
        self._size = len(body)
        splits = self._front.pipeline.catalog.splits
        if splits and not self._named and live.endpoint in splits:
            self._split = splits[live.endpoint]
            live, self._unit = self._split.choose(self.headers, asked.inputs)
            self.live = live
            withheld = self._withheld(live)
            if withheld is not None:
                self.refuse(withheld)
                return
        arrived = self.arrived
        self._call = call = live.call(
            asked.inputs, asked.parameters, self._done, arrived=arrived, deadline=deadline, lane=lane
        )
        call.caller, call.size, call.metered = self.caller, self._size, True
        self._front.pipeline.submit(live, call)

    def deadline(self, live: Live) -> float:
        """By when the caller wants an answer, and the endpoint gives it at the latest. Raises InvalidParameter."""
        given = self.headers.get(b"x-request-timeout-ms")
        latest = self.arrived + live.deadline
        return latest if given is None else min(latest, self.arrived + timeout_ms(given.decode("latin-1")) / 1000)

    def _early(self, live: Live, lane: int, deadline: float) -> None:
        """Refuse before it is read what would be refused then, were it only a row. Raises Overloaded."""
        pipeline = self._front.pipeline
        known = self._named or live.endpoint not in pipeline.catalog.splits  # else nobody knows yet who answers
        if known and live.batcher.shedding.early:
            live.batcher.admit(lane, 1, self.arrived, deadline, pipeline.clock.now())

    def _answering(self) -> Live:
        """The version that was resolved, or the one in its place when it left while the body came."""
        live = self.live
        assert live is not None  # noqa: S101 - resolve comes first
        if live.closed and not self._named:
            self.live = live = self._front.pipeline.catalog.resolve(live.endpoint)
            if self.caller is not None and self._front.gate is not None:
                self._front.gate.hold(self, self.caller, live)
        return live

    def _withheld(self, live: Live) -> FairleadError | None:
        """Why the caller may not have the version that a split chose; None where they may."""
        gate, caller = self._front.gate, self.caller
        return None if gate is None or caller is None else gate.withheld(self, caller, live)

    def _done(self, call: Call) -> None:
        """The call has its outcome: measure it, write it, hand it out."""
        live, outcome = self.live, call.outcome
        assert live is not None  # noqa: S101 - as above
        identity = self._front.pipeline.emit(live, call, self.headers, self._unit, self._size)
        if identity and not self._request_id and b"x-request-id" not in self.headers:
            self._request_id = identity  # one id is enough
        if not isinstance(outcome, Reply):
            if isinstance(outcome, ModelFailed):
                log_failure(live, outcome, self.request_id)
            if outcome is not None:
                self._refused(outcome)
            return
        coarse = self._front.coarse
        if coarse and live.endpoint in coarse:
            outcome = coarse[live.endpoint].seen(outcome, self.caller, live.endpoint, live.version)
        try:
            self._asked.prediction = identity
            answer = self.edge.write(outcome, self._asked, live.signature)
        except Exception as error:  # noqa: BLE001 - as above
            self.refuse(error)
        else:
            told = self.told(outcome, identity)
            self.put(answer, told if call.allowance is None else told + self.fields(call.allowance.lines()))
            if self._split is not None:
                self._split.after(call, self._front.pipeline.clock.now() - call.arrived, self._size)

    def cancel(self) -> None:
        """The caller hung up."""
        if self._call is not None and self.live is not None:
            self.live.cancel(self._call)

    def refuse(self, error: Exception) -> None:
        """Answer a request that did not become a call; an error that is not ours goes to the log."""
        if not isinstance(error, FairleadError):
            fields = {"route": self.route, "request_id": self.request_id}
            log.error("request failed", exc_info=error, extra={"fields": fields})
            error = FairleadError(f"the server failed; its log has the cause under request id {self.request_id}")
        if self.live is None:
            self._front.sink.edge_error(self.route, error.code)
        else:
            self.live.meter.failed(error.code, self._front.pipeline.clock.now() - self.arrived)
        self._refused(error)

    def _refused(self, error: FairleadError) -> None:
        if type(error) is Dropped:
            self.drop()
            return
        after = error.retry_after
        more = b"" if after is None else self.later(max(1, math.ceil(after)))
        if error.code == Unauthenticated.code:
            more += self.challenge()
        elif type(error) is RateLimited:
            more += self.fields(error.told)
        self.put(self.edge.refuse(error, self.request_id), more)


class HttpExchange(Exchange):
    """An exchange whose answer is one of HTTP."""

    __slots__ = ()

    @abstractmethod
    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """Put the one answer out. ``head``: its header lines, content-length among them, each ended by CRLF."""

    def told(self, reply: Reply, identity: str) -> bytes:
        kept = f"fairlead-prediction-id: {identity}\r\n" if identity else ""
        if reply.degraded:
            kept += f"fairlead-degraded: {reply.degraded}\r\n"
        return f"server-timing: {timing(reply)}\r\nfairlead-version: {reply.version}\r\n{kept}".encode()

    def fields(self, lines: bytes) -> bytes:
        return lines

    def later(self, seconds: int) -> bytes:
        return b"retry-after: %d\r\n" % seconds

    def challenge(self) -> bytes:
        return b"www-authenticate: Bearer\r\n"

    def put(self, answer: Answer, more: bytes) -> None:
        """Answer with the headers that every answer has."""
        status, headers, body = answer
        (name, value), *others = headers
        for pair in others:
            more += b"%b: %b\r\n" % pair
        length, identity = len(body), self.request_id.encode()
        head = b"content-length: %d\r\n%b: %b\r\n%bx-request-id: %b\r\n" % (length, name, value, more, identity)
        self.respond(status, head, body)


def request_id(given: bytes | None) -> str:
    """The caller's own id where it can be echoed in a header and a log, else a fresh one."""
    if given and len(given) <= 128 and given.isascii():
        text = given.decode()
        if text.isprintable():
            return text
    return fresh_id()


def timing(reply: Reply) -> str:
    """What happened to a call, as ``server-timing`` says it."""
    queue, compute, rows, steps = reply.timing
    told = f'queue;dur={queue * 1000:.3f}, compute;dur={compute * 1000:.3f}, batch;desc="{rows} rows"'
    return told + "".join(f", step-{name};dur={seconds * 1000:.3f}" for name, seconds in steps) if steps else told
