"""What every bench needs: a server on one core, started, waited for, looked at and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SERVER_CORE, LOAD_CORE = 0, 1

Ask = Callable[[int], bool]
"""Whether the server on this port is ready."""


class NotReady(Exception):
    """A server that ended, or took too long, before it answered."""


@dataclass(frozen=True)
class Entry:
    """One server in a table: the command (the port comes last), its environment, and how it is spoken to.

    ``requests`` and ``reader``: which file of requests it gets, and which of ``bench.load.READERS`` reads its answers.
    """

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    requests: str = "v2"
    reader: str = "v2"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(command: list[str], core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)]), *command]


@contextmanager
def running(entry: Entry, ready: Ask, limit: float = 60.0, pin: bool = True) -> Iterator[tuple[int, int, float]]:
    """A server pinned to its core until the end of the block; gives port, pid and seconds until it was ready.

    ``pin`` False: it may use every core.
    """
    port = free_port()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **entry.env}
    began = time.perf_counter()
    command = [*entry.command, str(port)]
    command = pinned(command, SERVER_CORE) if pin else command
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    try:
        while not _is(ready, port):
            if process.poll() is not None:
                raise NotReady(f"{entry.command} ended with {process.returncode} before it was ready")
            if time.perf_counter() - began > limit:
                raise NotReady(f"{entry.command} was not ready after {limit:g} seconds")
            time.sleep(0.01)
        yield port, process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind: some servers leave workers


def _is(ready: Ask, port: int) -> bool:
    try:
        return ready(port)
    except (OSError, http.client.HTTPException):
        return False


def readyz(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    link.request("GET", "/readyz")
    return link.getresponse().status == 200


def answers(request: bytes) -> Ask:
    """Ready is who answers this request well; for servers that know no readiness."""

    def ask(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            link.sendall(request)
            return link.recv(65536).startswith(b"HTTP/1.1 200")

    return ask


def family(pid: int) -> list[int]:
    """The process and all below it, whichever of its threads started them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def memory_mb(pid: int) -> float:
    """Resident, of the process and all below it, where shared pages count once (PSS) when there are several."""
    pids = family(pid)
    name = "Rss:" if len(pids) == 1 else "Pss:"
    total = 0
    for one in pids:
        total += int(Path(f"/proc/{one}/smaps_rollup").read_text().partition(name)[2].split()[0])
    return total / 1024


def cpu_seconds(pid: int) -> float:
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def load(port: int, connections: int, folder: Path, entry: Entry, check: bool, *words: str) -> dict[str, float]:
    """What ``bench.load`` measured, on the other core; ``words``: its further arguments."""
    command = [
        sys.executable,
        "-m",
        "bench.load",
        str(port),
        str(connections),
        str(folder / f"{entry.requests}.requests"),
    ]
    command += ["--reader", entry.reader, *words]
    if check:
        command += ["--expected", str(folder / "expected.npy")]
    done = subprocess.run(pinned(command, LOAD_CORE), capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def save(name: str, found: object) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
