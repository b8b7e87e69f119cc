"""``POST /v1/models/{endpoint}:explain``, as KServe V1 has it: ``{"predictions": [...], "explanations": [...]}``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.errors import Cancelled, FairleadError
from fairlead.kit.codec import json
from fairlead.serve.access.credentials import Certificate, mapping, peer_of
from fairlead.serve.edges import tables
from fairlead.serve.edges.edge import Answer, json_headers
from fairlead.serve.edges.v1 import V1
from fairlead.serve.endpoint import Live
from fairlead.serve.explain.asking import Explainer, explain
from fairlead.serve.explain.turns import Turns
from fairlead.serve.front import Front
from fairlead.serve.http import CLIENT_CLOSED_REQUEST, Handler, Waited, read_body
from fairlead.serve.limits.limiter import Limiter, Permit
from fairlead.serve.limits.rules import Rules

ROUTE: Final = "/v1/models/{endpoint}:explain"
STEP: Final = ":explain"
"""What explanations are called among the steps that are measured."""

Explainers = Callable[[Live], Explainer]
"""How the rows of a version are explained."""


def explaining(front: Front, explainers: Explainers, limiter: Limiter | None = None) -> Handler:
    """The handler of the route."""
    edge, turns, limiter = V1(), Turns(), limiter or Limiter(Rules(), front.pipeline.clock, front.sink.limited)

    async def handle(request: Request) -> Response:
        exchange = _Explained(front, edge, mapping(request.headers.raw), peer_of(request.scope))
        try:
            exchange.resolve(request.path_params["endpoint"], None)
            body = await read_body(request, front.max_body)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except FairleadError as error:
            exchange.refuse(error)
        else:
            exchange.begin(body, explainers, turns, limiter)
        return await exchange.answer(request)

    return handle


class _Explained(Waited):
    """An exchange that asks many calls and answers once."""

    __slots__ = ("_task",)

    def __init__(
        self, front: Front, edge: V1, headers: Mapping[bytes, bytes], shows: Certificate | None = None
    ) -> None:
        super().__init__(front, edge, ROUTE, headers, shows)
        self._task: asyncio.Task[None] | None = None

    def begin(self, body: bytes, explainers: Explainers, turns: Turns, limiter: Limiter) -> None:
        self._task = asyncio.get_running_loop().create_task(self._explain(body, explainers, turns, limiter))

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _explain(self, body: bytes, explainers: Explainers, turns: Turns, limiter: Limiter) -> None:
        pipeline, permit = self._front.pipeline, Permit()
        pipeline.in_flight += 1  # a server that drains waits for it
        try:
            live = self._answering()
            deadline = self.deadline(live)
            asked = self.edge.read(body, self.headers, live.signature)
            explainer = explainers(live).asked(asked.parameters)
            now = pipeline.clock.now
            rows = next(iter(asked.inputs.values())).shape[0] if asked.inputs else 1
            permit = await limiter.admit(self.caller, live.endpoint, rows, len(body))
            async with turns.one(live.endpoint, deadline - now()):
                reply, found = await explain(
                    live, explainer, asked.inputs, asked.parameters, deadline, now, self.caller
                )
            coarse = self._front.coarse.get(live.endpoint)
            if coarse is not None and coarse.applies(self.caller, live.endpoint, live.version):
                reply, found = coarse.reply(reply), coarse.document(found)
            document = {"predictions": tables.predictions(reply, live.signature), "explanations": found}
            live.meter.step(STEP, "ok", now() - self.arrived)
            told = self.told(reply, "") + self.fields(permit.allowance.lines() if permit.allowance else b"")
            self.put(Answer(200, json_headers(), json.encode(document)), told)
        except asyncio.CancelledError:
            self.refuse(Cancelled("the caller closed the connection before the answer was ready"))
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            self.refuse(error)
        finally:
            permit.release()
            pipeline.in_flight -= 1
