"""Retrainings as processes of their own, one of an endpoint at a time: what a cron job would run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Command = Callable[[str, str], Sequence[str]]
"""The words that run the request of an endpoint."""

GRACE_SECONDS = 3.0
"""For all together: less than what the server gives the controller."""
_log = logging.getLogger("fairlead.controller")


class Runs:
    """``folder``: where each run's output is kept, a file a request."""

    def __init__(self, command: Command, folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def start(self, endpoint: str, request: str) -> None:
        """Raises OSError when no process can be started."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{request}.log").open("ab") as output:
            words = list(self._command(endpoint, request))
            process = subprocess.Popen(  # noqa: S603 - our own command
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._running[endpoint] = (request, process)
        _log.info("retraining started", extra={"fields": {"endpoint": endpoint, "request": request}})

    def busy(self, endpoint: str) -> bool:
        return endpoint in self._running

    def collect(self) -> None:
        """Forget those that ended."""
        for endpoint, (request, process) in list(self._running.items()):
            if (code := process.poll()) is None:
                continue
            del self._running[endpoint]
            fields = {"endpoint": endpoint, "request": request, "exit": code}
            _log.log(logging.WARNING if code else logging.INFO, "retraining ended", extra={"fields": fields})

    def close(self) -> None:
        """Stop all that run; their requests say so."""
        for _, process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        ends = time.monotonic() + GRACE_SECONDS
        for _, process in self._running.values():
            try:
                process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with the workers that it started
                process.wait()
        self._running.clear()
