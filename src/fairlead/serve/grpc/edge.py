"""``ModelInfer``: one request message in, one response message out.

Tensors come raw, all of them, or typed; the answer comes as the request did, and raw where a datatype has no typed
field (FP16, BF16). A request for another shape of the answer (classification, shared memory) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from fairlead.contracts.errors import FairleadError, InvalidParameter, InvalidTensor, MalformedBody
from fairlead.contracts.types import DataType, Reply, Signature, Tensors
from fairlead.kit.codec import tensors, v2
from fairlead.kit.codec.protos import TYPED, InferRequest, InferResponse
from fairlead.serve.edges.edge import Answer, Request, Scalar
from fairlead.serve.edges.v2 import wanted
from fairlead.serve.grpc import status
from fairlead.serve.validate import Plan, cast, parameters, plan_of

Array = np.ndarray[Any, Any]

_WIRE: Final = {"int_contents": np.dtype(np.int32), "uint_contents": np.dtype(np.uint32)}
_FIELDS: Final = {kind: (field, _WIRE.get(field, kind.numpy)) for kind, field in TYPED.items()}
_RAW_TAG: Final = b"\x32"
"""Field 6 of the response, raw_output_contents: bytes of a length that follows."""
_RAW_OUTPUT: Final = "binary_data_output"
_IGNORED: Final = frozenset({"binary_data"})
"""What HTTP clients say of each output."""


def request_of(data: bytes) -> Any:
    """The message. Raises MalformedBody."""
    try:
        return InferRequest.FromString(data)
    except DecodeError:
        raise MalformedBody("the message is no inference.ModelInferRequest of the Open Inference Protocol") from None


class InferEdge:
    """The edge of one request, whose message was read already: its name says which model reads the rest."""

    __slots__ = ("_message", "_raw")

    def __init__(self, message: Any) -> None:
        self._message = message
        self._raw = False

    @property
    def id(self) -> str:
        """The caller's own id of the call."""
        return self._message.id if self._message is not None else ""

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:  # noqa: ARG002
        message, plan = self._message, plan_of(signature)
        self._raw = bool(message.raw_input_contents)
        inputs = _raw_inputs(message, plan) if self._raw else _typed_inputs(message, plan)
        given = _parameters(message.parameters)
        self._raw = bool(given.pop(_RAW_OUTPUT, self._raw))
        for output in message.outputs:
            for name in output.parameters:
                if name not in _IGNORED:
                    raise InvalidParameter(f"output {output.name!r}: parameter {name!r} is not supported here")
        names = wanted([output.name for output in message.outputs], signature)
        return Request(inputs, parameters(given, signature), names, message.id)

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:
        names = reply.outputs if request.outputs is None else request.outputs
        arrays = [reply.outputs[name] for name in names]
        kinds = [_kind(name, array, signature) for name, array in zip(names, arrays, strict=True)]
        if not (self._raw or any(kind not in _FIELDS for kind in kinds)):
            return Answer(status.OK, [], _typed_answer(reply, request, list(zip(names, arrays, kinds, strict=True))))
        shapes = tuple([array.shape for array in arrays])
        head = _head(reply.endpoint, reply.version, tuple(names), shapes, tuple(kinds))
        parts = [head]
        if request.id or request.prediction or reply.degraded:
            parts.append(_about(request, reply).SerializeToString())
        for array, kind in zip(arrays, kinds, strict=True):
            blob = tensors.to_binary(array, kind)
            parts += (_RAW_TAG, _varint(len(blob)), blob)
        return Answer(status.OK, [], b"".join(parts))

    def refuse(self, error: FairleadError, request_id: str) -> Answer:  # noqa: ARG002 - a trailer has it
        return Answer(status.status_of(error.code), [(b"fairlead-code", error.code.encode())], error.message.encode())


def _about(request: Request, reply: Reply, **more: str) -> Any:
    """A response that says whose it is, and nothing else yet."""
    response = InferResponse(id=request.id, **more)
    if request.prediction:
        response.parameters["prediction_id"].string_param = request.prediction
    if reply.degraded:
        response.parameters["degraded"].string_param = reply.degraded
    return response


@lru_cache(maxsize=256)
def _head(
    endpoint: str,
    version: str,
    names: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    kinds: tuple[DataType, ...],
) -> bytes:
    """A response without its raw contents: call by call the same bytes, to which the contents are appended."""
    response = InferResponse(model_name=endpoint, model_version=version)
    for name, shape, kind in zip(names, shapes, kinds, strict=True):
        response.outputs.add(name=name, datatype=kind.value, shape=shape)
    return bytes(response.SerializeToString())


def _typed_answer(reply: Reply, request: Request, outputs: list[tuple[str, Array, DataType]]) -> bytes:
    response = _about(request, reply, model_name=reply.endpoint, model_version=reply.version)
    for name, array, kind in outputs:
        output = response.outputs.add(name=name, datatype=kind.value, shape=array.shape)
        getattr(output.contents, _FIELDS[kind][0]).extend(_listed(array, kind))
    return bytes(response.SerializeToString())


def _varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _raw_inputs(message: Any, plan: Plan) -> Tensors:
    blobs, items = message.raw_input_contents, message.inputs
    if len(blobs) != len(items):
        raise InvalidTensor(
            f"raw_input_contents has {len(blobs)} elements for {len(items)} inputs; send one for each, in their order"
        )
    given: Tensors = {}
    for item, blob in zip(items, blobs, strict=True):
        slot = plan.slot(item.name, given)
        if item.HasField("contents"):
            raise InvalidTensor(
                f"tensor {item.name!r} has contents, and the request raw_input_contents; send one of them"
            )
        kind = v2.datatype(item.datatype, item.name)
        given[item.name] = slot.admit(tensors.from_binary(memoryview(blob), kind, tuple(item.shape), item.name))
    return plan.finish(given)


def _typed_inputs(message: Any, plan: Plan) -> Tensors:
    given: Tensors = {}
    for item in message.inputs:
        slot = plan.slot(item.name, given)
        if "shared_memory_region" in item.parameters:
            raise InvalidTensor(f"tensor {item.name!r}: shared memory is not supported here; send data")
        kind = v2.datatype(item.datatype, item.name)
        given[item.name] = slot.admit(_typed(item, kind))
    return plan.finish(given)


def _typed(item: Any, kind: DataType) -> Array:
    shape, name = tuple(item.shape), item.name
    if kind not in _FIELDS:
        raise InvalidTensor(f"tensor {name!r}: {kind.value} has no typed contents; send it as raw_input_contents")
    field, dtype = _FIELDS[kind]
    for other, _ in item.contents.ListFields():
        if other.name != field:
            raise InvalidTensor(f"tensor {name!r}: {kind.value} goes into {field}, found {other.name}")
    values, expected = getattr(item.contents, field), tensors.count(shape, name)
    if len(values) != expected:
        raise tensors.wrong_count(shape, len(values), name)
    if kind is DataType.BYTES:
        array = np.empty(expected, object)
        array[:] = [tensors.text_of(value) for value in values]
    else:
        array = np.fromiter(values, dtype, expected)
    if array.dtype != kind.numpy:
        array = cast(array, kind, name)
    return array.reshape(shape)


def _parameters(given: Mapping[str, Any]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for name, value in given.items():
        chosen = value.WhichOneof("parameter_choice")
        if chosen is None:
            raise InvalidParameter(f"parameter {name!r} has no value")
        found[name] = getattr(value, chosen)
    return found


def _kind(name: str, array: Array, signature: Signature) -> DataType:
    """The datatype of an output; only BF16 cannot be told from the array."""
    for spec in signature.outputs:
        if spec.name == name and spec.datatype is DataType.BF16:
            return DataType.BF16
    return DataType(tensors.datatype_of(array))


def _listed(array: Array, kind: DataType) -> Iterable[Any]:
    values = array.reshape(-1).tolist()
    if kind is not DataType.BYTES:
        return values
    return [tensors.octets(value) for value in values]
