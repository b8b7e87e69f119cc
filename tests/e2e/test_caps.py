"""Connection caps with several workers: the supervisor counts, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from crowd import WHO, Caller, until


def refused(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link, suppress(ConnectionError):
        return link.recv(65536)
    return b""


def admitted(port: int, count: int) -> Callable[[], bool]:
    """Whether so many may be open at once."""

    def look() -> bool:
        with ExitStack() as stack:
            try:
                for _ in range(count):
                    caller = Caller(port)
                    stack.callback(caller.close)
                    caller.ask()
            except (OSError, AssertionError):
                return False
            return True

    return look


def test_the_supervisor_counts_for_all_workers_also_when_one_is_killed(start, tmp_path: Path) -> None:
    (tmp_path / "who.py").write_text(WHO)
    server = start("serve", "who=who:Who", "--port", "0", "--workers", "2", "--max-connections", "4")
    port = int(server.url().rpartition(":")[2])
    callers = [Caller(port) for _ in range(4)]
    assert len({caller.ask() for caller in callers}) == 2
    assert b" 503 " in refused(port)
    assert b"max_connections" in refused(port)
    assert all(caller.ask() for caller in callers)
    os.kill(callers[0].pid, signal.SIGKILL)
    until(lambda: sum(event["event"] == "worker started" for event in server.events) == 3, "a new worker")
    for caller in callers:
        caller.close()
    until(admitted(port, 4), "room for four again", 20)
    for _ in range(40):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
    until(admitted(port, 4), "room for four again, after many that went at once", 20)
    assert server.stop() == 0


def test_an_address_with_several_workers(start, tmp_path: Path) -> None:
    (tmp_path / "who.py").write_text(WHO)
    server = start("serve", "who=who:Who", "--port", "0", "--workers", "2", "--max-connections-per-address", "2")
    port = int(server.url().rpartition(":")[2])
    callers = [Caller(port) for _ in range(2)]
    assert [bool(caller.ask()) for caller in callers] == [True, True]
    assert b"max_connections_per_address" in refused(port)
    for caller in callers:
        caller.close()
    until(admitted(port, 2), "room for two again", 20)
