"""The edge of a stream: what the body of a message is, told by its shape.

An object whose ``inputs`` are tensors is a request of the Open Inference Protocol V2 and gets a V2 response. Any other
object is one row, by column; a list is rows. They get an object of outputs, or a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import FairleadError, MalformedBody
from fairlead.contracts.types import Reply, Signature
from fairlead.kit.codec import json
from fairlead.kit.codec.tensors import json_kind
from fairlead.serve.edges import tables
from fairlead.serve.edges.edge import Answer, Request, json_headers
from fairlead.serve.edges.v2 import V2


class _Tensor(msgspec.Struct, gc=False):
    name: str
    datatype: str | None = None
    shape: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class _Tensors(msgspec.Struct, gc=False):
    inputs: list[_Tensor]


_LOOK: Final = msgspec.json.Decoder(_Tensors).decode
_ROW, _ROWS = "row", "rows"


class Bodies:
    """What an ``Edge`` does, for messages."""

    def __init__(self) -> None:
        self._v2 = V2()

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:
        """The call in ``body``, validated. Raises errors of the InputError family."""
        if b'"inputs"' in body and (headers or _is_v2(body, signature)):
            return self._v2.read(body, headers, signature)
        message = json.decode(json.ANY, body)
        if isinstance(message, dict):
            if not signature.batched:
                return Request(tables.from_columns(message, signature), memo=_ROW)
            return Request(tables.from_rows([message], signature, "the message"), memo=_ROW)
        if isinstance(message, list):
            return Request(tables.from_rows(message, signature, "the message"), memo=_ROWS)
        raise MalformedBody(
            f"a message is a V2 request, an object of columns (one row) or a list of rows; found {json_kind(message)}"
        )

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:
        """The answer to ``request``, as it was asked."""
        if request.memo is not _ROW and request.memo is not _ROWS:
            return self._v2.write(reply, request, signature)
        rows: Any = tables.records(reply, signature)
        if request.memo is _ROW and isinstance(rows, list):
            rows = rows[0]
        return Answer(200, json_headers(), json.encode(rows))

    def refuse(self, error: FairleadError, request_id: str) -> Answer:
        return self._v2.refuse(error, request_id)


def _is_v2(body: bytes, signature: Signature) -> bool:
    """Whether ``inputs`` are tensors; a column of this name is not, whatever it holds."""
    try:
        found = _LOOK(body).inputs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if any(spec.name == "inputs" for spec in signature.inputs):
        return bool(found) and all(one.datatype and bytes(one.shape) for one in found)
    return all(one.datatype or bytes(one.shape) or bytes(one.data) for one in found)
