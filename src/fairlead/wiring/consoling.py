"""The console's process beside a server: started at the first visit, once for all workers, ended with the server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import MissingExtra, Unavailable
from fairlead.contracts.ledger import Budget
from fairlead.kit import plugins
from fairlead.kit.clock import Clock
from fairlead.kit.codec.json import encode
from fairlead.kit.config import Home
from fairlead.kit.files import held
from fairlead.kit.restarts import Restarts, how_ended

_log = logging.getLogger("fairlead.console")

STARTS_SECONDS: Final = 20.0
"""Until a console that was started answers."""
_GRACE: Final = 3.0
_LOOK: Final = 0.05
_LONGEST: Final = 100
"""Bytes of the path of a Unix socket: the system takes 107."""
_NEEDED: Final = ("jinja2", "sqlalchemy", "alembic")
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the process is told, on its standard input: its command line can be seen by everybody.

    ``server``: where models are tried.  ``asks``: whether visitors must show a key.  ``cert``: of the server.
    ``chats``, ``budgets``, ``audit_key``: as ``wiring.console.kept.Kept`` has them.
    """

    root: str
    tracking: str
    state: str
    user: str
    events: str
    names: tuple[str, ...] = ()
    server: str = ""
    asks: bool = False
    cert: str = ""
    chats: bool = False
    budgets: tuple[Budget, ...] = ()
    audit_key: str = ""


def wanted(
    home: Home,
    names: tuple[str, ...],
    asks: bool,
    cert: str = "",
    chats: bool = False,
    budgets: Sequence[Budget] = (),
    audit_key: str = "",
) -> Wanted:
    """What the console of a server on this home is told; where the server is, is known later."""
    place = (str(home.root), home.tracking, home.state, home.user, home.events)
    return Wanted(*place, names, "", asks, cert, chats, tuple(budgets), audit_key)


class ConsoleProcess:
    """``Consoles`` of a server, and a companion of it. One of several workers has the process, the others find it.

    ``told``: what its process is told, but where the server is.
    """

    def __init__(self, home: Home, clock: Clock, told: Wanted) -> None:
        self._home, self._told = home, told
        self._path = socket_path(home)
        self._restarts = Restarts(clock)
        self._clock = clock
        self._again = 0.0
        self._process: Process | None = None
        self._lock = contextlib.ExitStack()
        self._starting = asyncio.Lock()
        self._draining = False

    async def reached(self, scheme: str, host: str, port: int) -> str:
        if not plugins.installed(*_NEEDED):
            raise MissingExtra("the console needs more than a server does: pip install 'fairlead[console]'")
        make_room(self._path)
        if await self._answers():
            return self._path
        async with self._starting:
            ends = self._clock.now() + STARTS_SECONDS
            while not await self._answers():
                if self._clock.now() > ends:
                    raise Unavailable("the console does not answer yet", retry_after=2)
                await self._keep(scheme, host, port)
                await asyncio.sleep(_LOOK)
        return self._path

    async def _keep(self, scheme: str, host: str, port: int) -> None:
        """Start it where nobody has, or where ours has ended."""
        if self._draining:
            raise Unavailable("the server is about to end")
        if self._process is not None:
            if self._process.returncode is None:
                return
            delay = self._restarts.crashed()
            self._again = self._clock.now() + delay
            fields = {"how": how_ended(self._process.returncode), "crashes": self._restarts.crashes, "again_in": delay}
            _log.error("console ended", extra={"fields": fields})
            self._process = None
            self._lock.close()
        if self._clock.now() < self._again:
            raise Unavailable("the console ended by itself and is started again soon", retry_after=2)
        if not self._lock.enter_context(held(self._home.root / "console.lock")):
            self._lock.close()  # another worker has it
            return
        await self._start(scheme, host, port)

    async def _start(self, scheme: str, host: str, port: int) -> None:
        place = f"[{host}]" if ":" in host else host
        told = replace(self._told, server=f"{scheme}://{place}:{port}")
        words = [sys.executable, "-P", "-m", "fairlead", "console", "--socket", self._path]
        self._process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=_STDERR, start_new_session=True
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(encode(told) + b"\n")
        self._restarts.ready()
        _log.info("console started", extra={"fields": {"pid": self._process.pid}})

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False
        writer.close()
        return True

    # A companion of the server.

    def start(self) -> None:
        """Nothing before somebody visits."""

    def drain(self) -> None:
        """Its streams would keep the server waiting."""
        self._draining = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        self.drain()
        process = self._process
        if process is not None and process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), _GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()
        if process is not None:
            _remove(self._path)
        self._lock.close()

    def troubles(self) -> list[str]:
        return []


def make_room(path: str) -> None:
    """Its folder. Raises Unavailable for one outside the home that others made first: they would see every key."""
    folder = Path(path).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.parent != Path(tempfile.gettempdir()) or folder.name != f"fairlead-{os.getuid()}":
        return
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Unavailable(f"{folder} is open to others than this user, so the console is not started; remove it")


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def socket_path(home: Home) -> str:
    """In the home; where that is too long for a socket, in a folder of the user's own."""
    inside = str(home.root / "console.sock")
    if len(os.fsencode(inside)) <= _LONGEST:
        return inside
    mark = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"fairlead-{os.getuid()}" / f"{mark}.sock")
