"""The Open Inference Protocol V2 over HTTP, JSON and the binary tensor extension both ways.

An input may be JSON or raw, each on its own; an output goes raw where ``binary_data`` says so, or by the request's
``binary_data_output``. JSON null in an input is a missing value. Errors are ``{"error": sentence}`` as the protocol
says, with our stable ``code`` and the ``request_id`` beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from fairlead.contracts.errors import FairleadError, InvalidParameter, InvalidTensor
from fairlead.contracts.types import DataType, Reply, Signature, Tensors
from fairlead.kit.codec import json, tensors, v2
from fairlead.kit.config import nearest
from fairlead.serve.edges.edge import Answer, Request, Scalar, json_headers
from fairlead.serve.edges.status import status_of
from fairlead.serve.validate import Plan, listed, parameters, plan_of

_LENGTH: Final = v2.LENGTH_HEADER.encode()
_UNSUPPORTED: Final = ("classification", "shared_memory_region")


class _Input32(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    shape: v2.Shape
    datatype: str
    data: list[tensors.FP32Number] | None = None
    parameters: dict[str, v2.Scalar] | None = None


class _Input64(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    shape: v2.Shape
    datatype: str
    data: list[float] | None = None
    parameters: dict[str, v2.Scalar] | None = None


class _Request32(v2.InferRequest, gc=False, forbid_unknown_fields=True):
    inputs: list[_Input32]  # type: ignore[assignment]  # the same message, its numbers decoded at once


class _Request64(v2.InferRequest, gc=False, forbid_unknown_fields=True):
    inputs: list[_Input64]  # type: ignore[assignment]  # the same message, its numbers decoded at once


_AT_ONCE: Final[dict[DataType | None, Callable[[Any], Any]]] = {
    DataType.FP32: msgspec.json.Decoder(_Request32).decode,
    DataType.FP64: msgspec.json.Decoder(_Request64).decode,
}
"""Decoders that read flat numbers in the same pass. What they refuse (nested data, nulls, errors) goes the long way."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """Which outputs go as raw bytes: those that differ from the request's default."""

    default: bool
    outputs: Mapping[str, bool]

    def __call__(self, name: str) -> bool:
        return self.outputs.get(name, self.default)


class V2:
    """The edge of ``/v2/models/{endpoint}/infer``."""

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:
        plan = plan_of(signature)
        length = headers.get(_LENGTH)
        if length is None:
            at_once = _AT_ONCE.get(plan.json)
            if at_once is not None:
                try:
                    message = at_once(body)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass  # the long way finds the words for it
                else:
                    inputs = _flat_inputs(message.inputs, plan)
                    if inputs is not None:
                        return _request(message, inputs, signature)
        head, tail = v2.split(body, length)
        try:
            message = v2.REQUEST.decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise json.malformed(error, head, v2.FIELDS) from None
        return _request(message, _inputs(message.inputs, tail, plan), signature)

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:
        raw = request.memo
        outputs = []
        blobs: list[bytes] = []
        for name in reply.outputs if request.outputs is None else request.outputs:
            array = reply.outputs[name]
            if raw is None or not raw(name):
                kind_name = tensors.datatype_of(array)
                outputs.append(v2.ResponseOutput(name, kind_name, array.shape, None, tensors.to_json(array, name)))
            else:
                kind = _output_type(name, array, signature)
                blobs.append(tensors.to_binary(array, kind))
                outputs.append(v2.ResponseOutput(name, kind.value, array.shape, {"binary_data_size": len(blobs[-1])}))
        more: dict[str, Scalar] | None = {"prediction_id": request.prediction} if request.prediction else None
        if reply.degraded:
            more = {**(more or {}), "degraded": reply.degraded}
        head = json.encode(v2.InferResponse(reply.endpoint, outputs, reply.version, request.id, more))
        if not blobs:
            return Answer(200, json_headers(), head)
        length = (_LENGTH, str(len(head)).encode())
        return Answer(200, [(b"content-type", b"application/octet-stream"), length], b"".join((head, *blobs)))

    def refuse(self, error: FairleadError, request_id: str) -> Answer:
        body = {"error": error.message, "code": error.code, "request_id": request_id}
        return Answer(status_of(error.code), json_headers(), json.encode(body))


def _request(message: Any, inputs: Tensors, signature: Signature) -> Request:
    if message.parameters is None and message.outputs is None:
        return Request(inputs, {}, None, message.id)
    given = dict(message.parameters or {})
    default = _flag(given.pop("binary_data_output", False), "binary_data_output")
    flags: dict[str, bool] = {}
    for output in message.outputs or ():
        flags[output.name] = _output_flag(output, default)
    raw = _Raw(default, flags) if default or any(flags.values()) else None
    names = None if message.outputs is None else wanted([output.name for output in message.outputs], signature)
    return Request(inputs, parameters(given, signature), names, message.id, raw)


def wanted(names: Sequence[str], signature: Signature) -> tuple[str, ...] | None:
    """The outputs that are asked for, each once; None for all. Raises InvalidTensor for one that the model lacks."""
    if not names:
        return None
    known = {spec.name: spec for spec in signature.outputs}
    for name in names:
        if name not in known:
            raise InvalidTensor(
                f"unknown output {name!r}{nearest(name, tuple(known))} (the model gives {listed(known)})"
            )
    return tuple(dict.fromkeys(names))


def _output_flag(output: v2.RequestOutput, default: bool) -> bool:
    given = output.parameters
    if given is None:
        return default
    for name in _UNSUPPORTED:
        if name in given:
            raise InvalidParameter(f"output {output.name!r}: parameter {name!r} is not supported here")
    return _flag(given.get("binary_data", default), "binary_data")


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidParameter(f"parameter {name!r}: expected true or false, found {tensors.json_kind(value)}")
    return value


def _flat_inputs(items: list[Any], plan: Plan) -> Tensors | None:
    """Flat float data, already decoded. None where a tensor is not as the model takes it: the long way looks closer."""
    given: Tensors = {}
    for item in items:
        slot = plan.slot(item.name, given)
        data, shape = item.data, item.shape
        if data is None:
            raise _no_data(item)
        if len(data) != math.prod(shape):
            raise tensors.wrong_count(shape, len(data), item.name)
        if item.datatype != slot.datatype or not data or not slot.fits(shape):
            return None
        array = np.array(data, slot.dtype).reshape(shape)
        given[item.name] = array if slot.plain else slot.admit(array)
    return plan.finish(given)


def _inputs(items: list[v2.RequestInput], tail: memoryview, plan: Plan) -> Tensors:
    """Raw tensors, and JSON data of every kind."""
    raw = v2.RawTensors(tail)
    given: Tensors = {}
    for item in items:
        slot = plan.slot(item.name, given)
        kind = v2.datatype(item.datatype, item.name)
        size = None if item.parameters is None else item.parameters.get("binary_data_size")
        if size is not None:
            if bytes(item.data):
                raise InvalidTensor(f"tensor {item.name!r} has both data and binary_data_size; send one of them")
            array = tensors.from_binary(raw.take(size, item.name), kind, item.shape, item.name)
        elif bytes(item.data):
            array = tensors.from_json(item.data, kind, item.shape, item.name, slot.null)
        else:
            raise _no_data(item)
        given[item.name] = slot.admit(array)
    raw.finish()
    return plan.finish(given)


def _no_data(item: Any) -> InvalidTensor:
    if item.parameters and "shared_memory_region" in item.parameters:
        return InvalidTensor(f"tensor {item.name!r}: shared memory is not supported here; send data")
    return InvalidTensor(
        f"tensor {item.name!r} has neither data nor parameters.binary_data_size with Inference-Header-Content-Length"
    )


def _output_type(name: str, array: Any, signature: Signature) -> DataType:
    """The datatype of a raw output; only BF16 cannot be told from the array."""
    for spec in signature.outputs:
        if spec.name == name and spec.datatype is DataType.BF16:
            return DataType.BF16
    return DataType(tensors.datatype_of(array))
