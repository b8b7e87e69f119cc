"""The process of an embedded engine, as the server sees it: started, told, listened to, ended. On the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.adapters.engines.openvino.frames import Cutter, framed
from fairlead.adapters.engines.openvino.messages import ToServer
from fairlead.kit.restarts import how_ended
from fairlead.kit.threads import apart

PARTING: Final = 5.0
"""Seconds from the end of the socket to the end of the process, a step may be under way; then it is killed."""

_HERE: Final = (
    sys.executable,
    "-P",
    "-m",
    "fairlead.adapters.engines.openvino.child",
)  # -P: no folder shadows a library
_BUFFER: Final = 1 << 20
_CHUNK: Final = 256 * 1024
_STDERR: Final = 2

Received = Callable[[ToServer], None]


class EngineProcess:
    """Made in any thread, for it blocks a little; all else on the loop. ``received``, ``ended`` are called there."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_started, theirs:
            until_started.callback(ours.close)
            for link in (ours, theirs):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._popen = subprocess.Popen(  # noqa: S603 - our own command line
                [*_HERE, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.PIPE,  # ends with this process, however that ends
                stdout=_STDERR,
                process_group=0,  # Ctrl-C is for the server
            )
            until_started.pop_all()
        self._link = ours
        self._cutter = Cutter(ToServer)
        self._unsent: deque[bytes] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received: Received = lambda _message: None
        self._ended: Callable[[], None] = lambda: None
        self._death = -1
        self.open = True

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ending(self) -> str:
        """How it ended, where that is known."""
        code = self._popen.returncode
        return "closed socket" if code is None else how_ended(code)

    def attach(self, loop: asyncio.AbstractEventLoop, received: Received, ended: Callable[[], None]) -> None:
        """Listen from now on."""
        self._loop, self._received, self._ended = loop, received, ended
        self._link.setblocking(False)
        loop.add_reader(self._link.fileno(), self._read)
        if hasattr(os, "pidfd_open"):
            self._death = os.pidfd_open(self.pid)
            loop.add_reader(self._death, self._died)

    def send(self, message: msgspec.Struct) -> None:
        """Never waits. Raises ValueError for a message that is too long; then nothing was sent."""
        data = framed(message)
        if not self.open:
            return
        self._unsent.append(data)
        if len(self._unsent) == 1 and not self._flush():
            assert self._loop is not None  # noqa: S101 - attach comes first
            self._loop.add_writer(self._link.fileno(), self._resume)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    def close(self) -> asyncio.Future[None] | None:
        """Let it go: it ends by itself after its step, and is killed when that takes too long.

        Done when it is buried; None where it was let go before.
        """
        if not self.open:
            return None
        self.open = False
        self._unsent.clear()
        assert self._loop is not None  # noqa: S101 - attach comes first
        self._loop.remove_reader(self._link.fileno())
        self._loop.remove_writer(self._link.fileno())
        if self._death >= 0:
            self._loop.remove_reader(self._death)
            os.close(self._death)
        self._link.close()
        return apart(self._loop, f"burial-{self.pid}", self._bury)

    def _bury(self) -> None:
        try:
            self._popen.wait(PARTING)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def _flush(self) -> bool:
        """Whether everything is sent."""
        while self._unsent:
            try:
                sent = self._link.send(self._unsent[0])
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:  # its end is told by reading
                self._unsent.clear()
                return True
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                return False
            self._unsent.popleft()
        return True

    def _resume(self) -> None:
        if self._flush():
            assert self._loop is not None  # noqa: S101 - only a loop calls this
            self._loop.remove_writer(self._link.fileno())

    def _read(self) -> bool:
        """What it said; False when there is nothing more."""
        try:
            data = self._link.recv(_CHUNK)
            messages = self._cutter.feed(data) if data else None
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, ValueError):  # ValueError: what it sends is no message
            messages = None
        if messages is None:
            self._silent()
            return False
        for message in messages:
            if self.open:
                self._received(message)
        return self.open

    def _silent(self) -> None:
        """It says nothing more: it ended, or is about to."""
        if not self.open:
            return
        self.kill()
        if self._death < 0:
            self._popen.wait()
            self._died()
        else:
            assert self._loop is not None  # noqa: S101 - only a loop reads
            self._loop.remove_reader(self._link.fileno())  # how it ended is known when it has

    def _died(self) -> None:
        while self.open and self._death >= 0 and self._read():  # what it said before
            pass
        if self.open:
            self._popen.poll()
            self.close()
            self._ended()
