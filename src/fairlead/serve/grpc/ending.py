"""How a connection ends: the client is asked to go, what it had sent until it knew is answered, and then both close."""

from __future__ import annotations

from typing import Final

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.outgoing import Outgoing

LINGER: Final = 2.0
"""Seconds for a client to say that it knows it must go, and to close its side."""
_PING: Final = b"leaving!"
"""The ping behind the first GOAWAY: once it is answered, no stream that was opened before can still be on its way."""


class Ending:
    """``going``: no new stream is taken."""

    def __init__(self, out: Outgoing) -> None:
        self._out = out
        self.going = False
        self._asked = self._closed = 0.0

    def ask(self, now: float) -> None:
        """Ask the client to go, without a word on which of its streams is the last (RFC 9113, section 6.8)."""
        if not self.going and not self._asked:
            self._asked = now
            ping = frames.frame(frames.PING, 0, 0, _PING)
            self._out.write(frames.goaway(frames.MOST_WINDOW, frames.NO_ERROR) + ping)

    def answers(self, ping: bytes) -> bool:
        """Whether the client says by this that it knows."""
        return bool(self._asked) and ping == _PING

    def go(self, last: int, now: float, code: int = frames.NO_ERROR, why: str = "") -> None:
        """Say which stream was the last."""
        if not self.going or code:
            self.going = True
            self._out.write(frames.goaway(last, code, why.encode()))
        if code:
            self.close(now)

    def close(self, now: float) -> None:
        """Say that nothing more comes."""
        if not self._closed:
            self._closed = now
            self._out.close()

    @property
    def closed(self) -> bool:
        """Whether what still comes is not read."""
        return bool(self._closed)

    def overdue(self, now: float) -> bool:
        """Whether the client did not close its side."""
        return bool(self._closed) and now - self._closed > LINGER

    def unheard(self, now: float) -> bool:
        """Whether the client did not answer the question to go."""
        return bool(self._asked) and not self.going and now - self._asked > LINGER
