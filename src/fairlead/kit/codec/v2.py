"""Messages of the Open Inference Protocol V2 over HTTP, with the binary tensor extension: server and client use both.

A body is JSON, or JSON followed by the raw tensors in the order of the JSON; then the header
``Inference-Header-Content-Length`` holds the length of the JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import InvalidTensor, MalformedBody
from fairlead.contracts.types import DataType, Parameters, Tensors
from fairlead.kit.codec import json, tensors

Scalar = str | int | float | bool
Shape = tuple[int, ...]

LENGTH_HEADER: Final = "inference-header-content-length"
JSON_TYPE: Final = "application/json"
BINARY_TYPE: Final = "application/octet-stream"
EXTENSION: Final = "binary_tensor_data"
"""What server metadata lists for a server that takes and gives raw tensors."""

NO_DATA: Final = msgspec.Raw()


class RequestInput(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """An input. ``data`` is its JSON, still undecoded; empty where the tensor is raw."""

    name: str
    shape: Shape
    datatype: str
    parameters: dict[str, Scalar] | None = None
    data: msgspec.Raw = NO_DATA


class RequestOutput(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """An output that the caller asks for."""

    name: str
    parameters: dict[str, Scalar] | None = None


class InferRequest(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What the caller sends."""

    inputs: list[RequestInput]
    id: str = ""
    parameters: dict[str, Scalar] | None = None
    outputs: list[RequestOutput] | None = None


class ResponseOutput(msgspec.Struct, gc=False, omit_defaults=True):
    """An output. ``data``: flat values when written, undecoded JSON when read; None where the tensor is raw."""

    name: str
    datatype: str
    shape: Shape
    parameters: dict[str, Scalar] | None = None
    data: Any = None


class InferResponse(msgspec.Struct, gc=False, omit_defaults=True):
    """What the server answers."""

    model_name: str
    outputs: list[ResponseOutput]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Scalar] | None = None


class _ReadOutput(ResponseOutput, gc=False):
    data: msgspec.Raw = NO_DATA
    parameters: dict[str, Any] | None = None  # of any kind: only the size is looked at


class _ReadResponse(InferResponse, gc=False):
    """Some servers write null for what they have not."""

    outputs: list[_ReadOutput]  # type: ignore[assignment]  # narrower on purpose: only what is read
    model_version: str | None = ""  # type: ignore[assignment]  # replaced below
    id: str | None = ""  # type: ignore[assignment]  # the same
    parameters: dict[str, Any] | None = None


FIELDS: Final = ("id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data")
REQUEST: Final = msgspec.json.Decoder(InferRequest)
_RESPONSE: Final = msgspec.json.Decoder(_ReadResponse)
_DATATYPES: Final = {name.value: name for name in DataType}


def datatype(name: str, tensor: str) -> DataType:
    """Raises InvalidTensor for a datatype that the protocol does not have."""
    try:
        return _DATATYPES[name]
    except KeyError:
        known = ", ".join(_DATATYPES)
        raise InvalidTensor(f"tensor {tensor!r}: unknown datatype {name!r}; one of {known}") from None


def split(body: bytes, header_length: bytes | str | None) -> tuple[bytes | memoryview, memoryview]:
    """The JSON and the raw tensors of a body. Raises MalformedBody when the header is not a length within the body."""
    if header_length is None:
        return body, memoryview(b"")
    text = header_length.decode("latin-1") if isinstance(header_length, bytes) else header_length
    if not (text.isascii() and text.isdigit()):
        raise MalformedBody(f"Inference-Header-Content-Length is the length of the JSON in bytes, found {text!r}")
    length = int(text[:20])
    if length > len(body):
        raise MalformedBody(f"Inference-Header-Content-Length says {text} bytes of JSON, the body has {len(body)}")
    view = memoryview(body)
    return view[:length], view[length:]


class RawTensors:
    """Hands out the raw tensors of a body in order. Errors name the tensor, the bytes it needs and those left."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, size: Any, name: str) -> memoryview:
        """The next ``size`` bytes, for tensor ``name``."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidTensor(f"tensor {name!r}: binary_data_size is a number of bytes, found {size!r}")
        left = len(self._data) - self._at
        if size > left:
            raise InvalidTensor(f"tensor {name!r}: binary_data_size is {size} bytes, the body has {left} left")
        self._at += size
        return self._data[self._at - size : self._at]

    def finish(self) -> None:
        """Raises MalformedBody when bytes are left that no tensor claims."""
        left = len(self._data) - self._at
        if left:
            raise MalformedBody(
                f"the body has {left} bytes after its last tensor: the tensors' binary_data_size sum to {self._at}, "
                f"found {len(self._data)} bytes after the JSON"
            )


def encode_request(
    inputs: Tensors,
    *,
    datatypes: Mapping[str, DataType] | None = None,
    as_json: Collection[str] = (),
    outputs: Collection[str] | None = None,
    parameters: Parameters | None = None,
    request_id: str = "",
    binary: bool = True,
) -> tuple[bytes, int]:
    """The body of a request and the length of its JSON. The tensors named in ``as_json`` go as JSON, the rest raw.

    ``datatypes``: what to call a tensor where its dtype does not say (BF16). Answers are asked for raw, unless
    ``binary`` is False: then every tensor goes as JSON, and the server need know no extension.
    """
    items: list[RequestInput] = []
    blobs: list[bytes] = []
    for name, array in inputs.items():
        kind = (datatypes or {}).get(name) or DataType(tensors.datatype_of(array))
        item = RequestInput(name, array.shape, kind.value)
        if name in as_json or not binary:
            item.data = msgspec.Raw(json.encode(tensors.to_json(array, name)))
        else:
            blobs.append(tensors.to_binary(array, kind))
            item.parameters = {"binary_data_size": len(blobs[-1])}
        items.append(item)
    asked = None if outputs is None else [RequestOutput(name) for name in outputs]
    flags: dict[str, Scalar] = {**({"binary_data_output": True} if binary else {}), **(parameters or {})}
    head = json.encode(InferRequest(items, request_id, flags or None, asked))
    return b"".join((head, *blobs)), len(head)


def decode_response(body: bytes, header_length: str | None) -> tuple[InferResponse, Tensors]:
    """A response and its tensors. Raises MalformedBody or InvalidTensor for an answer that breaks the protocol."""
    head, tail = split(body, header_length)
    response = json.decode(_RESPONSE, head)
    response.model_version, response.id = response.model_version or "", response.id or ""
    raw = RawTensors(tail)
    arrays: Tensors = {}
    for item in response.outputs:
        kind = datatype(item.datatype, item.name)
        size = (item.parameters or {}).get("binary_data_size")
        if size is None:
            null = float("nan") if kind.is_float else None if kind is DataType.BYTES else tensors.Null.REFUSE
            arrays[item.name] = tensors.from_json(item.data, kind, item.shape, item.name, null)
        else:
            arrays[item.name] = tensors.from_binary(raw.take(size, item.name), kind, item.shape, item.name)
    raw.finish()
    return response, arrays
