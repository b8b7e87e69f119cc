"""One process that runs a model, as the server sees it: started, loaded, given a batch, listened to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import BrokenModel, Unavailable
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import Tensors
from fairlead.kit import memory
from fairlead.kit.restarts import how_ended
from fairlead.serve import messages as workers
from fairlead.serve.isolated.frames import Reader, Region, pack
from fairlead.serve.isolated.messages import Failed, Load, Loaded, Message, ToServer

PARTING: Final = 2.0
"""Seconds from the end of the socket to the end of the process; then it is killed."""

_HERE: Final = (sys.executable, "-P", "-m", "fairlead.serve.isolated.child")  # -P: no folder shadows a library
_BUFFER: Final = 1 << 20
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to run. ``rows``: most rows in a batch.  ``level``: of its log.

    ``start``: the beginning of its command line, and ``modules`` where it finds Python modules beside its own: those of
    an environment that is not this process's. Empty and None: the interpreter and the modules of this one.
    """

    endpoint: str
    version: str
    artefact: Artefact
    threads: int
    rows: int
    example: Tensors | None
    level: int
    providers: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    modules: tuple[str, ...] | None = None

    def message(self, name: str, *, measure: bool) -> Load:
        artefact = self.artefact
        return Load(
            endpoint=self.endpoint,
            name=name,
            format=artefact.format,
            path=None if artefact.path is None else str(Path(artefact.path).absolute()),
            target=artefact.target,
            signature=artefact.signature,
            details=plain(artefact.details),
            trusted=artefact.trusted,
            trusted_types=artefact.trusted_types,
            threads=self.threads,
            providers=self.providers,
            rows=self.rows if measure else 0,
            modules=[str(Path(entry).absolute()) for entry in (sys.path if self.modules is None else self.modules)],
            level=self.level,
        )


def plain(details: Any) -> dict[str, Any]:
    """Details as MessagePack can carry them: what else a YAML document holds, dates, becomes text."""
    return msgspec.to_builtins(dict(details), str_keys=True, builtin_types=(bytes,), enc_hook=str)  # type: ignore[no-any-return]


class Process:
    """``place``: which of the N it is.  ``received`` and ``ended`` are called on the event loop."""

    def __init__(self, order: Order, place: int) -> None:
        self.place = place
        self._order = order
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_started, theirs:
            until_started.callback(ours.close)
            for link in (ours, theirs):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            words = [*(order.start or _HERE), str(theirs.fileno())]
            self._popen = subprocess.Popen(  # noqa: S603 - our own command line
                words,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.PIPE,  # ends with this process, however that ends
                stdout=_STDERR,
                process_group=0,  # Ctrl-C is for the server
            )
            until_started.pop_all()
        self._link = ours
        self._reader = Reader(ToServer, copy=True)
        self._region = Region()
        self._unsent = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._death = -1
        self._received: Callable[[Message, Tensors], None] = lambda _message, _tensors: None
        self._ended: Callable[[], None] = lambda: None
        self.open = True

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def resident(self) -> int:
        """Bytes of memory that it has now; 0 where the system does not say."""
        return memory.resident(self.pid)

    def load(self, *, measure: bool) -> Loaded:
        """Wait until it answers. Blocks; raises the ModelError or MissingExtra that loading it here would raise."""
        name = f"{self._order.version}:{self.place}"
        data, passed = pack(self._order.message(name, measure=measure), self._order.example or {}, self._region)
        try:
            if passed >= 0:
                data = data[socket.send_fds(self._link, [data], [passed]) :]
            self._link.sendall(data)
            while (messages := self._reader.read(self._link)) is not None:
                for message, _ in messages:
                    if isinstance(message, Loaded):
                        return message
                    if isinstance(message, Failed):
                        raise workers.raised(workers.Failed(message.code, message.message))
        except OSError:  # it, or we, closed the socket
            pass
        if not self.open:
            raise Unavailable(f"{self._order.endpoint!r} is being unloaded", retry_after=1)
        self.kill()
        self._popen.wait()
        what = self._order.artefact.path or self._order.artefact.target
        raise BrokenModel(f"{what}: the process that loads it ended ({self.ending}); its last words are in the log")

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[Message, Tensors], None],
        ended: Callable[[], None],
    ) -> None:
        """Listen on the loop from now on."""
        self._loop, self._received, self._ended = loop, received, ended
        self._link.setblocking(False)
        loop.add_reader(self._link.fileno(), self._read)
        if hasattr(os, "pidfd_open"):  # a child of the model may hold the socket open: its end says too little
            self._death = os.pidfd_open(self.pid)
            loop.add_reader(self._death, self._died)

    def send(self, message: Message, tensors: Tensors) -> None:
        """Raises TypeError, ValueError or OverflowError for tensors that cannot cross; then nothing was sent."""
        data, passed = pack(message, tensors, self._region)
        try:
            sent = socket.send_fds(self._link, [data], [passed]) if passed >= 0 else self._link.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # its end is told by reading
            return
        if sent < len(data):
            assert self._loop is not None  # noqa: S101 - attach comes first
            self._unsent = data[sent:]
            self._loop.add_writer(self._link.fileno(), self._resume)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    @property
    def ending(self) -> str:
        """How it ended, where that is known."""
        code = self._popen.returncode
        return "closed socket" if code is None else how_ended(code)

    def close(self) -> None:
        """Let it go: it ends by itself when it has answered, and is killed when that takes too long."""
        if not self.open:
            return
        self.open = False
        if self._loop is not None:
            self._loop.remove_reader(self._link.fileno())
            self._loop.remove_writer(self._link.fileno())
        if self._death >= 0:
            assert self._loop is not None  # noqa: S101 - attach made both
            self._loop.remove_reader(self._death)
            os.close(self._death)
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it to load
        if self._loop is not None:
            self._link.close()
        self._region.close()
        self._reader.close()
        threading.Thread(target=self._bury, name=f"fairlead-burial-{self.pid}").start()

    def _bury(self) -> None:
        try:
            self._popen.wait(PARTING)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._link.close()

    def _resume(self) -> None:
        try:
            self._unsent = self._unsent[self._link.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent = b""
        if not self._unsent:
            assert self._loop is not None  # noqa: S101 - only a loop calls this
            self._loop.remove_writer(self._link.fileno())

    def _read(self) -> bool:
        """What it said; False when there is nothing more."""
        try:
            messages = self._reader.read(self._link)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, ValueError, msgspec.MsgspecError):
            messages = None
        if messages is None:
            self._silent()
            return False
        for message, tensors in messages:
            if self.open:
                self._received(message, tensors)
        return self.open

    def _silent(self) -> None:
        """It says nothing more: it ended, or closed what is not its own to close."""
        self.kill()
        if self._death < 0:
            self._died()
        elif self.open:
            assert self._loop is not None  # noqa: S101 - only a loop reads
            self._loop.remove_reader(self._link.fileno())  # how it ended is known when it has

    def _died(self) -> None:
        while self.open and self._death >= 0 and self._read():  # what it said before
            pass
        if self.open:
            self._popen.poll()
            self.close()
            self._ended()
