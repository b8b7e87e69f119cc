"""One request for text: from its body to the last byte of its answer, whichever way it came.

No task and no await: the engine's events are answered where they are told. What streams in one turn of the event loop
is written at once. Exactly one of answer, error and cancellation ends it, and with it everything that it asked for.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import Event, Running
from fairlead.contracts.errors import DeadlineExceeded, FairleadError, NotFound
from fairlead.contracts.generation import Ended, Generation, Piece
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.access.gate import Pass
from fairlead.serve.call import STANDARD
from fairlead.serve.front import Front, request_id
from fairlead.serve.llm.ask import Ask, Notes
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.openai import refusals
from fairlead.serve.openai.answers import Answer, Now, Plan
from fairlead.serve.pipeline import lane_of, timeout_ms

log = logging.getLogger("fairlead.serve")

BEAT: Final = 15.0
"""Seconds of silence after which a stream gets a comment, so that nobody between takes it for dead."""
_ALIVE: Final = b": keep-alive\n\n"
_JSON: Final = b"content-type: application/json\r\n"
_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Wish(Protocol):
    """What a body wants. ``prompt``: what its prompt is called.  ``facts``: what is told of it in traces."""

    prompt: str
    model: str
    streams: bool

    @property
    def facts(self) -> dict[str, object]: ...

    def plan(self, chat: Chat, identity: str, now: Now, caller: Caller | None) -> Plan:
        """Raises InputError and NotFound. ``identity``: of the request."""


@dataclass(frozen=True, slots=True)
class Way:
    """A route of requests for text. ``pattern``: as the router has it.  ``prompt``: what a prompt is called there."""

    pattern: str
    read: Callable[[bytes], Wish]
    prompt: str


@dataclass(slots=True)
class Desk:
    """What all requests share. ``beat``: as ``BEAT``."""

    front: Front
    chats: Chats
    beat: float = BEAT
    _written: list[Talk] = field(default_factory=list)

    def seconds(self) -> int:
        """Unix time."""
        return self.front.pipeline.clock.wall_ms() // 1000

    def soon(self, talk: Talk) -> None:
        """Write what it has at the end of this turn of the loop."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._write)
        self._written.append(talk)

    def _write(self) -> None:
        written, self._written = self._written, []
        for talk in written:
            talk.flush()

    def enter(self, name: str, asking: Talk) -> Chat:
        """The model that a request names, for a caller who may ask it. Raises Forbidden, NotFound, Unavailable."""
        front = self.front
        gate, allowed = front.gate, None
        if gate is not None:
            try:
                allowed = gate.admit(asking, name)
            except NotFound:
                raise refusals.no_model(name) from None
            asking.caller = allowed.caller
        chat = self._found(name, allowed)
        if gate is not None and allowed is not None:
            gate.let_in(allowed, name)
        return chat

    def _found(self, name: str, allowed: Pass | None) -> Chat:
        try:
            return self.chats.resolve(name)
        except NotFound:
            catalog = self.front.pipeline.catalog
            if catalog.versions(name):
                raise refusals.no_model(
                    name, f"is a model of tensors and writes no text; call /v2/models/{name}/infer."
                ) from None
            if name in catalog.others:
                raise refusals.no_model(name, f"writes no text; call {catalog.others[name]}.") from None
            if name in catalog.loading:
                catalog.resolve(name)  # says so
            known = ", ".join(one.name for one in self.chats.all())
            why = f"does not exist; live models are: {known or 'none'}." if allowed is None else None
            raise (refusals.no_model(name) if why is None else refusals.no_model(name, why)) from None


class Talk(ABC):
    """``headers``: lower-case names. ``tells``: whether a refusal of the gate is the answer."""

    __slots__ = (
        "_answer",
        "_asked",
        "_begun",
        "_deadline",
        "_desk",
        "_left",
        "_over",
        "_pending",
        "_pulse",
        "_request_id",
        "_running",
        "_spoke",
        "_streams",
        "_waits",
        "_way",
        "arrived",
        "caller",
        "headers",
        "notes",
        "tells",
    )

    def __init__(self, desk: Desk, way: Way, headers: Mapping[bytes, bytes]) -> None:
        self._desk, self._way = desk, way
        self.headers = headers
        self.arrived = desk.front.pipeline.clock.now()
        self.caller: Caller | None = None
        self.notes = Notes()
        self.tells = True
        self._request_id = ""
        self._answer: Answer | None = None
        self._asked = self._begun = self._over = self._streams = self._waits = False
        self._running: list[Running] = []
        self._left = 0
        self._pending: list[bytes] = []
        self._spoke = 0.0
        self._pulse: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @abstractmethod
    def put(self, status: int, head: bytes, body: bytes) -> None:
        """The one answer, whole. ``head``: lines of HTTP, each ended by CRLF, without the length."""

    @abstractmethod
    def stream(self, head: bytes, data: bytes, last: bool) -> None:
        """More of a stream. ``head``: with the first of it, else empty."""

    @abstractmethod
    def certificate(self) -> Certificate | None: ...

    @property
    def route(self) -> str:
        return self._way.pattern

    @property
    def request_id(self) -> str:
        """The caller's own id where it can be echoed, else a fresh one."""
        if not self._request_id:
            self._request_id = request_id(self.headers.get(b"x-request-id"))
        return self._request_id

    # In.

    def submit(self, body: bytes) -> None:
        """The body is whole: ask for what it wants."""
        try:
            wish = self._way.read(body)
            chat = self._desk.enter(wish.model, self)
            self._streams = wish.streams
            self._ask(wish, chat, len(body))
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            self.refuse(error)

    def _ask(self, wish: Wish, chat: Chat, size: int) -> None:
        clock = self._desk.front.pipeline.clock
        identity = fresh_id() if b"x-request-id" in self.headers else self.request_id  # one id is enough
        plan = wish.plan(chat, identity, self._desk.seconds, self.caller)
        headers = self.headers
        given = headers.get(b"x-request-timeout-ms")
        seconds = chat.deadline if given is None else min(chat.deadline, timeout_ms(given.decode("latin-1")) / 1000)
        urgent = headers.get(b"x-request-priority")
        lane = STANDARD if urgent is None else lane_of(urgent.decode("latin-1"))
        facts = self.notes.facts
        facts["route"] = self._way.pattern
        if more := wish.facts:
            facts.update(more)
        if (parent := headers.get(b"traceparent")) is not None:
            facts["traceparent"] = parent.decode("latin-1")
        self._answer = plan.answer
        self._left = len(plan.prompts) * plan.n
        self._asked = True
        self._desk.front.pipeline.in_flight += 1  # a server that drains waits for it
        self._enter(plan, chat, identity, self.arrived + seconds, lane, size)
        if not self._over:
            self._wait(self.arrived + seconds - clock.now())

    def _enter(self, plan: Plan, chat: Chat, identity: str, deadline: float, lane: int, size: int) -> None:
        caller, sampling = self.caller, plan.sampling
        tenant = "" if caller is None else caller.tenant or caller.name
        many = self._left > 1
        for at in range(self._left):
            if many and (seed := plan.sampling.seed) is not None:
                further = at % plan.n  # else all choices would be the same
                sampling = replace(sampling, seed=seed + further if seed + further < 2**63 else seed - further)
            generation = Generation(
                f"{identity}-{at}" if many else identity,
                chat.name,
                plan.prompts[at // plan.n],
                sampling,
                plan.tools,
                plan.choose,
                plan.parallel,
                plan.format,
                deadline,
                tenant,
                lane,
            )
            ask = Ask(generation, self.arrived, self.request_id, caller, size, at == 0, -1, self._streams, self.notes)
            running = chat.enter(ask, partial(self._tell, at))
            if self._over:
                running.cancel()
                return
            self._running.append(running)

    def _wait(self, left: float) -> None:
        """It is not answered yet: mind the time."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(max(0.0, left), self._late)
        if self._streams:
            self._spoke = loop.time()
            self._pulse = loop.call_later(self._desk.beat, self._beat)

    # From the engine.

    def _tell(self, at: int, event: Event) -> None:
        answer = self._answer
        if self._over or answer is None:
            return
        try:
            if type(event) is Piece:
                self._say(answer.piece(at, event))
            elif type(event) is Ended:
                self._left -= 1
                self._say(answer.ended(at, event))
                if not self._left:
                    self._finish(answer)
            elif isinstance(event, FairleadError):
                self.refuse(event)
        except Exception as error:  # noqa: BLE001 - of ours: the engine is not to suffer from it
            self.refuse(error)

    def _say(self, data: bytes) -> None:
        if not data:
            return
        self._pending.append(data)
        if not self._waits:
            self._waits = True
            self._desk.soon(self)

    def flush(self) -> None:
        """Write what was told in this turn."""
        self._waits = False
        if self._pending and not self._over:
            self._write(b"", last=False)

    def _write(self, data: bytes, *, last: bool) -> None:
        pending = self._pending
        if data:
            pending.append(data)
        whole = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        head = b"" if self._begun else self._head(_STREAM)
        self._begun = True
        if self._pulse is not None:
            self._spoke = asyncio.get_running_loop().time()
        self.stream(head, whole, last)

    def _finish(self, answer: Answer) -> None:
        data = answer.close()
        self._leave()
        if self._streams:
            self._write(data, last=True)
        else:
            self.put(200, self._head(_JSON), data)

    # How it ends otherwise.

    def refuse(self, error: Exception) -> None:
        """Answer with an error: with a status, or inside the stream where that has begun."""
        if not isinstance(error, FairleadError):
            fields = {"route": self.route, "request_id": self.request_id}
            log.error("request failed", exc_info=error, extra={"fields": fields})
            error = FairleadError(f"the server failed; its log has the cause under request id {self.request_id}")
        if self._over:
            return
        if not self._asked:
            self._desk.front.sink.edge_error(self.route, error.code)
        answer = self._answer
        self._leave()
        if self._begun and answer is not None:
            self._write(answer.failed(error), last=True)
            return
        self._pending.clear()
        head = self._head(_JSON)
        for name, value in refusals.headers(error):
            head += b"%b: %b\r\n" % (name, value)
        self.put(refusals.status(error), head, refusals.document(error, self._way.prompt))

    def cancel(self) -> None:
        """The caller hung up."""
        self._pending.clear()
        self._leave()

    def _leave(self) -> None:
        """Nothing more of it: not from the engine, not to the caller."""
        if self._over:
            return
        self._over = True
        for timer in (self._deadline, self._pulse):
            if timer is not None:
                timer.cancel()
        self._deadline = self._pulse = None
        running, self._running = self._running, []
        for one in running:
            one.cancel()
        if self._asked:
            self._desk.front.pipeline.in_flight -= 1

    def _late(self) -> None:
        self._deadline = None
        self.refuse(DeadlineExceeded("the time of this request is over before its answer was whole"))

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._spoke + self._desk.beat - loop.time()
        if left <= 0.001:
            left = self._desk.beat
            self._write(_ALIVE, last=False)
        self._pulse = loop.call_later(left, self._beat)

    def _head(self, kind: bytes) -> bytes:
        notes = self.notes
        head = b"%bx-request-id: %b\r\n" % (kind, self.request_id.encode())
        for name, value in notes.headers.items():
            if "\n" not in value and "\r" not in value:  # a header never becomes two
                head += f"{name}: {value}\r\n".encode("latin-1", "replace")
        return head if notes.allowance is None else head + notes.allowance.lines()
