"""KServe V1 (TensorFlow Serving): ``{"instances": [...]}`` or ``{"inputs": ...}`` -> ``{"predictions": [...]}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, MalformedBody
from fairlead.contracts.types import Reply, Signature, Tensors
from fairlead.kit.codec import json
from fairlead.kit.codec.tensors import json_kind
from fairlead.kit.config import nearest
from fairlead.serve.edges import tables
from fairlead.serve.edges.edge import Answer, Request, json_headers
from fairlead.serve.edges.status import status_of
from fairlead.serve.validate import parameters

_FIELDS: Final = ("instances", "inputs", "parameters", "signature_name")


class V1:
    """The edge of ``/v1/models/{endpoint}:predict``.

    ``instances`` is rows: objects by column, lists by position, or plain values. ``inputs`` is columns: an object of
    whole columns or tensors, or one bare tensor.
    """

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:  # noqa: ARG002 - the edge's contract
        message = json.decode(json.ANY, body)
        if not isinstance(message, dict):
            raise MalformedBody(f"the body is an object with instances or inputs, found {json_kind(message)}")
        for name in message:
            if name not in _FIELDS:
                raise MalformedBody(f"unknown field {name!r}{nearest(name, _FIELDS)}")
        if ("instances" in message) == ("inputs" in message):
            found = "both" if "inputs" in message else "neither"
            raise MalformedBody(f"the body has exactly one of instances and inputs, found {found}")
        given = message.get("parameters")
        if given is not None and not isinstance(given, dict):
            raise MalformedBody(f"parameters is an object, found {json_kind(given)}")
        return Request(_inputs(message, signature), parameters(given, signature))

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:  # noqa: ARG002 - the edge's contract
        return Answer(200, json_headers(), json.encode({"predictions": tables.predictions(reply, signature)}))

    def refuse(self, error: FairleadError, request_id: str) -> Answer:
        body = {"error": error.message, "code": error.code, "request_id": request_id}
        return Answer(status_of(error.code), json_headers(), json.encode(body))


def _inputs(message: dict[str, Any], signature: Signature) -> Tensors:
    if "instances" in message:
        return tables.from_rows(message["instances"], signature, "instances")
    inputs = message["inputs"]
    if isinstance(inputs, dict):
        return tables.from_columns(inputs, signature)
    return tables.from_rows(inputs, signature, "inputs")
