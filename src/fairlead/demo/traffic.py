"""Live traffic for the demo: held-out rows, one a call, every answer checked.

Runs as a process of its own (``python -m fairlead.demo.traffic``): callers and server share no interpreter, and the
latencies are those that a user would see.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fairlead.contracts.errors import FairleadError

CALLERS = 2
PATIENCE = 25
"""Failures to connect in a row after which a caller gives up: the server is gone, with or without its demo."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``bodies``: one JSON request each.  ``expected``: the prediction that each must be answered with."""

    url: str
    path: str
    bodies: list[str]
    expected: list[Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Latencies in milliseconds by nearest rank. ``wrong``: answers that were not what the original model gives."""

    calls: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    wrong: int
    errors: int
    first_error: str = ""

    @property
    def problem(self) -> str:
        """Why the traffic does not speak for the server; empty when every call was answered as it should be."""
        if self.wrong:
            return f"{self.wrong} of {self.calls} live answers are not what the original model says"
        if self.errors or not self.calls:
            return (
                f"{self.errors} live calls failed and {self.calls} were answered; the first failure: {self.first_error}"
            )
        return ""

    @property
    def per_second(self) -> float:
        return self.calls / self.seconds


@dataclass(slots=True)
class _Tally:
    lock: threading.Lock = field(default_factory=threading.Lock)
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)


def send(plan: Plan, scratch: Path) -> Measured:
    """Send the traffic from another process and bring back what it saw. Raises FairleadError when it fails."""
    file = scratch / "traffic.json"
    file.write_text(json.dumps(asdict(plan)))
    command = [sys.executable, "-m", "fairlead.demo.traffic", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if ran.returncode:
        raise FairleadError(f"the traffic could not be sent: {(ran.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return Measured(**json.loads(ran.stdout))


def call(plan: Plan) -> Measured:
    """Send the traffic from this process."""
    turns = itertools.count()
    tally = _Tally()
    began = time.perf_counter()
    threads = [
        threading.Thread(target=_caller, args=(plan, turns, tally, began + plan.seconds)) for _ in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    ordered = sorted(tally.latencies)
    p50, p95, p99 = (1000 * nearest_rank(ordered, share) for share in (0.50, 0.95, 0.99))
    first = tally.errors[0] if tally.errors else ""
    return Measured(len(ordered), taken, p50, p95, p99, tally.wrong, len(tally.errors), first)


def nearest_rank(ordered: list[float], share: float) -> float:
    """The smallest value with at least ``share`` of the values at or below it; NaN when there is none."""
    return ordered[max(1, math.ceil(share * len(ordered))) - 1] if ordered else math.nan


def _caller(plan: Plan, turns: itertools.count[int], tally: _Tally, ends: float) -> None:
    where = urlsplit(plan.url)
    link = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=30)
    headers = {"content-type": "application/json"}
    lost = 0
    while lost < PATIENCE and (start := time.perf_counter()) < ends:
        at = next(turns) % len(plan.bodies)
        try:
            link.request("POST", plan.path, plan.bodies[at].encode(), headers)  # a str would go out as Latin-1
            response = link.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            link.close()
            with tally.lock:
                tally.errors.append(f"{type(error).__name__}: {error}")
            lost += 1
            time.sleep(0.02)
            continue
        lost = 0
        taken = time.perf_counter() - start
        with tally.lock:
            if response.status != http.client.OK:
                tally.errors.append(text.decode(errors="replace"))
                continue
            tally.latencies.append(taken)
            tally.wrong += not _same(json.loads(text)["predictions"][0], plan.expected[at])
    link.close()


def _same(given: Any, wanted: Any) -> bool:
    """Equal labels; numbers within float32 of each other."""
    if isinstance(given, dict):
        given = given.get("label", given.get("prediction"))
    if isinstance(wanted, float):
        return isinstance(given, float | int) and math.isclose(given, wanted, rel_tol=1e-4, abs_tol=1e-4)
    return bool(given == wanted)


if __name__ == "__main__":
    print(json.dumps(asdict(call(Plan(**json.loads(Path(sys.argv[1]).read_text()))))))
