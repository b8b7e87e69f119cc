"""A Unix socket between the supervisor and one worker, on an event loop: whole messages, and descriptors with them."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from fairlead.serve.messages import Accepted, Listen, Message, Reader, frame

_CHUNK: Final = 65536
_DESCRIPTORS: Final = 16

PENDING: Final = 64 * 1024 * 1024
"""Bytes that may wait for a reader that does not read; with more the channel counts as broken."""


class Channel:
    """``received`` gets each message, with the connection that came with it; ``closed`` is called once, when the other
    side is gone; ``flowing`` when a channel that was ``full`` is not any more.
    """

    def __init__(
        self,
        link: socket.socket,
        kinds: Any,
        received: Callable[[Any, socket.socket | None], None],
        closed: Callable[[], None],
        flowing: Callable[[], None] = lambda: None,
    ) -> None:
        link.setblocking(False)
        self._link = link
        self._reader = Reader(kinds)
        self._received = received
        self._closed = closed
        self._flowing = flowing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[bytes, socket.socket | None]] = deque()
        self._pending = 0
        self._passed: deque[int | None] = deque()
        self.open = True

    @property
    def full(self) -> bool:
        """Whether the other side has not read what was sent."""
        return bool(self._waiting)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._link.fileno(), self._read)
        if self._waiting:
            loop.add_writer(self._link.fileno(), self._resume)

    def send(self, message: Message, passed: socket.socket | None = None) -> None:
        """Send, or keep until there is room. A descriptor that is kept is sent later: leave ``passed`` open."""
        if not self.open:
            return
        data = frame(message)
        self._waiting.append((data, passed))
        self._pending += len(data)
        if len(self._waiting) == 1:
            self._write()
            if self._waiting and self._loop is not None:
                self._loop.add_writer(self._link.fileno(), self._resume)
        if self._pending > PENDING:
            self._end()

    def finish(self, seconds: float) -> None:
        """Send what waits, for so long at most, and close."""
        ends = time.monotonic() + seconds
        while self.open and self._waiting and (left := ends - time.monotonic()) > 0:
            if select.select((), (self._link,), (), left)[1]:
                self._write()
        self.close()

    def close(self) -> None:
        """Close without telling ``closed``."""
        if not self.open:
            return
        self.open = False
        if self._loop is not None:
            self._loop.remove_reader(self._link.fileno())
            self._loop.remove_writer(self._link.fileno())
        self._waiting.clear()
        while self._passed:
            if (descriptor := self._passed.popleft()) is not None:
                os.close(descriptor)
        self._link.close()

    def _end(self) -> None:
        if self.open:
            self.close()
            self._closed()

    def _resume(self) -> None:
        self._write()
        if self.open and not self._waiting:
            assert self._loop is not None  # noqa: S101 - only a loop calls this
            self._loop.remove_writer(self._link.fileno())
            self._flowing()

    def _write(self) -> None:
        while self._waiting:
            data, passed = self._waiting[0]
            try:
                sent = socket.send_fds(self._link, [data], [passed.fileno()]) if passed else self._link.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return  # gone: reading tells, after what it still said
            self._pending -= sent
            if sent < len(data):
                self._waiting[0] = (data[sent:], None)
            else:
                self._waiting.popleft()

    def _read(self) -> None:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._link, _CHUNK, _DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end()
            return
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self._passed.append(descriptor)
        if flags & socket.MSG_CTRUNC:
            self._passed.append(None)  # no room for another open file: the connection did not come
        try:
            messages = self._reader.feed(data)
        except ValueError:
            messages, data = [], b""
        for message in messages:
            if not self.open:
                return
            self._received(message, self._connection() if type(message) in (Accepted, Listen) else None)
        if not data:
            self._end()

    def _connection(self) -> socket.socket | None:
        descriptor = self._passed.popleft() if self._passed else None
        return None if descriptor is None else socket.socket(fileno=descriptor)
