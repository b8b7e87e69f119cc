"""``/v1/batches``: batches of requests, made of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

from fairlead.contracts.errors import NotFound
from fairlead.kit.codec import json
from fairlead.serve.http import read_body
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import name_of
from fairlead.serve.openai.batch.files import gone, kept, page, writes
from fairlead.serve.openai.bodies import Metadata, decode, not_among
from fairlead.serve.openai.refusals import Invalid
from fairlead.serve.openai.simply import Guest, told

MOST: Final = 100
"""Batches of one page."""
USUAL: Final = 20


class Keep(Struct, forbid_unknown_fields=True, kw_only=True):
    """How long outputs are kept."""

    anchor: str
    seconds: int


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Metadata | None = None
    output_expires_after: Keep | None = None


_BODY: Final = msgspec.json.Decoder(Body)


class BatchRoutes:
    """``urls``: what batches may be of."""

    def __init__(self, runner: Runner, urls: Sequence[str]) -> None:
        self._runner, self._shelf, self._threads = runner, runner.shelf, runner.threads
        self._urls = tuple(urls)

    async def create(self, guest: Guest) -> Response:
        writes(guest)
        body = decode(_BODY, await read_body(guest.request, guest.front.max_body))
        if body.endpoint not in self._urls:
            raise not_among("endpoint", body.endpoint[:64], self._urls)
        if body.completion_window != "24h":
            raise not_among("completion_window", body.completion_window[:64], ("24h",))
        asked, caller = body.output_expires_after, guest.caller
        keep = 0 if asked is None else kept("output_expires_after", asked.anchor, asked.seconds)
        file = await self._find(guest, self._shelf.files.get, body.input_file_id, "File", "input_file_id")
        if file.purpose != "batch":
            raise Invalid(
                f"Invalid 'input_file_id': the purpose of this file is {file.purpose!r}, and must be 'batch'.",
                "input_file_id",
            )

        def begin(_: str, identity: str) -> Any:
            return self._shelf.begin(caller, body.endpoint, identity, body.metadata, keep)

        made = await self._find(guest, begin, body.input_file_id, "File", "input_file_id")
        self._runner.poke()
        return told(json.encode(made.document()))

    async def list(self, guest: Guest) -> Response:
        caller = name_of(guest.caller)
        return page(guest, await self._threads.ask(lambda: self._shelf.all(caller)), MOST, USUAL)

    async def get(self, guest: Guest) -> Response:
        found = await self._find(guest, self._shelf.get, guest.request.path_params["id"])
        return told(json.encode(found.document()))

    async def cancel(self, guest: Guest) -> Response:
        found = await self._find(guest, self._shelf.cancel, guest.request.path_params["id"])
        if found.over and found.status != "cancelled":
            raise Invalid(f"Cannot cancel a batch with status '{found.status}'.", None)
        return told(json.encode(found.document()))

    async def _find(self, guest: Guest, look: Any, identity: str, what: str = "Batch", param: str = "id") -> Any:
        """Raises Gone for what is not there, and for what is another caller's."""
        caller = name_of(guest.caller)
        try:
            return await self._threads.ask(lambda: look(caller, identity))
        except NotFound:
            raise gone(what, identity, param) from None
