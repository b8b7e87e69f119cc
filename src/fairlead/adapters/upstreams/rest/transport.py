"""Asks one server over REST: raw tensors where it says that it takes them, JSON otherwise."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from fairlead.adapters.upstreams.rest.link import Answer
from fairlead.adapters.upstreams.rest.pool import Pool
from fairlead.contracts.errors import (
    BodyTooLarge,
    FairleadError,
    InputError,
    InvalidTensor,
    MalformedBody,
    ModelFailed,
    NotFound,
    Overloaded,
    QueueFull,
)
from fairlead.contracts.types import DataType, Parameters, Tensors
from fairlead.contracts.upstream import Described, Garbled, Place, Told, Unreached
from fairlead.kit.codec import v2

_LENGTH: Final = v2.LENGTH_HEADER.encode()
_REFUSED: Final = (400, 413, 422)
_AWAY: Final = (408, 502, 503, 504)
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MOST_MS: Final = 24 * 3600 * 1000.0
_ERROR: Final = 300
_ECHO: Final = 100


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


class _Model(msgspec.Struct):
    platform: str | None = ""
    inputs: list[_Tensor] | None = None
    outputs: list[_Tensor] | None = None


class _Server(msgspec.Struct):
    extensions: list[str] | None = None


class _Failure(msgspec.Struct):
    error: str
    code: str = ""


_model, _server = msgspec.json.Decoder(_Model).decode, msgspec.json.Decoder(_Server).decode
_failure = msgspec.json.Decoder(_Failure).decode


class RestTransport:
    """The contract's ``Transport`` for ``http`` and ``https``."""

    def __init__(self, place: Place) -> None:
        address = place.address
        self._place = place
        tls = ssl.create_default_context(cafile=place.ca or None) if address.scheme == "https" else None
        self._pool = Pool(address, tls, place.largest, again=place.idempotent)
        version = f"/versions/{quote(place.version, safe='')}" if place.version else ""
        self._server = f"{address.prefix}/v2"
        self._model = f"{self._server}/models/{quote(place.model, safe='')}{version}"
        self._host = f"host: {address.authority}\r\nuser-agent: fairlead\r\naccept-encoding: identity\r\n".encode()
        self._head = f"POST {self._model}/infer HTTP/1.1\r\n".encode() + self._host
        self._binary = True
        self._what = f"model {place.model!r}" + (f" of version {place.version}" if place.version else "")

    async def describe(self) -> Described:
        server, model = await self._get(self._server), await self._get(self._model)
        if model.status == 404:
            raise NotFound(f"it has no {self._what}")
        if model.status != 200:
            raise _away(model)
        try:
            found = _model(model.body)
        except _NO_JSON as error:
            raise Garbled(f"it describes its model in no form that is known: {_short(str(error))}") from None
        self._binary = _extended(server)
        return Described(
            found.platform or "",
            tuple(Told(one.name, one.datatype, one.shape, not one.optional) for one in found.inputs or ()),
            tuple(Told(one.name, one.datatype, one.shape) for one in found.outputs or ()),
        )

    async def infer(
        self, inputs: Tensors, datatypes: Mapping[str, DataType], parameters: Parameters, seconds: float
    ) -> Tensors:
        body, head = v2.encode_request(inputs, datatypes=datatypes, parameters=parameters, binary=self._binary)
        kind = b"application/octet-stream\r\n%s: %d" % (_LENGTH, head) if self._binary else b"application/json"
        left = min(max(seconds * 1000, 0.001), _MOST_MS)
        fields = b"content-type: %s\r\ncontent-length: %d\r\nx-request-timeout-ms: %.3f\r\n\r\n"
        answer = await self._pool.exchange(
            b"".join((self._head, self._credential(), fields % (kind, len(body), left), body))
        )
        if answer.status != 200:
            raise _refusal(self._hidden(answer))
        length = answer.headers.get(_LENGTH)
        try:
            return v2.decode_response(answer.body, None if length is None else length.decode("latin-1"))[1]
        except (MalformedBody, InvalidTensor) as error:
            raise Garbled(f"its answer does not parse: {_short(str(error), _ERROR)}") from None

    def close(self) -> None:
        self._pool.close()

    async def _get(self, path: str) -> Answer:
        head = f"GET {path} HTTP/1.1\r\n".encode() + self._host + self._credential()
        return self._hidden(await self._pool.exchange(head + b"\r\n"))

    def _credential(self) -> bytes:
        return "".join(f"{name}: {value}\r\n" for name, value in self._place.credential()).encode()

    def _hidden(self, answer: Answer) -> Answer:
        """An answer that is none of the model, without our token."""
        if self._place.token is None or answer.status == 200:
            return answer
        return answer._replace(body=self._place.hide(answer.body.decode("utf-8", "replace")).encode())


def _extended(server: Answer) -> bool:
    """Whether it lists the extension for raw tensors."""
    try:
        return server.status == 200 and v2.EXTENSION in (_server(server.body).extensions or ())
    except _NO_JSON:
        return False


def _refusal(answer: Answer) -> Exception:
    """What an answer that is none of the model means."""
    if answer.status in _REFUSED:
        kind: type[FairleadError] = BodyTooLarge if answer.status == 413 else InputError
        return kind(_said(answer))
    if answer.status == 429 or _sheds(answer):
        full: type[FairleadError] = QueueFull if answer.status == 429 else Overloaded
        return full(_said(answer), retry_after=_later(answer))
    if answer.status >= 500 and answer.status not in _AWAY:
        return ModelFailed(_said(answer))
    if answer.status < 400:
        return Garbled(f"it answered with status {answer.status}, which is no answer to a request for inference")
    return _away(answer)


def _sheds(answer: Answer) -> bool:
    """Whether it is well and has more to do than it can: another Fairlead says so."""
    try:
        return answer.status == 503 and _failure(answer.body).code == Overloaded.code
    except _NO_JSON:
        return False


def _away(answer: Answer) -> Unreached:
    return Unreached(_said(answer), _later(answer))


def _said(answer: Answer) -> str:
    """Its own sentence, or the beginning of what it sent."""
    try:
        told = _short(_failure(answer.body).error, _ERROR)
    except _NO_JSON:
        told = _short(answer.body[: 4 * _ECHO].decode("utf-8", "replace"), _ECHO)
    return f"{answer.status}: {told}" if told else f"status {answer.status}"


def _later(answer: Answer) -> float | None:
    given = answer.headers.get(b"retry-after", b"")
    return float(min(int(given[:9]), 3600)) if given.isdigit() else None


def _short(text: Any, most: int = _ECHO) -> str:
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()
    return line if len(line) <= most else f"{line[:most]}..."
