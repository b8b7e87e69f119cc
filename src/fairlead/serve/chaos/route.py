"""``/chaos/{endpoint}``: POST begins faults, or lets them go on for longer; DELETE stops them."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fairlead.contracts.errors import InvalidParameter, NotFound
from fairlead.kit.clock import Clock
from fairlead.kit.codec import json
from fairlead.serve.chaos.faults import LONGEST, Chaos, Injection, parsed
from fairlead.serve.guarding import sight_of
from fairlead.serve.http import Handler, read_body

ROUTE: Final = "/chaos/{endpoint}"


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """``seconds``: of the lease.  ``again``: it must be injected already, by the same ``id``."""

    id: str
    inject: list[str]
    seconds: float
    seed: int = 0
    again: bool = False


_ASKED: Final = msgspec.json.Decoder(Asked)


def injecting(chaos: Chaos, clock: Clock, limit: int) -> tuple[Handler, Handler]:
    """The handlers of POST and DELETE. ``limit``: bytes of a body."""

    async def begin(request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        asked = json.decode(_ASKED, await read_body(request, limit))
        if not 0 < asked.seconds <= LONGEST or not 0 < len(asked.id) <= 64:
            raise InvalidParameter(
                f"an id of 1 to 64 characters is expected, and seconds above 0 and up to {LONGEST:g}"
            )
        parsed(asked.inject)
        if asked.again and chaos.active(endpoint) != asked.id:
            raise NotFound(f"nothing of {asked.id!r} is injected into {endpoint!r} any more")
        going_on = chaos.active(endpoint) == asked.id
        await chaos.inject(endpoint, Injection(asked.id, asked.inject, clock.now() + asked.seconds, asked.seed))
        if not going_on:
            sight_of(request).did(
                "chaos.begin", endpoint, inject=", ".join(asked.inject), seconds=asked.seconds, seed=asked.seed
            )
        return Response(b"{}", media_type="application/json")

    async def end(request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        await chaos.calm(endpoint)
        sight_of(request).did("chaos.stop", endpoint)
        return Response(b"{}", media_type="application/json")

    return begin, end
