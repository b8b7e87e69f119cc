"""The lines of a batch: its input, looked at before anything is asked, and its output, which is its journal.

A request is a line of the output, or of the errors, once it is done. So what was done is read from there after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from fairlead.contracts.errors import MalformedBody
from fairlead.kit.codec import json
from fairlead.serve.llm.batches.records import Problem

MOST: Final = 50_000
"""Requests of a batch."""
LONGEST_ID: Final = 512
"""Characters of a ``custom_id``."""
TOLD: Final = 100
"""Problems of an input that are told."""


class Request(NamedTuple):
    """``at``, ``size``: where its line is, in bytes.  ``model``: that it names."""

    custom_id: str
    at: int
    size: int
    model: str


class Checked(NamedTuple):
    """``models``: that are named, each with the first line that does."""

    requests: list[Request]
    problems: list[Problem]
    models: dict[str, int]


class _Line(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


class _Done(msgspec.Struct):
    custom_id: str


_LINE: Final = msgspec.json.Decoder(_Line)
_BODY: Final = msgspec.json.Decoder(_Body)
_DONE: Final = msgspec.json.Decoder(_Done)


def check(data: bytes, url: str, most: int = MOST) -> Checked:
    """All requests of an input, and what is wrong with it. ``url``: of the batch."""
    requests: list[Request] = []
    problems: list[Problem] = []
    models: dict[str, int] = {}
    known: set[str] = set()
    for number, at, line in _lines(data):
        if len(requests) >= most:
            why = f"The file has more than {most} requests; a batch has {most} at most: make several."
            return Checked([], [Problem("too_many_requests", why)], {})
        found = _request(line, number, at, url, known)
        if isinstance(found, Problem):
            problems.append(found)
            if len(problems) >= TOLD:
                break
            continue
        known.add(found.custom_id)
        models.setdefault(found.model, number)
        requests.append(found)
    if not requests and not problems:
        problems = [Problem("empty_file", "The file has no requests: a line for each is needed.")]
    return Checked(requests, problems, models)


def _lines(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and bytes of each line that is not blank."""
    at = number = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        number += 1
        line = data[at:end]
        if line.strip():
            yield number, at, line
        at = end + 1


def _request(line: bytes, number: int, at: int, url: str, known: set[str]) -> Request | Problem:
    try:
        found = json.decode(_LINE, line)
    except MalformedBody as error:
        return Problem("invalid_json_line", f"This line is not parseable as a JSON object: {error}.", None, number)
    name = found.custom_id
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
        why = f"'custom_id' is needed: a text of 1 to {LONGEST_ID} characters."
        return Problem("invalid_custom_id", why, "custom_id", number)
    if name in known:
        return Problem("duplicate_custom_id", f"'custom_id' is {name!r}, as in a line before.", "custom_id", number)
    if found.method != "POST":
        return Problem("invalid_method", "'method' is needed: POST.", "method", number)
    if found.url != url:
        why = f"'url' must be that of the batch, {url!r}."
        return Problem("invalid_url" if isinstance(found.url, str) else "missing_url", why, "url", number)
    try:
        body = json.decode(_BODY, found.body) if bytes(found.body) else None
    except MalformedBody:
        body = None
    if body is None:
        return Problem("invalid_body", "'body' is needed: an object, as the route takes it.", "body", number)
    if body.stream not in (None, False):
        return Problem("invalid_stream", "'stream' must be left out, or false: a batch streams nothing.",
                       "body.stream", number)  # fmt: skip
    if not isinstance(body.model, str) or not body.model:
        return Problem("missing_model", "'model' is needed: the name of a model.", "body.model", number)
    return Request(name, at, len(line), body.model)


def body(line: bytes) -> bytes:
    """Of a line that was checked."""
    return bytes(_LINE.decode(line).body)


def answered(identity: str, custom_id: str, status: int, request_id: str, body_: bytes) -> bytes:
    """A line of output for a request that had an answer, or was refused."""
    response = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body_)}
    return json.encode({"id": identity, "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def never(identity: str, custom_id: str, code: str, message: str) -> bytes:
    """The line of one that was not asked to its end."""
    error = {"code": code, "message": message}
    return json.encode({"id": identity, "custom_id": custom_id, "response": None, "error": error}) + b"\n"


def done(data: bytes) -> tuple[list[str], int]:
    """Who has a line, and the bytes of whole lines: what is behind them was cut short by a crash."""
    found, size = [], 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            found.append(_DONE.decode(line).custom_id)
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
        size += len(line)
    return found, size
