"""What goes out on a connection: one write for each turn of the loop, within the connection's window."""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.incoming import LARGEST_FRAME, Broken


class Outgoing:
    """``transport``: None once the connection is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: Any = None
        self._loop = loop
        self._pieces: list[bytes] = []
        self._flushing = self._ended = False
        self._window = frames.DEFAULT_WINDOW
        self._largest = frames.SMALLEST_FRAME

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop, with all else that it brings. Nothing goes out behind the end."""
        if self._ended:
            return
        self._pieces.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        pieces, self._pieces = self._pieces, []
        if pieces and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(pieces))

    def grant(self, size: int) -> bool:
        """Whether so many bytes may go out in one frame now; then they count as sent."""
        if size > self._window or size > self._largest:
            return False
        self._window -= size
        return True

    def take(self, size: int) -> int:
        """How many of so many bytes may go out in one frame now; they count as sent."""
        granted = max(0, min(size, self._window, self._largest))
        self._window -= granted
        return granted

    def more(self, size: int) -> None:
        """The client takes so many bytes more. Raises Broken."""
        self._window += size
        if not size or self._window > frames.MOST_WINDOW:
            raise Broken(frames.FLOW_CONTROL_ERROR if size else frames.PROTOCOL_ERROR, "a window update out of range")

    def frame_size(self, largest: int) -> None:
        """The largest frame that the client takes. Raises Broken."""
        if not frames.SMALLEST_FRAME <= largest < 1 << 24:
            raise Broken(frames.PROTOCOL_ERROR, "a largest frame outside 2^14 to 2^24 - 1")
        self._largest = min(largest, LARGEST_FRAME)

    def close(self) -> None:
        """Say that nothing more comes; the client then closes, or ``look`` of the connection does."""
        if self.transport is None or self.transport.is_closing():
            return
        self.flush()
        self._ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()
