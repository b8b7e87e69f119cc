"""``ModelInfer`` and ``ModelStreamInfer``: calls of the same pipeline as those of HTTP."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from fairlead.contracts.errors import FairleadError, MalformedBody
from fairlead.contracts.types import Reply
from fairlead.kit.codec.protos import InferResponse, StreamResponse
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.edges.edge import Answer, pairs
from fairlead.serve.front import Exchange, Front, timing
from fairlead.serve.grpc import status
from fairlead.serve.grpc.edge import InferEdge, request_of
from fairlead.serve.grpc.headers import literal, named, short, written
from fairlead.serve.grpc.stream import Rpc, Stream
from fairlead.serve.pipeline import MAX_TIMEOUT_MS

Headers = Mapping[bytes, bytes]

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
_UNITS: Final = {b"H": 3.6e6, b"M": 6e4, b"S": 1e3, b"m": 1.0, b"u": 1e-3, b"n": 1e-6}
_TIMEOUT: Final = b"x-request-timeout-ms"
_TIMING, _VERSION, _PREDICTION, _REQUEST = (
    named(name) for name in (b"server-timing", b"fairlead-version", b"fairlead-prediction-id", b"x-request-id")
)
_OVERHEAD: Final = 512
"""Bytes that a call on a stream holds beside its message, about."""


def timed(headers: Headers) -> Headers:
    """The headers, with the call's ``grpc-timeout`` as the one that every front knows. Raises MalformedBody."""
    given = headers.get(b"grpc-timeout")
    if given is None:
        return headers
    digits, unit = given[:-1], _UNITS.get(given[-1:])
    if unit is None or not digits.isdigit() or len(digits) > 8:
        raise MalformedBody(
            f"grpc-timeout is {given[:40].decode('latin-1')!r}; expected up to 8 digits and H, M, S, m, u or n"
        )
    milliseconds = min(max(int(digits) * unit, 1e-3), float(MAX_TIMEOUT_MS))
    if _TIMEOUT in headers:
        return headers  # the caller's own word; the client library ends the call itself when its time is over
    return {**headers, _TIMEOUT: b"%.6f" % milliseconds}


class _Called(Exchange):
    """A call over gRPC. What HTTP says in headers, a call says in its trailers."""

    __slots__ = ()

    def told(self, reply: Reply, identity: str) -> bytes:
        version = reply.version.encode()
        fields = _TIMING + short(timing(reply).encode()) + _VERSION + short(version)
        if reply.degraded:
            fields += literal(b"fairlead-degraded", reply.degraded.encode())
        return fields + _PREDICTION + short(identity.encode()) if identity else fields

    def fields(self, lines: bytes) -> bytes:
        return written(pairs(lines))

    def later(self, seconds: int) -> bytes:
        return literal(b"retry-after", b"%d" % seconds)


class Infer(_Called, Rpc):
    """One ``ModelInfer``. It begins with its message; that the client sends no more need not be awaited."""

    __slots__ = ("_asked_once", "_stream")

    def __init__(self, front: Front, stream: Stream, headers: Headers) -> None:
        super().__init__(front, InferEdge(None), INFER, headers)
        self._stream = stream
        self._asked_once = False

    def certificate(self) -> Certificate | None:
        return self._stream.certificate()

    def message(self, data: bytes) -> None:
        if self._asked_once:
            self._stream.refuse(status.INVALID, "ModelInfer takes one message; ModelStreamInfer takes several")
            return
        self._asked_once = True
        ask(self, data)

    def closed(self) -> None:
        if not self._asked_once:
            self._stream.refuse(status.INVALID, "ModelInfer takes one message, and none came")

    def cancelled(self) -> None:
        self.cancel()

    def drop(self) -> None:
        self._stream.drop()

    def put(self, answer: Answer, more: bytes) -> None:
        trailers = more + _REQUEST + short(self.request_id.encode())
        if answer.status == status.OK:
            self._stream.answer(answer.body, trailers)
            return
        self._stream.finish(answer.status, answer.body.decode(), written(answer.headers) + trailers)


class StreamInfer(Rpc):
    """Calls on one stream, answered in the order in which they came."""

    __slots__ = ("_closed", "_front", "_headers", "_stream", "_waiting")
    patient = True

    def __init__(self, front: Front, stream: Stream, headers: Headers) -> None:
        self._front, self._stream, self._headers = front, stream, headers
        self._waiting: deque[_Streamed] = deque()
        self._closed = False

    def message(self, data: bytes) -> None:
        call = _Streamed(self._front, self._headers, self._send, len(data) + _OVERHEAD, self._stream)
        self._waiting.append(call)
        self._stream.owes(call.size)
        ask(call, data)

    def closed(self) -> None:
        self._closed = True
        self._send()

    def cancelled(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._stream.owes(-call.size)
            call.cancel()

    def _send(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0].answered is not None:
            call = waiting.popleft()
            self._stream.owes(-call.size)
            self._stream.send(call.answered or b"")
        if self._closed and not waiting:
            self._stream.finish(status.OK)


class _Streamed(_Called):
    """One call of a stream: an error is a message, and the stream goes on. ``size``: bytes that it holds."""

    __slots__ = ("_done_with", "_stream", "answered", "size")

    def __init__(self, front: Front, headers: Headers, told: Callable[[], None], size: int, stream: Stream) -> None:
        super().__init__(front, InferEdge(None), STREAM_INFER, headers)
        self._stream = stream
        self._done_with = told
        self.size = size
        self.answered: bytes | None = None

    def certificate(self) -> Certificate | None:
        return self._stream.certificate()

    def drop(self) -> None:
        self._stream.drop()

    def put(self, answer: Answer, more: bytes) -> None:  # noqa: ARG002 - a stream has one set of trailers
        if answer.status == status.OK:
            response = StreamResponse(infer_response=InferResponse.FromString(answer.body))
        else:
            asked = self.edge.id if isinstance(self.edge, InferEdge) else ""
            response = StreamResponse(error_message=answer.body.decode(), infer_response=InferResponse(id=asked))
        self.answered = response.SerializeToString()
        self._done_with()


def ask(exchange: Exchange, data: bytes) -> None:
    """Read one request message and submit it; what is wrong with it is its answer."""
    try:
        message = request_of(data)
        exchange.edge = InferEdge(message)
        exchange.resolve(message.model_name, message.model_version or None)
    except FairleadError as error:
        exchange.refuse(error)
    else:
        exchange.submit(data)
