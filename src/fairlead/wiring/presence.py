"""Which server runs on a home: a lock that ends with its process, and a file that says where it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fairlead.contracts.errors import Busy
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.kit.files import held, write_whole

_TRIES, _PAUSE = 10, 0.02
"""``found`` holds the lock for an instant."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A ``fairlead up`` on this home. ``url``: empty until it is ready.  ``cert``: the certificate it answers with."""

    pid: int
    spec: str
    url: str = ""
    cert: str = ""
    since_ms: int = 0


@contextmanager
def claimed(home: Home, spec: str, cert: str = "") -> Iterator[Callable[[str], None]]:
    """Be the one server of this home until the block ends; gives what tells its URL once it is ready.

    Raises Busy when another runs.
    """
    told = Presence(os.getpid(), spec, cert=cert, since_ms=SystemClock.wall_ms())
    for _ in range(_TRIES):
        with held(_lock(home)) as alone:
            if alone:
                _write(home, told)
                try:
                    yield lambda url: _write(home, replace(told, url=url))
                finally:
                    _file(home).unlink(missing_ok=True)
                return
        time.sleep(_PAUSE)
    other = _read(home)
    who = f"process {other.pid}, {other.url or 'not ready yet'}, {other.spec}" if other else "another process"
    raise Busy(f"a server runs on {home.root} already ({who}); stop it, or give this one another --home")


def found(home: Home) -> Presence | None:
    """The server that runs on this home; None when there is none, also when one died without a word."""
    if not _file(home).exists():
        return None
    with held(_lock(home)) as alone:
        return None if alone else _read(home)


def _write(home: Home, told: Presence) -> None:
    write_whole(_file(home), msgspec.json.encode(told))


def _read(home: Home) -> Presence | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(_file(home).read_bytes(), type=Presence)
    return None


def _file(home: Home) -> Path:
    return home.root / "up.json"


def _lock(home: Home) -> Path:
    return home.root / "up.lock"
