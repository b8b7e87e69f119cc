"""One answer of another server: asked for, read as it comes, told in our words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from fairlead.adapters.engines.served import refusals
from fairlead.adapters.engines.served.asking import talks
from fairlead.adapters.engines.served.due import Due
from fairlead.adapters.engines.served.link import Garbled, Link
from fairlead.adapters.engines.served.links import Links
from fairlead.adapters.engines.served.saying import UNREADABLE, Chunk, Saying, Used, chunk_of, reason_of, usage_of
from fairlead.adapters.engines.served.sse import Events
from fairlead.contracts.engine import Tell
from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.generation import Begun, Ended, Generation, Message, Usage

_DONE: Final = b"[DONE]"
_GRACE: Final = 2.0
"""Seconds that usage and the end of the stream may come after the last piece."""


@dataclass(frozen=True, slots=True)
class Patience:
    """``first``: seconds to the first event of an answer.  ``between``: from each to the next.

    ``largest``: bytes of a whole answer.
    """

    first: float
    between: float
    largest: int


class Keeper(Protocol):
    """Who has the answers of one server."""

    links: Links

    @property
    def patience(self) -> Patience: ...

    def request(self, asked: Generation) -> bytes:
        """The whole request. Raises FairleadError."""

    def whom(self) -> refusals.Whom: ...

    def gone(self, answer: Answer) -> None:
        """It is over."""

    def well(self) -> None:
        """The server answers."""

    def ill(self, error: FairleadError) -> None:
        """It does not."""

    def uncounted(self) -> None:
        """It did not say how many tokens an answer took."""


class Answer:
    """The ``Running`` of one question, and the ``Listener`` of its connection."""

    def __init__(self, keeper: Keeper, asked: Generation, tell: Tell) -> None:
        self._keeper, self._asked = keeper, asked
        self._tell: Tell | None = tell
        self._link: Link | None = None
        self._due = Due(self._late)
        self._status = 0
        self._wait: float | None = None
        self._held: list[bytes] | None = None  # of an answer that is no stream
        self._size = 0
        self._events = Events()
        self._saying = Saying(f"call_{asked.id}_")
        self._used: Used | None = None
        self._reason = ""
        self._begun = self._repeated = False

    @property
    def sent(self) -> bool:
        """Whether the server has it."""
        return self._link is not None

    def begin(self) -> None:
        """Ask for it."""
        self._keeper.links.want(self)

    def cancel(self) -> None:
        if self._tell is not None:
            self._tell = None
            self._part(hang_up=True)

    def fail(self, error: FairleadError) -> None:
        """The end of it."""
        tell, self._tell = self._tell, None
        if tell is not None:
            self._part(hang_up=True)
            tell(error)

    # From the connection.

    def take(self, link: Link) -> None:
        try:
            request = self._keeper.request(self._asked)
        except FairleadError as error:
            self._link = link
            self.fail(error)
            return
        self._link = link
        self._due.within(self._keeper.patience.first)
        link.send(self, request)

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        self._wait = refusals.later(headers)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Garbled("it compresses its answer, and was not asked to")
        if status != 200 or b"json" in headers.get(b"content-type", b"").lower():
            self._held = []

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._status != 200 and self._size > refusals.LARGEST:
            self._refuse()  # longer than anybody reads: what came of it says enough
            return
        if self._size > self._keeper.patience.largest:
            raise Garbled(f"its answer has more than {self._keeper.patience.largest} bytes")
        if self._held is not None:
            self._held.append(data)
            return
        for event in self._events.feed(data):
            self._hear(event)
            if self._tell is None:
                return

    def complete(self) -> None:
        self._link = None
        if self._status != 200:
            self._refuse()
            return
        try:
            for event in [b"".join(self._held)] if self._held is not None else self._events.rest():
                self._hear(event)
        except Garbled as error:
            self.lost(str(error))
            return
        self.lost("its stream ended before the answer did")

    def lost(self, why: str, *, again: bool = False) -> None:
        self._link = None
        if self._tell is None:
            return
        if self._reason:
            self._finish()
        elif again and not self._repeated:
            self._repeated = True
            self.begin()
        else:
            self._refused(refusals.broken(why, self._keeper.whom(), said=self._saying.said))

    # What it says.

    def _hear(self, event: bytes) -> None:
        """One event of the stream."""
        if self._tell is None:
            return
        if event == _DONE:
            self._reason = self._reason or "stop"
            self._finish()
            return
        try:
            chunk = chunk_of(event)
        except UNREADABLE as error:
            raise Garbled(f"an event of its stream is none of this API: {str(error)[:100]}") from None
        if chunk.failed:
            self._broke(event)
            return
        self._due.within(self._keeper.patience.between)
        if not self._begun:
            self._begin(chunk)
        self._told(chunk)

    def _begin(self, chunk: Chunk) -> None:
        self._begun = True
        self._keeper.well()
        known = None if chunk.usage is None else usage_of(chunk.usage)
        if self._tell is not None:
            self._tell(Begun(Usage() if known is None else Usage(known.input, known.cached)))

    def _told(self, chunk: Chunk) -> None:
        used = chunk.usage
        if used is not None:
            self._used = used
        for choice in chunk.choices or ():
            if choice.index:  # one answer was asked for
                continue
            piece = self._saying.piece(choice, used)
            if self._tell is not None and piece is not None:
                self._tell(piece)
            if choice.finish_reason and self._tell is not None:
                self._reason = choice.finish_reason
                self._due.soon(_GRACE)  # what comes now is only the end
        if self._reason and (self._held is not None or (used is not None and not chunk.choices)):
            self._finish()

    def _finish(self) -> None:
        tell, self._tell = self._tell, None
        if tell is None:
            return
        self._part(hang_up=False)
        reason = reason_of(self._reason, called=self._saying.called)
        usage = None if self._used is None else usage_of(self._used)
        if reason is None:
            tell(refusals.broken(f"it gave up ({self._reason})", self._keeper.whom(), said=self._saying.said))
        elif usage is not None:
            tell(Ended(reason, usage))
        else:
            self._keeper.uncounted()
            tell(Ended(reason, Usage(input=estimate(self._asked), output=self._saying.tokens), exact=False))

    def _broke(self, event: bytes) -> None:
        """A failure inside the stream."""
        refusal, whom = refusals.read(event), self._keeper.whom()
        if self._saying.said:
            self._refused(refusals.broken(whom.hide(refusal.message[:300]), whom, said=True))
        else:
            self._refused(refusals.meaning(refusals.status_in(refusal), refusal, self._wait, whom))

    def _refused(self, error: FairleadError) -> None:
        if isinstance(error, Unavailable):
            self._keeper.ill(error)
        else:
            self._keeper.well()
        self.fail(error)

    def _refuse(self) -> None:
        refusal = refusals.read(b"".join(self._held or ()))
        self._refused(refusals.meaning(self._status, refusal, self._wait, self._keeper.whom()))

    # Its end.

    def _late(self) -> None:
        patience = self._keeper.patience
        seconds = patience.between if self._begun else patience.first
        link = self._link
        self.lost(f"nothing came for {seconds:g} seconds")
        if link is not None:
            link.close()

    def _part(self, *, hang_up: bool) -> None:
        self._due.over()
        link, self._link = self._link, None
        if link is None:
            self._keeper.links.forget(self)
        elif hang_up:
            link.close()
        else:
            link.leave()
        self._keeper.gone(self)


def estimate(asked: Generation) -> int:
    """About how many tokens a prompt has: four bytes are one, and four more for each message."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return len(prompt.encode("utf-8", "replace")) // 4 + 1
    if not talks(asked):
        return len(prompt)
    found = sum(len(one.content.encode("utf-8", "replace")) // 4 + 5 for one in prompt if isinstance(one, Message))
    return found + sum(len(f"{tool.name}{tool.description}{tool.parameters}") // 4 + 8 for tool in asked.tools)
