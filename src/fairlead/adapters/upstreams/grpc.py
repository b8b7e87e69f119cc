"""Asks one server over gRPC: raw tensors there, raw or typed ones back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError

from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    InputError,
    InvalidTensor,
    ModelFailed,
    NotFound,
    Overloaded,
    QueueFull,
)
from fairlead.contracts.types import DataType, Parameters, Tensors
from fairlead.contracts.upstream import CONNECT_SECONDS, Described, Garbled, Place, Told, Unreached
from fairlead.kit.codec import protos, tensors, v2

_SERVICE: Final = f"/{protos.SERVICES[protos.OIP]}"
_MetadataRequest: Final = protos.message("inference.ModelMetadataRequest")
_MetadataResponse: Final = protos.message("inference.ModelMetadataResponse")
_INT64: Final = 2**63
_ERROR: Final = 300
_CODE = grpc.StatusCode
_CALLERS: Final = (_CODE.INVALID_ARGUMENT, _CODE.OUT_OF_RANGE, _CODE.FAILED_PRECONDITION)
_MODELS: Final = (_CODE.UNKNOWN, _CODE.INTERNAL, _CODE.ABORTED, _CODE.DATA_LOSS)
_OWN: Final = re.compile(r"(Received|Sent) message larger than max|CLIENT: (Received|Sent) message larger")
"""What the library says of its own limits, under the code of a server that is full."""


class GrpcTransport:
    """The contract's ``Transport`` for ``grpc`` and ``grpcs``."""

    def __init__(self, place: Place) -> None:
        self._place = place
        wait = int(CONNECT_SECONDS * 1000)
        options = [
            ("grpc.max_receive_message_length", place.largest),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", wait),
            ("grpc.max_reconnect_backoff_ms", wait),
            ("grpc.primary_user_agent", "fairlead"),
        ]
        to = place.address.authority
        if place.address.scheme == "grpcs":
            roots = Path(place.ca).read_bytes() if place.ca else None
            self._channel = grpc.aio.secure_channel(to, grpc.ssl_channel_credentials(roots), options)
        else:
            self._channel = grpc.aio.insecure_channel(to, options)
        self._infer = self._channel.unary_unary(f"{_SERVICE}/ModelInfer")
        self._metadata = self._channel.unary_unary(f"{_SERVICE}/ModelMetadata")
        self._closing: asyncio.Task[None] | None = None

    async def describe(self) -> Described:
        asked = _MetadataRequest(name=self._place.model, version=self._place.version)
        try:
            found = _MetadataResponse.FromString(
                await self._metadata(asked.SerializeToString(), metadata=self._place.credential())
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is _CODE.NOT_FOUND:
                raise NotFound(_said(error, self._place)) from None
            raise _raised(error, self._place) from None
        except DecodeError:
            raise Garbled("it describes its model in no form that is known") from None
        return Described(found.platform, _told(found.inputs), _told(found.outputs))

    async def infer(
        self, inputs: Tensors, datatypes: Mapping[str, DataType], parameters: Parameters, seconds: float
    ) -> Tensors:
        request = self._request(inputs, datatypes, parameters)
        try:
            data = await self._infer(request, timeout=max(seconds, 0.001), metadata=self._place.credential())
        except grpc.aio.AioRpcError as error:
            raise _raised(error, self._place) from None
        try:
            return _outputs(protos.InferResponse.FromString(data))
        except DecodeError:
            raise Garbled("its answer is no inference.ModelInferResponse") from None
        except InvalidTensor as error:
            raise Garbled(f"its answer does not parse: {_short(str(error))}") from None

    def close(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._channel.close())

    def _request(self, inputs: Tensors, datatypes: Mapping[str, DataType], parameters: Parameters) -> bytes:
        request = protos.InferRequest(model_name=self._place.model, model_version=self._place.version)
        for name, array in inputs.items():
            kind = datatypes.get(name) or DataType(tensors.datatype_of(array))
            request.inputs.add(name=name, datatype=kind.value, shape=array.shape)
            request.raw_input_contents.append(tensors.to_binary(array, kind))
        for name, value in parameters.items():
            setattr(request.parameters[name], _choice(name, value), value)
        data: bytes = request.SerializeToString()
        return data


def _choice(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise InputError(f"parameter {name!r} is {value}, and gRPC carries whole numbers of 64 bits")
        return "int64_param"
    return "double_param" if isinstance(value, float) else "string_param"


def _told(found: Any) -> tuple[Told, ...]:
    return tuple(Told(one.name, one.datatype, tuple(one.shape)) for one in found)


def _outputs(response: Any) -> Tensors:
    """Raises InvalidTensor."""
    blobs, items = response.raw_output_contents, response.outputs
    if not blobs:
        return {one.name: _typed(one) for one in items}
    if len(blobs) != len(items):
        raise InvalidTensor(f"{len(items)} outputs, and {len(blobs)} raw contents")
    return {
        one.name: tensors.from_binary(memoryview(blob), v2.datatype(one.datatype, one.name), tuple(one.shape), one.name)
        for one, blob in zip(items, blobs, strict=True)
    }


def _typed(one: Any) -> np.ndarray[Any, Any]:
    name, shape, kind = one.name, tuple(one.shape), v2.datatype(one.datatype, one.name)
    if kind not in protos.TYPED:
        raise InvalidTensor(f"tensor {name!r}: {kind.value} has no typed contents")
    values, expected = getattr(one.contents, protos.TYPED[kind]), tensors.count(shape, name)
    if len(values) != expected:
        raise tensors.wrong_count(shape, len(values), name)
    if kind is DataType.BYTES:
        return tensors.build([tensors.text_of(value) for value in values], kind, shape, name)
    try:
        return np.fromiter(values, kind.numpy, expected).reshape(shape)
    except OverflowError:
        raise InvalidTensor(f"tensor {name!r}: a value is out of range for {kind.value}") from None


def _raised(error: grpc.aio.AioRpcError, place: Place) -> Exception:
    """What a status means."""
    code, said = error.code(), _said(error, place)
    if code is _CODE.RESOURCE_EXHAUSTED:
        if _OWN.search(error.details() or ""):
            return Garbled("its answer is too long")
        return QueueFull(said, retry_after=_later(error))
    if ("fairlead-code", Overloaded.code) in list(error.trailing_metadata() or ()):  # another Fairlead, which is well
        return Overloaded(said, retry_after=_later(error))
    if code is _CODE.DEADLINE_EXCEEDED:
        return DeadlineExceeded(said)
    kinds: tuple[tuple[Any, type[FairleadError]], ...] = ((_CALLERS, InputError), (_MODELS, ModelFailed))
    for codes, kind in kinds:
        if code in codes:
            return kind(said)
    return Unreached(said, _later(error))


def _said(error: grpc.aio.AioRpcError, place: Place) -> str:
    return f"{error.code().name}: {_short(place.hide(error.details() or 'no details'))}"


def _later(error: grpc.aio.AioRpcError) -> float | None:
    for name, value in error.trailing_metadata() or ():
        if name == "retry-after" and isinstance(value, str) and value.isdigit():
            return float(min(int(value[:9]), 3600))
    return None


def _short(text: str) -> str:
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()
    return line if len(line) <= _ERROR else f"{line[:_ERROR]}..."
