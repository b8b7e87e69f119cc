"""MLflow's scoring protocol: what ``mlflow models serve`` takes and gives, with our checks.

Exactly one of ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``, with ``params`` beside it, or
``text/csv``. Replies are what pyfunc would return: ``Signature.prediction`` names those outputs. Three things differ on
purpose: an unknown column is refused, where MLflow drops it; a fraction is never cut to an integer; a number in a
string column becomes its text.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, InvalidTensor, MalformedBody
from fairlead.contracts.types import Reply, Signature, Tensors
from fairlead.kit.codec import json
from fairlead.kit.codec.tensors import json_kind
from fairlead.kit.config import nearest
from fairlead.serve.edges import tables
from fairlead.serve.edges.edge import Answer, Request, json_headers
from fairlead.serve.edges.status import status_of
from fairlead.serve.validate import parameters

_SHAPES: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_FIELDS: Final = (*_SHAPES, "params")
_SPLIT: Final = ("columns", "index", "data")
_ERROR_CODES: Final = {
    "unauthenticated": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "rate_limited": "REQUEST_LIMIT_EXCEEDED",
    "not_found": "RESOURCE_DOES_NOT_EXIST",
    "body_too_large": "RESOURCE_LIMIT_EXCEEDED",
    "queue_full": "REQUEST_LIMIT_EXCEEDED",
    "refused": "TEMPORARILY_UNAVAILABLE",
    "unavailable": "TEMPORARILY_UNAVAILABLE",
    "deadline_exceeded": "DEADLINE_EXCEEDED",
    "cancelled": "CANCELLED",
}


class Invocations:
    """The edge of ``/invocations``."""

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:
        if _media(headers.get(b"content-type", b"application/json")) == "text/csv":
            return Request(tables.from_csv(_text(body), signature))
        message = json.decode(json.ANY, body)
        if not isinstance(message, dict):
            raise MalformedBody(f"the body is an object with one of {', '.join(_SHAPES)}; found {json_kind(message)}")
        for name in message:
            if name not in _FIELDS:
                raise MalformedBody(f"unknown field {name!r}{nearest(name, _FIELDS)}; known are {', '.join(_FIELDS)}")
        found = [name for name in _SHAPES if name in message]
        if len(found) != 1:
            raise MalformedBody(
                f"the body has exactly one of {', '.join(_SHAPES)}; found {' and '.join(found) or 'none of them'}"
            )
        params = message.get("params")
        if params is not None and not isinstance(params, dict):
            raise MalformedBody(f"params is an object, found {json_kind(params)}")
        inputs = _READERS[found[0]](message[found[0]], signature)
        return Request(inputs, parameters(params, signature))

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:  # noqa: ARG002 - the edge's contract
        return Answer(200, json_headers(), json.encode({"predictions": tables.predictions(reply, signature)}))

    def refuse(self, error: FairleadError, request_id: str) -> Answer:
        status = status_of(error.code)
        name = _ERROR_CODES.get(error.code) or ("BAD_REQUEST" if status == 400 else "INTERNAL_ERROR")
        body = {"error_code": name, "message": error.message, "code": error.code, "request_id": request_id}
        return Answer(status, json_headers(), json.encode(body))


def _split(frame: Any, signature: Signature) -> Tensors:
    if not isinstance(frame, dict):
        raise MalformedBody(f"dataframe_split is an object with columns and data, found {json_kind(frame)}")
    for name in frame:
        if name not in _SPLIT:
            raise MalformedBody(f"dataframe_split: unknown field {name!r}{nearest(name, _SPLIT)}")
    if "data" not in frame:
        raise MalformedBody("dataframe_split has no data")
    return tables.from_matrix(frame["data"], frame.get("columns"), signature, "dataframe_split")


def _records(rows: Any, signature: Signature) -> Tensors:
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise MalformedBody("dataframe_records is a list of objects, one a row")
    if rows and not signature.tabular and len(signature.inputs) == 1 and signature.inputs[0].name not in rows[0]:
        names = list(rows[0])
        cells = [[row.get(name) for name in names] for row in rows]
        return tables.from_matrix(cells, names, signature, "dataframe_records")
    return tables.from_rows(rows, signature, "dataframe_records")


def _instances(rows: Any, signature: Signature) -> Tensors:
    return tables.from_rows(rows, signature, "instances")


def _inputs(inputs: Any, signature: Signature) -> Tensors:
    if isinstance(inputs, dict):
        return tables.from_columns(inputs, signature)
    if isinstance(inputs, str | int | float) and len(signature.inputs) == 1:
        inputs = [inputs]
    return tables.from_rows(inputs, signature, "inputs")


_READERS: Final = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}


@functools.lru_cache(maxsize=64)
def _media(content_type: bytes) -> str:
    media, *extra = (part.strip().lower() for part in content_type.decode("latin-1").split(";"))
    if media not in ("application/json", "text/csv"):
        raise MalformedBody(f"content type {media!r} is not understood; send application/json or text/csv")
    for part in extra:
        name, _, value = part.partition("=")
        if name != "charset":
            raise MalformedBody(f"content type parameter {name!r} is not understood; only charset=utf-8 is")
        if value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise MalformedBody(f"charset {value!r} is not understood; send UTF-8")
    return media


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidTensor(f"the CSV is not UTF-8 (byte {error.start})") from None
