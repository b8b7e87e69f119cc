"""Requests of batches, answered as those from outside are: by the same lines, for the same callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import (
    DeadlineExceeded,
    EngineLost,
    FairleadError,
    OverBudget,
    RateLimited,
    Refused,
    Unavailable,
)
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.access.gate import Gate, Pass
from fairlead.serve.front import Front
from fairlead.serve.llm.batches.asking import Answered
from fairlead.serve.openai import refusals
from fairlead.serve.openai.api import EMBEDDINGS
from fairlead.serve.openai.desk import Desk, Way
from fairlead.serve.openai.embeddings import Embeddings
from fairlead.serve.openai.simply import Guest, log
from fairlead.serve.openai.talk import Talk

PARALLEL: Final = 4
"""Requests for embeddings of one model at once."""
_HEADERS: Final = {b"x-request-priority": b"batch"}

T = TypeVar("T")


class Spoken(Talk):
    """A request for text whose answer a batch waits for. ``error``: what it was refused with."""

    again = True
    __slots__ = ("answered", "error")

    def __init__(self, desk: Desk, way: Way, caller: Caller | None) -> None:
        super().__init__(desk, way, _HEADERS)
        self.caller = caller
        self.error: Exception | None = None
        self.answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def put(self, status: int, head: bytes, body: bytes) -> None:  # noqa: ARG002 - nobody reads headers
        if not self.answered.done():
            self.answered.set_result((status, body))

    def stream(self, head: bytes, data: bytes, last: bool) -> None:
        """No request of a batch asks for a stream: one is refused before."""

    def certificate(self) -> Certificate | None:
        return None

    def refuse(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
        super().refuse(error)


class Behalf(Guest):
    """A guest who came before."""

    def __init__(self, front: Front, caller: Caller | None) -> None:
        # no request: nothing of this one is read from a connection
        self.front, self.caller = front, caller
        self.visit = Visit({}, EMBEDDINGS, front.pipeline.clock.now(), fresh_id())

    def admit(self, gate: Gate, name: str) -> Pass:
        found = gate.readmit(self.visit, self.caller, name)
        self.caller = found.caller
        return found

    async def wait(self, work: Awaitable[T], seconds: float) -> T:
        self.front.pipeline.in_flight += 1
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise DeadlineExceeded("the time of this request is over before its answer was ready") from None
        finally:
            self.front.pipeline.in_flight -= 1


class Answers:
    """The ``Answering`` of batches. ``ways``: those of text."""

    def __init__(self, desk: Desk, ways: Mapping[str, Way], embeddings: Embeddings) -> None:
        self._desk, self._ways, self._embeddings = desk, ways, embeddings
        self._asked: Counter[tuple[str, str]] = Counter()

    @property
    def urls(self) -> tuple[str, ...]:
        """What batches may be of."""
        return (*self._ways, EMBEDDINGS)

    async def answer(self, url: str, model: str, body: bytes, caller: Caller | None) -> Answered:
        asked = url, model
        self._asked[asked] += 1
        try:
            way = self._ways.get(url)
            return await (self._embedded(body, caller) if way is None else self._said(way, body, caller))
        finally:
            self._asked[asked] -= 1
            if not self._asked[asked]:
                del self._asked[asked]

    def unknown(self, url: str, model: str, caller: Caller | None) -> str:
        gate = self._desk.front.gate
        why = str(refusals.no_model(model))
        if gate is not None:
            try:
                gate.readmit(Visit({}, url, 0.0, fresh_id(), tells=False), caller, model)
            except Unavailable:
                return ""  # nobody knows yet
            except FairleadError:
                return why
        if url == EMBEDDINGS:
            return "" if self._embeddings.has(model) else why
        try:
            self._desk.chats.resolve(model)
        except Unavailable:
            return ""
        except FairleadError:
            return why
        return ""

    def room(self, url: str, model: str) -> bool:
        asked = self._asked[url, model]
        if url == EMBEDDINGS:
            return asked < PARALLEL
        try:
            engine = self._desk.chats.resolve(model).engine
        except FairleadError:
            return True  # which is told at once
        texts = sum(self._asked[way, model] for way in self._ways)
        return texts < max(1, engine.traits.parallel // 2) and not engine.load().waiting

    async def _said(self, way: Way, body: bytes, caller: Caller | None) -> Answered:
        talk = Spoken(self._desk, way, caller)
        talk.submit(body)
        try:
            status, found = await talk.answered
        finally:
            talk.cancel()
        return _answered(status, talk.request_id, found, talk.error)

    async def _embedded(self, body: bytes, caller: Caller | None) -> Answered:
        guest = Behalf(self._desk.front, caller)
        identity = guest.visit.request_id
        try:
            found, _ = await self._embeddings.made(guest, body)
        except Exception as error:  # noqa: BLE001 - told in its line and, when it is not ours, in the log
            told = error
            if not isinstance(error, FairleadError):
                fields = {"route": EMBEDDINGS, "request_id": identity}
                log.error("request failed", exc_info=error, extra={"fields": fields})
                told = FairleadError(f"the server failed; its log has the cause under request id {identity}")
            assert isinstance(told, FairleadError)  # noqa: S101 - made above where it was none
            self._desk.front.sink.edge_error(EMBEDDINGS, told.code)
            return _answered(refusals.status(told), identity, refusals.document(told, "input"), told)
        return Answered(200, identity, found)


def _answered(status: int, identity: str, body: bytes, error: Exception | None) -> Answered:
    """With what may go well later: what was refused for want of room, but for want of money."""
    if isinstance(error, EngineLost | DeadlineExceeded):
        return Answered(status, identity, body, error.retry_after or 1.0, lost=True)
    later = isinstance(error, Refused) and not isinstance(error, OverBudget)
    if isinstance(error, RateLimited) and error.kind == "quota":
        later = False
    if later and isinstance(error, FairleadError):
        return Answered(status, identity, body, error.retry_after or 1.0)
    return Answered(status, identity, body)
