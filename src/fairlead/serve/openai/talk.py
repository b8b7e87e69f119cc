"""One request for text: from its body to the last byte of its answer, whichever way it came.

No task and no await: the engine's events are answered where they are told. What streams in one turn of the event loop
is written at once. Exactly one of answer, error and cancellation ends it, and with it everything that it asked for.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Final

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import Event, Running
from fairlead.contracts.errors import DeadlineExceeded, FairleadError
from fairlead.contracts.generation import Ended, Piece
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.front import request_id
from fairlead.serve.llm.ask import Ask, Notes
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai import asking, refusals
from fairlead.serve.openai.answers import Answer
from fairlead.serve.openai.desk import Desk, Way, Wish
from fairlead.serve.openai.watch import Watch

log = logging.getLogger("fairlead.serve")

_ALIVE: Final = b": keep-alive\n\n"
_JSON: Final = b"content-type: application/json\r\n"
_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Talk(ABC):
    """``headers``: lower-case names. ``tells``: a refusal of the gate is the answer.  ``again``: as ``Desk`` has it."""

    again = False
    __slots__ = (
        "_answer", "_asked", "_begun", "_desk", "_left", "_over", "_pending", "_request_id", "_running", "_streams",
        "_waits", "_watch", "_way", "arrived", "caller", "headers", "notes", "tells",
    )  # fmt: skip

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
        self._watch: Watch | None = None

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
            chat = self._desk.enter(wish.model, self, again=self.again)
            self._streams = wish.streams
            self._ask(wish, chat, len(body))
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            self.refuse(error)

    def _ask(self, wish: Wish, chat: Chat, size: int) -> None:
        clock = self._desk.front.pipeline.clock
        identity = fresh_id() if b"x-request-id" in self.headers else self.request_id  # one id is enough
        plan = wish.plan(chat, identity, self._desk.seconds, self.caller)
        seconds, lane = asking.time(self.headers, chat.deadline), asking.lane(self.headers)
        self._answer = plan.answer
        self._left = len(plan.prompts) * plan.n
        self.notes.facts.update(asking.facts(self._way.pattern, self._left > 1, wish.facts, self.headers))
        self._asked = True
        self._desk.front.pipeline.in_flight += 1  # a server that drains waits for it
        deadline = self.arrived + seconds
        first = Ask(
            asking.generation(plan, chat.name, identity, deadline, self.caller, lane),
            self.arrived,
            self.request_id,
            self.caller,
            size,
            streams=self._streams,
            notes=self.notes,
        )
        for at, ask in enumerate(asking.each(plan, first)):
            running = chat.enter(ask, partial(self._tell, at))
            if self._over:
                running.cancel()
                return
            self._running.append(running)
        beat = self._desk.beat if self._streams else 0.0
        self._watch = Watch(deadline - clock.now(), self._late, beat, self._alive)

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
                self._say(answer.ended(at, event, self.notes))
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
        if not self._pending or self._over:
            return
        try:
            self._write(b"", b"" if self._begun else self._head(_STREAM), last=False)
        except Exception as error:  # noqa: BLE001 - of ours: the other streams of this turn are not to suffer from it
            self.refuse(error)

    def _write(self, data: bytes, head: bytes = b"", *, last: bool) -> None:
        """``head``: of a stream that begins now."""
        pending = self._pending
        if data:
            pending.append(data)
        whole = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        self._begun = True
        if self._watch is not None:
            self._watch.spoke()
        self.stream(head, whole, last)

    def _finish(self, answer: Answer) -> None:
        data = answer.close()
        if self._streams:
            head = b"" if self._begun else self._head(_STREAM)
            self._leave()
            self._write(data, head, last=True)
        else:
            head = self._head(_JSON)
            self._leave()
            self.put(200, head, data)

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
        if self._watch is not None:
            self._watch.stop()
        running, self._running = self._running, []
        for one in running:
            one.cancel()
        if self._asked:
            self._desk.front.pipeline.in_flight -= 1

    def _late(self) -> None:
        self.refuse(DeadlineExceeded("the time of this request is over before its answer was whole"))

    def _alive(self) -> None:
        self._write(_ALIVE, b"" if self._begun else self._head(_STREAM), last=False)

    def _head(self, kind: bytes) -> bytes:
        notes = self.notes
        head = b"%bx-request-id: %b\r\n" % (kind, self.request_id.encode())
        if notes.headers:
            head += asking.lines(notes.headers)
        return head if notes.allowance is None else head + notes.allowance.lines()
