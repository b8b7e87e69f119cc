"""Which method answers what: the Open Inference Protocol, health checking and reflection."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from fairlead import __version__
from fairlead.contracts.access import Action
from fairlead.contracts.errors import FairleadError, Forbidden, MalformedBody, NotFound, Unavailable
from fairlead.kit.codec.protos import HEALTH, OIP, POOL, REFLECTION, REFLECTION_ALPHA, SERVICES, message
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.needs import UNKNOWN_ROUTE
from fairlead.serve.access.sight import EVERYTHING, Sight, telling
from fairlead.serve.catalog import Catalog
from fairlead.serve.edges import metadata
from fairlead.serve.front import Front, request_id
from fairlead.serve.grpc import status
from fairlead.serve.grpc.calls import INFER, STREAM_INFER, Infer, StreamInfer, timed
from fairlead.serve.grpc.stream import Rpc, Stream
from fairlead.serve.repository import Control, refuse_parameters

log = logging.getLogger("fairlead.serve")

Headers = Mapping[bytes, bytes]
Begin = Callable[[Stream, Headers], Rpc]
Answering = Callable[[Sight, Any, Any], None]
"""Fills the response to a request, as far as the caller may see."""

WATCH_SECONDS: Final = 1.0
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
_GRPC: Final = re.compile(rb"application/grpc($|[+;])")


class Service:
    """Begins what answers a stream. ``draining``: whether the server is on its way out.  ``control``: (un)loads."""

    def __init__(self, front: Front, draining: Callable[[], bool], control: Control) -> None:
        self._front, self._draining = front, draining
        self._catalog: Catalog = front.pipeline.catalog
        self._watches: set[_Watch] = set()
        self._routes: dict[bytes, Begin] = {
            INFER.encode(): lambda stream, headers: Infer(front, stream, self._known(stream, headers)),
            STREAM_INFER.encode(): lambda stream, headers: StreamInfer(front, stream, self._known(stream, headers)),
        }
        for name, answer in {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._index,
        }.items():
            self._one(OIP, name, f"{name}Request", f"{name}Response", answer)
        for name, do in {"RepositoryModelLoad": control.load, "RepositoryModelUnload": control.unload}.items():
            self._order(name, do)
        self._one(HEALTH, "Check", "HealthCheckRequest", "HealthCheckResponse", self._check)
        self._routes[b"/grpc.health.v1.Health/Watch"] = self._watch
        for package in (REFLECTION, REFLECTION_ALPHA):
            self._reflection(package)

    def start(self, stream: Stream, headers: Headers) -> Rpc | None:
        """What answers the stream, or None when it was refused."""
        if headers.get(b":method") != b"POST":
            stream.refuse_http(405, "this port speaks gRPC: POST, content-type application/grpc")
            return None
        if not _GRPC.match(headers.get(b"content-type", b"")):
            stream.refuse_http(415, "this port speaks gRPC: content-type application/grpc; REST is on the other port")
            return None
        path = headers.get(b":path", b"")
        begin = self._routes.get(path)
        if begin is None:
            self._unknown(stream, headers, path)
            return None
        try:
            return begin(stream, headers)
        except FairleadError as error:
            stream.finish(status.status_of(error.code), error.message)
            return None

    def _unknown(self, stream: Stream, headers: Headers, path: bytes) -> None:
        """There is no such method, which only callers are told who are known."""
        try:
            self._sight(stream, {**headers, b":path": UNKNOWN_ROUTE.encode()})
        except FairleadError as error:
            stream.finish(status.status_of(error.code), error.message)
            return
        known = ", ".join(sorted({route.decode().split("/")[1] for route in self._routes}))
        told = path[:200].decode("latin-1")
        stream.finish(status.UNIMPLEMENTED, f"there is no method {told}; services: {known}")

    def _known(self, stream: Stream, headers: Headers) -> Headers:
        """The headers of a call whose caller is known, before its message is read. Raises Unauthenticated and
        MalformedBody.
        """
        if self._front.gate is not None:
            self._front.gate.caller(self._visit(stream, headers))
        return timed(headers)

    def _sight(self, stream: Stream, headers: Headers, tells: bool = True) -> Sight:
        """Who calls this method, and what they may see. Raises Unauthenticated or Forbidden."""
        gate, audit = self._front.gate, self._front.audit
        if gate is not None:
            return gate.visit(self._visit(stream, headers, tells))
        return EVERYTHING if audit is None else Sight(None, tell=telling(audit, self._visit(stream, headers, tells)))

    def _visit(self, stream: Stream, headers: Headers, tells: bool = True) -> Visit:
        path, now = headers[b":path"].decode("latin-1"), self._front.pipeline.clock.now()
        return Visit(headers, path, now, request_id(headers.get(b"x-request-id")), stream.certificate(), tells)

    def _one(self, package: str, name: str, takes: str, gives: str, answer: Answering) -> None:
        request, response = message(f"{package}.{takes}"), message(f"{package}.{gives}")

        def begin(stream: Stream, headers: Headers) -> Rpc:
            return _Unary(stream, request, response, functools.partial(answer, self._sight(stream, headers)))

        self._routes[f"/{SERVICES[package]}/{name}".encode()] = begin

    # The Open Inference Protocol.

    def _server_live(self, _sight: Sight, _: Any, response: Any) -> None:
        response.live = True

    def _server_ready(self, _sight: Sight, _: Any, response: Any) -> None:
        response.ready = self._catalog.ready and not self._draining()

    def _model_ready(self, sight: Sight, request: Any, response: Any) -> None:
        try:
            sight.resolve(self._catalog, request.name, request.version or None)
        except Unavailable:
            response.ready = False
        else:
            response.ready = not self._draining()

    def _server_metadata(self, _sight: Sight, _: Any, response: Any) -> None:
        told = metadata.server(__version__)
        response.name, response.version = told["name"], told["version"]
        response.extensions.extend(told["extensions"])

    def _model_metadata(self, sight: Sight, request: Any, response: Any) -> None:
        live = sight.resolve(self._catalog, request.name, request.version or None)
        response.name, response.platform = live.endpoint, live.model.traits.platform
        response.versions.extend(sight.versions(self._catalog, live.endpoint))
        for specs, tensors in ((live.signature.inputs, response.inputs), (live.signature.outputs, response.outputs)):
            for spec in specs:
                tensors.add(name=spec.name, datatype=spec.datatype.value, shape=spec.shape)

    def _index(self, sight: Sight, request: Any, response: Any) -> None:
        for live in self._catalog.all():
            if sight.sees(live.endpoint, live.version):
                response.models.add(name=live.endpoint, version=live.version, state="READY")
        if not request.ready:
            for name in sight.names(self._catalog.loading):
                response.models.add(name=name, state="LOADING")
            for name in sight.names(self._catalog.unloaded):
                response.models.add(name=name, state="UNAVAILABLE", reason="unloaded")

    def _order(self, name: str, do: Callable[[str], Awaitable[None]]) -> None:
        request, response = message(f"{OIP}.{name}Request"), message(f"{OIP}.{name}Response")

        def begin(stream: Stream, headers: Headers) -> Rpc:
            sight = self._sight(stream, headers)

            async def done(endpoint: str) -> None:
                try:
                    await do(endpoint)
                except NotFound as error:
                    raise sight.missing(error, self._catalog, endpoint) from None

            return Ordered(stream, request, response, done, sight)

        self._routes[f"/{SERVICES[OIP]}/{name}".encode()] = begin

    # Health.

    def _health(self, sight: Sight, service: str) -> int:
        if service and service not in SERVICES.values():
            try:
                sight.resolve(self._catalog, service)
            except (NotFound, Forbidden):
                return _UNKNOWN
            except Unavailable:
                return _NOT_SERVING
        return _SERVING if self._catalog.ready and not self._draining() else _NOT_SERVING

    def _check(self, sight: Sight, request: Any, response: Any) -> None:
        found = self._health(sight, request.service)
        if found == _UNKNOWN:
            raise NotFound(f"there is no service or endpoint {request.service!r}")
        response.status = found

    def _watch(self, stream: Stream, headers: Headers) -> Rpc:
        def look(service: str) -> int:
            return self._health(self._sight(stream, headers, tells=False), service)

        return _Watch(stream, look, self._watches)

    def drain(self) -> None:
        """Tell those who watch, and let them go."""
        for watch in list(self._watches):
            watch.end()

    # Reflection.

    def _reflection(self, package: str) -> None:
        request, response = (
            message(f"{package}.ServerReflectionRequest"),
            message(f"{package}.ServerReflectionResponse"),
        )

        def begin(stream: Stream, headers: Headers) -> Rpc:
            self._sight(stream, headers)
            return _Reflection(stream, request, response)

        self._routes[f"/{SERVICES[package]}/ServerReflectionInfo".encode()] = begin


class Ordered(Rpc):
    """A method that answers when the model is loaded, or is no more."""

    patient = True

    def __init__(
        self,
        stream: Stream,
        request: Any,
        response: Any,
        do: Callable[[str], Awaitable[None]],
        sight: Sight = EVERYTHING,
    ) -> None:
        self._stream, self._request, self._response, self._do = stream, request, response, do
        self._sight = sight
        self._task: asyncio.Task[None] | None = None

    def message(self, data: bytes) -> None:
        try:
            asked = _read(self._request, data)
            self._sight.require(Action.ADMIN, asked.model_name)
            refuse_parameters(asked.parameters)
        except FairleadError as error:
            self._stream.finish(status.status_of(error.code), error.message)
            return
        self._task = asyncio.get_running_loop().create_task(self._run(asked.model_name))

    def closed(self) -> None:
        if self._task is None:
            self._stream.refuse(status.INVALID, "this method takes one message, and none came")

    def cancelled(self) -> None:
        """What was begun is done: nobody is left to be told."""

    async def _run(self, endpoint: str) -> None:
        try:
            await self._do(endpoint)
        except FairleadError as error:
            self._stream.finish(status.status_of(error.code), error.message)
        except Exception:
            log.exception("not loaded or unloaded", extra={"fields": {"endpoint": endpoint}})
            self._stream.finish(status.INTERNAL, "the server failed; its log has the cause")
        else:
            self._stream.answer(self._response().SerializeToString())


class _Unary(Rpc):
    """A method that answers at once."""

    def __init__(self, stream: Stream, request: Any, response: Any, answer: Callable[[Any, Any], None]) -> None:
        self._stream, self._request, self._response, self._answer = stream, request, response, answer
        self._asked = False

    def message(self, data: bytes) -> None:
        self._asked = True
        response = self._response()
        try:
            self._answer(_read(self._request, data), response)
        except FairleadError as error:
            self._stream.finish(status.status_of(error.code), error.message)
        else:
            self._stream.answer(response.SerializeToString())

    def closed(self) -> None:
        if not self._asked:
            self._stream.refuse(status.INVALID, "this method takes one message, and none came")


class _Watch(Rpc):
    """Says how a service is, and says it again whenever that changes."""

    patient = True

    def __init__(self, stream: Stream, health: Callable[[str], int], known: set[_Watch]) -> None:
        self._stream, self._health, self._known = stream, health, known
        known.add(self)
        self._request, self._response = (
            message(f"{HEALTH}.HealthCheckRequest"),
            message(f"{HEALTH}.HealthCheckResponse"),
        )
        self._service: str | None = None
        self._told = -1
        self._next: asyncio.TimerHandle | None = None

    def message(self, data: bytes) -> None:
        try:
            self._service = _read(self._request, data).service
        except MalformedBody as error:
            self._stream.refuse(status.INVALID, error.message)

    def closed(self) -> None:
        self._tell()

    def cancelled(self) -> None:
        self._known.discard(self)
        if self._next is not None:
            self._next.cancel()

    def end(self) -> None:
        self.cancelled()
        if self._told >= 0:
            self._say(_NOT_SERVING)
        self._stream.finish(status.OK)

    def _tell(self) -> None:
        try:
            found = self._health(self._service or "")
        except FairleadError as error:  # its caller is not known, or is no more
            self.cancelled()
            self._stream.finish(status.status_of(error.code), error.message)
            return
        self._say(found)
        self._next = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._tell)

    def _say(self, found: int) -> None:
        if found != self._told:
            self._told = found
            self._stream.send(self._response(status=found).SerializeToString())


class _Reflection(Rpc):
    """Describes the services to whoever has no .proto file."""

    patient = True

    def __init__(self, stream: Stream, request: Any, response: Any) -> None:
        self._stream, self._request, self._response = stream, request, response

    def message(self, data: bytes) -> None:
        try:
            asked = _read(self._request, data)
        except MalformedBody as error:
            self._stream.refuse(status.INVALID, error.message)
            return
        response = self._response(valid_host=asked.host, original_request=asked)
        kind = asked.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in sorted(SERVICES.values()):
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                _describe(response, POOL.FindFileByName(asked.file_by_filename))
            elif kind == "file_containing_symbol":
                _describe(response, POOL.FindFileContainingSymbol(asked.file_containing_symbol))
            else:
                _fail(response, status.UNIMPLEMENTED, "messages here have no extensions")
        except KeyError:
            _fail(response, status.NOT_FOUND, f"not found: {getattr(asked, kind)}")
        self._stream.send(response.SerializeToString())

    def closed(self) -> None:
        self._stream.finish(status.OK)


def _describe(response: Any, found: Any) -> None:
    response.file_descriptor_response.file_descriptor_proto.append(found.serialized_pb)


def _fail(response: Any, code: int, why: str) -> None:
    response.error_response.error_code, response.error_response.error_message = code, why


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise MalformedBody(f"the message is no {kind.DESCRIPTOR.full_name}") from None
