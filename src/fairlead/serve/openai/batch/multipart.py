"""``multipart/form-data`` (RFC 7578), of a body that is whole and within its bound."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fairlead.contracts.errors import MalformedBody

MOST: Final = 16
"""Parts of a body."""
LONGEST: Final = 8192
"""Bytes of the headers of a part."""
_BOUNDARY: Final = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70})(?![^\s;,]))""", re.IGNORECASE)
_PARAMETER: Final = re.compile(r""";\s*([a-zA-Z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))""", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Part(NamedTuple):
    """``filename`` None: it is no file."""

    name: str
    filename: str | None
    data: bytes


def parts(kind: str, body: bytes) -> list[Part]:
    """In their order. ``kind``: the header ``content-type``. Raises MalformedBody."""
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise MalformedBody("the body must be multipart/form-data, with the parts 'file' and 'purpose'")
    found = _BOUNDARY.search(kind)
    if found is None:
        raise MalformedBody("content-type names no boundary of up to 70 characters")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    at = _line(body, delimiter)
    made: list[Part] = []
    while not body.startswith(b"--", at):
        if len(made) >= MOST:
            raise MalformedBody(f"the body has more than {MOST} parts")
        head, at = _headers(body, at)
        end = _end(body, delimiter, at)
        made.append(_part(head, body[at:end]))
        at = end + 2 + len(delimiter)
    return made


def _line(body: bytes, delimiter: bytes) -> int:
    """Behind the first delimiter, which stands at the beginning or behind a preamble."""
    if body.startswith(delimiter) and _closes(body, len(delimiter)):
        return len(delimiter)
    return _end(body, delimiter, 0) + 2 + len(delimiter)


def _end(body: bytes, delimiter: bytes, at: int) -> int:
    """Where what stands in front of the next delimiter ends."""
    mark = b"\r\n" + delimiter
    if body.startswith(delimiter, at) and body[at - 2 : at] == b"\r\n" and _closes(body, at + len(delimiter)):
        return at - 2  # an empty part without the line break of its own
    while True:
        at = body.find(mark, at)
        if at < 0:
            raise MalformedBody("the body ends before its last boundary")
        if _closes(body, at + len(mark)):
            return at
        at += 2  # a longer word that begins with the boundary


def _closes(body: bytes, at: int) -> bool:
    """Whether the line of a delimiter ends there, as it must."""
    return body.startswith(b"--", at) or body[at : at + LONGEST].lstrip(b" \t").startswith(b"\r\n")


def _headers(body: bytes, at: int) -> tuple[str, int]:
    """``content-disposition`` of the part whose delimiter ends there, and where its data begins."""
    start = body.index(b"\r\n", at)
    end = body.find(b"\r\n\r\n", start, start + LONGEST)
    if end < 0:
        raise MalformedBody(f"a part has no headers, or more than {LONGEST} bytes of them")
    for line in body[start:end].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return value.decode("utf-8", "replace"), end + 4
    raise MalformedBody("a part has no content-disposition")


def _part(disposition: str, data: bytes) -> Part:
    if disposition.partition(";")[0].strip().lower() != "form-data":
        raise MalformedBody("the content-disposition of a part is not form-data")
    found: dict[str, str] = {}
    for one in _PARAMETER.finditer(disposition):
        value = one[3] if one[2] is None else _ESCAPED.sub(r"\1", one[2])
        found.setdefault(one[1].lower(), value)
    if "name" not in found:
        raise MalformedBody("the content-disposition of a part has no name")
    return Part(found["name"], found.get("filename"), data)
