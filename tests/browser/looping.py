"""``fairlead demo --loop`` as a process that goes on serving, for those who look at it meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.browser.seen import FAIRLEAD, environ

NAME = "churn"
"""Of its endpoint."""


@dataclass
class Story:
    """The demo as a process. ``folder``: of the test; the home of the loop is in it."""

    url: str
    folder: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "demo-loop"

    def follow(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def told(self, seconds: float = 600.0) -> dict[str, Any]:
        """The one document of ``--json``."""
        self.until(lambda: self.said[-1:] == ["}\n"], seconds)
        found: dict[str, Any] = json.loads("".join(self.said))
        return found

    def until(self, what: Callable[[], object], seconds: float = 300.0) -> Any:
        """What it gives, once it gives something."""
        ends = time.monotonic() + seconds
        while not (found := what()):
            log = (self.folder / "said").read_text()
            assert self.process.poll() is None, f"the demo ended:\n{log}"
            assert time.monotonic() < ends, f"it did not come about:\n{log}"
            time.sleep(0.1)
        return found

    def twin(self, path: str) -> Any:
        """Of a page; None while the server is not there, or what it reads takes too long."""
        try:
            reply = httpx.get(f"{self.url}{path}.json", timeout=30)
        except httpx.TransportError:
            return None
        return reply.json() if reply.status_code == 200 else None

    def run(self, *words: str) -> str:
        command = [*FAIRLEAD, *words, "--home", str(self.home)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environ()).stdout

    def rollouts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("rollout", "list", "--json"))
        return found


@contextmanager
def looping(folder: Path) -> Iterator[Story]:
    """``folder``: empty."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*FAIRLEAD, "demo", "--loop", "--json", "--port", str(port), "--home", str(folder)]
    with (
        (folder / "said").open("w") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=environ()) as process,
    ):
        told = Story(f"http://127.0.0.1:{port}", folder, process)
        reading = threading.Thread(target=told.follow)
        reading.start()
        try:
            yield told
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            reading.join()
