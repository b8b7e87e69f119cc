"""``/v1/files``: what batches are made of, and what they wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from starlette.responses import Response, StreamingResponse

from fairlead.contracts.access import Action
from fairlead.contracts.errors import Forbidden, NotFound
from fairlead.kit.codec import json
from fairlead.kit.threads import Threads
from fairlead.serve.http import read_body
from fairlead.serve.llm.batches.shelf import Shelf, name_of
from fairlead.serve.openai.batch.multipart import parts
from fairlead.serve.openai.bodies import not_among
from fairlead.serve.openai.refusals import Gone, Invalid, unsupported
from fairlead.serve.openai.simply import Guest, told

MOST: Final = 10_000
"""Files of one page."""
KEEP: Final = (3600, 2_592_000)
"""Seconds that a file may be kept."""
_BLOCK: Final = 256 * 1024
_LONGEST: Final = 255
"""Characters of a file's name."""

T = TypeVar("T")


class FileRoutes:
    """``threads``: for what blocks."""

    def __init__(self, shelf: Shelf, threads: Threads) -> None:
        self._files, self._threads = shelf.files, threads

    async def create(self, guest: Guest) -> Response:
        writes(guest)
        body = await read_body(guest.request, guest.front.max_body)
        kind = guest.request.headers.get("content-type", "")
        form = await self._threads.ask(lambda: {one.name: one for one in parts(kind, body)})
        file = form.pop("file", None)
        if file is None or file.filename is None:
            raise Invalid("Missing required parameter: 'file'.", "file", "missing_required_parameter")
        fields = {name: one.data.decode("utf-8", "replace") for name, one in form.items()}
        purpose = fields.pop("purpose", None)
        if purpose is None:
            raise Invalid("Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter")
        if purpose != "batch":
            raise not_among("purpose", purpose[:64], ("batch",))
        anchor, seconds = fields.pop("expires_after[anchor]", None), fields.pop("expires_after[seconds]", None)
        keep = kept("expires_after", anchor, seconds) if (anchor, seconds) != (None, None) else 0
        for name in fields:
            raise Invalid(f"Unknown parameter: '{name[:64]}'.", name[:64], "unknown_parameter")
        if not file.data:
            raise Invalid("Invalid 'file': it is empty.", "file", "empty_file")
        filename = "".join(one for one in file.filename if one.isprintable())[-_LONGEST:]
        caller = name_of(guest.caller)
        made = await self._threads.ask(lambda: self._files.put(caller, filename, file.data, keep))
        return told(json.encode(made.document()))

    async def list(self, guest: Guest) -> Response:
        purpose, caller = guest.request.query_params.get("purpose"), name_of(guest.caller)
        found = await self._threads.ask(lambda: self._files.all(caller))
        held = [one for one in found if purpose in (None, one.purpose)]
        return page(guest, held, MOST, MOST, orders=True)

    async def get(self, guest: Guest) -> Response:
        found = await self._find(guest, self._files.get)
        return told(json.encode(found.document()))

    async def delete(self, guest: Guest) -> Response:
        await self._find(guest, self._files.remove)
        return told(json.encode({"id": guest.request.path_params["id"], "object": "file", "deleted": True}))

    async def content(self, guest: Guest) -> Response:
        opened: BinaryIO = await self._find(guest, lambda caller, name: _opened(self._files.data(caller, name)))
        size = opened.seek(0, 2)
        opened.seek(0)
        headers = {"content-length": str(size)}
        return StreamingResponse(self._read(opened), headers=headers, media_type="application/octet-stream")

    async def _read(self, opened: BinaryIO) -> AsyncIterator[bytes]:
        with opened:
            while block := await self._threads.ask(lambda: opened.read(_BLOCK)):
                yield block

    async def _find(self, guest: Guest, look: Callable[[str, str], T]) -> T:
        """Raises Gone for what is not there, and for what is another caller's."""
        caller, identity = name_of(guest.caller), guest.request.path_params["id"]
        try:
            return await self._threads.ask(lambda: look(caller, identity))
        except NotFound:
            raise gone("File", identity, "id") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(path.stem) from None


def writes(guest: Guest) -> None:
    """Raises Forbidden for a caller who may ask no model at all."""
    gate = guest.front.gate
    if gate is not None and guest.caller is not None and not gate.rules.anywhere(guest.caller, Action.GENERATE):
        raise Forbidden(f"{guest.caller.name!r} may ask no model: it needs a scope such as NAME:generate")


def kept(param: str, anchor: object, seconds: object) -> int:
    """Seconds that a file is kept from when it was made. Raises Invalid."""
    if anchor != "created_at":
        raise not_among(f"{param}.anchor", str(anchor)[:64], ("created_at",))
    text = str(seconds)
    if not (text.isascii() and text.isdigit() and len(text) < 9 and KEEP[0] <= int(text) <= KEEP[1]):
        raise Invalid(f"Invalid '{param}.seconds': expected {KEEP[0]} to {KEEP[1]}.", f"{param}.seconds")
    return int(text)


def gone(what: str, identity: str, param: str) -> Gone:
    return Gone(f"No such {what} object: {identity[:100]}", param, None)


def page(guest: Guest, found: Sequence[Any], most: int, usual: int, *, orders: bool = False) -> Response:
    """Some of ``found``, the newest of which comes first: after ``after``, as many as ``limit``. Raises Invalid."""
    asked = guest.request.query_params
    allowed = {"after", "limit", *(("order", "purpose") if orders else ())}
    for name in asked:
        if name not in allowed:
            raise unsupported(name[:64], "is not known there.")
    limit, after, order = asked.get("limit", str(usual)), asked.get("after"), asked.get("order", "desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= most):
        raise Invalid(f"Invalid 'limit': expected 1 to {most}.", "limit")
    if order not in ("asc", "desc"):
        raise not_among("order", order[:64], ("asc", "desc"))
    held = list(found if order == "desc" else reversed(found))
    if after is not None:
        at = next((at for at, one in enumerate(held) if one.id == after), None)
        if at is None:
            raise Invalid(f"Invalid 'after': there is no {after[:100]!r}.", "after")
        held = held[at + 1 :]
    shown = [one.document() for one in held[: int(limit)]]
    document = {"object": "list", "data": shown, "has_more": len(held) > int(limit)}
    document["first_id"], document["last_id"] = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return told(json.encode(document))
