"""What a client may send on a connection, and what it is owed: who owes it too much lets it send no more."""

from __future__ import annotations

from typing import Final

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.incoming import Broken
from fairlead.serve.grpc.outgoing import Outgoing

WINDOW: Final = 8 << 20
"""Bytes that a client may send before it is told to go on."""
OWED: Final = 8 << 20
"""Bytes owed to a client above which it is not told so."""


class Credit:
    """``buffered``: bytes of messages that are not whole yet, of all streams."""

    def __init__(self, out: Outgoing) -> None:
        self._out = out
        self._left, self._eaten = WINDOW, 0
        self._owed = 0
        self.buffered = 0

    def spend(self, size: int) -> None:
        """The client has sent so much. Raises Broken where it had not been allowed to."""
        self._left -= size
        self._eaten += size
        if self._left < 0:
            raise Broken(frames.FLOW_CONTROL_ERROR, "more data than the window of the connection has")
        self._grant()

    def owes(self, more: int) -> None:
        """So many bytes more, or fewer, wait for the client: answers that it does not take, calls behind others."""
        self._owed += more
        if more < 0:
            self._grant()

    def _grant(self) -> None:
        if self._eaten >= WINDOW // 2 and self._owed <= OWED:
            self._out.write(frames.window_update(0, self._eaten))
            self._left += self._eaten
            self._eaten = 0
