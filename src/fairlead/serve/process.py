"""One worker process as its supervisor sees it: how it is started, what it was given, how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from fairlead.kit.restarts import Restarts, how_ended
from fairlead.serve.channel import Channel
from fairlead.serve.messages import Accepted, Drain, Failed, ToSupervisor

UNTAKEN: Final = 64
"""Connections that may be on their way to a worker; with more it gets none until it takes some."""

BURIAL: Final = 2.0
"""Seconds from the end of a worker's channel to the end of its process; then it is killed."""

Command = Callable[[str, int], Sequence[str]]
"""The command line of a worker, from its place's name and the descriptor of its socket."""


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class Guest(NamedTuple):
    """A connection that was accepted, and the address that it came from."""

    connection: socket.socket
    address: str


class Process:
    """``place``: which of the N it is.  ``number``: its own over the supervisor's life.  ``failure``: what it told
    before it gave up.  ``settled``: it is ready, or it ended before.  ``over``: it has ended.
    """

    def __init__(
        self,
        place: int,
        number: int,
        command: Command,
        received: Callable[[Process, Any], None],
        silent: Callable[[Process], None],
        flowing: Callable[[], None],
    ) -> None:
        self.place = place
        self.number = number
        self.state = State.STARTING
        self.was_ready = False
        self.failure: Failed | None = None
        self.settled, self.over = asyncio.Event(), asyncio.Event()
        self._untaken: dict[int, Guest] = {}
        self._given = 0
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_started, theirs:
            until_started.callback(ours.close)
            self._popen = subprocess.Popen(  # noqa: S603 - our own command line
                command(self.name, theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the supervisor, which lets the workers drain
            )
            until_started.pop_all()
        self.channel = Channel(
            ours,
            ToSupervisor,
            lambda message, _: received(self, message),
            lambda: silent(self),
            flowing,
        )
        self.channel.start(asyncio.get_running_loop())

    @property
    def name(self) -> str:
        return str(self.place)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def busy(self) -> bool:
        """Whether it has not taken what it was given."""
        return self.channel.full or len(self._untaken) >= UNTAKEN

    def give(self, guest: Guest) -> None:
        """Hand a connection over; it is kept here too, until the worker says that it has it."""
        self._given += 1
        self._untaken[self._given] = guest
        self.channel.send(Accepted(self._given, guest.address), guest.connection)

    def taken(self, number: int) -> None:
        guest = self._untaken.pop(number, None)
        if guest is not None:
            guest.connection.close()

    def missed(self, number: int) -> Guest | None:
        """A connection that did not reach the worker."""
        return self._untaken.pop(number, None)

    def untaken(self) -> list[Guest]:
        """What it was given and never had: nobody has read a byte of these."""
        left, self._untaken = list(self._untaken.values()), {}
        return left

    def drain(self, lull: float) -> None:
        self.state = State.LEAVING
        self.channel.send(Drain(lull))

    def kill(self) -> None:
        if self._popen.returncode is None:
            self._popen.kill()

    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._popen.poll() is not None

    def lost(self) -> bool:
        """Whether the process ended and its channel did not; ends the channel."""
        lost = self.channel.open and self.ended()
        if lost:
            self.channel.close()
        return lost

    async def buried(self) -> str:
        """Wait for the end of a process whose channel ended; how it ended."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + BURIAL
        while not self.ended():
            if loop.time() > ends:
                self.kill()
            await asyncio.sleep(0.005)
        return how_ended(self._popen.returncode)


@dataclass(slots=True)
class Place:
    """One of the N. ``worker``: who answers.  ``coming``: who is being started to."""

    index: int
    restarts: Restarts
    worker: Process | None = None
    coming: Process | None = None
