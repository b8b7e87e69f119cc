"""JSON in and out, with errors that say where. NaN and Infinity are not JSON: refused in, written as null."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from fairlead.contracts.errors import MalformedBody
from fairlead.kit.config import nearest

T = TypeVar("T")

encode = msgspec.json.Encoder().encode
"""Any JSON-like value or record to bytes; NaN and infinities become null."""

ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
"""The decoder of free-form JSON."""

_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_UNICODE = (UnicodeDecodeError, UnicodeEncodeError)


def decode(decoder: msgspec.json.Decoder[T], body: bytes | memoryview | msgspec.Raw) -> T:
    """Decode ``body``. Raises MalformedBody that names the byte, or the field, where it went wrong."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, *_UNICODE) as error:
        raise malformed(error, body) from None


def malformed(error: Exception, body: bytes | memoryview | msgspec.Raw, known: tuple[str, ...] = ()) -> MalformedBody:
    """The sentence for an error of msgspec. ``known``: field names to suggest for an unknown one."""
    if isinstance(error, msgspec.ValidationError):
        return MalformedBody(_form(str(error), known))
    if isinstance(error, RecursionError):
        return MalformedBody("JSON is malformed: it nests too deep")
    if isinstance(error, _UNICODE):
        return MalformedBody(f"JSON is malformed: not UTF-8 (byte {_bad_byte(bytes(body))})")
    if str(error) == "Input data was truncated":
        return MalformedBody(f"JSON is malformed: it ends too early (byte {len(bytes(body))})")
    return MalformedBody(str(error))


def _form(text: str, known: tuple[str, ...]) -> str:
    unknown = _UNKNOWN_FIELD.match(text)
    if unknown:
        name = unknown["name"]
        return f"unknown field {name!r}{text[unknown.end() :]}{nearest(name, known)}"
    return f"the JSON has not the expected form: {text[:1].lower()}{text[1:]}"


def _bad_byte(body: bytes) -> int:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(body)
