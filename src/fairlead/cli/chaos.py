"""``fairlead chaos``: faults on purpose, for as long as the command runs."""

from __future__ import annotations

import re
import secrets
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Self

import httpx
import typer

from fairlead.cli.output import AsJson, HomeOption, emit
from fairlead.cli.where import home_of
from fairlead.client import refusal
from fairlead.contracts.errors import NotFound, Unavailable, UsageError
from fairlead.kit.config import api_key
from fairlead.kit.spec.part import seconds
from fairlead.serve.chaos.faults import FORMS, parsed
from fairlead.wiring import presence

LEASE: Final = 4.0
"""Seconds for which faults outlive a command that was killed."""
RENEW: Final = 1.0
"""Seconds between two words that it still runs."""
_COUNT: Final = re.compile(r'^fairlead_injected_faults_total\{endpoint="([^"]*)",kind="([^"]*)"\} (\S+)$', re.MULTILINE)


def chaos(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint that gets the faults.")],
    inject: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help=f"Again for more: {FORMS}. A share is of batches.")
    ] = None,
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="For how long, as 30s; without it until Ctrl-C.")
    ] = "",
    stop: Annotated[bool, typer.Option("--stop", help="End what another command injects.")] = False,
    seed: Annotated[int, typer.Option(help="Which batches are hit: the same seed, the same ones.")] = 0,
    url: Annotated[str, typer.Option(help="Address of the server.", show_default="that of this home")] = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Inject faults into an endpoint of a server that was started with --chaos. They end with this command."""
    if stop == bool(inject):
        raise UsageError("give --inject FAULT, one or more, or --stop")
    limit = _seconds(lasting)
    with _Server(*_address(url, home), endpoint) as server:
        if stop:
            server.calm()
            emit({"endpoint": endpoint, "stopped": True}, f"{endpoint}: nothing is injected any more", as_json)
            return
        faults = list(inject or ())
        parsed(faults)
        began, before = time.monotonic(), server.counts()
        with _interrupted() as enough:
            ended = server.hold(faults, seed, began + limit, enough)
        lasted = time.monotonic() - began
        calls = dict(server.counts() - before)
    told = (
        ", ".join(f"{kind} {count:,}" for kind, count in sorted(calls.items())) or "none: no call came, or none was hit"
    )
    emit(
        {
            "endpoint": endpoint,
            "inject": faults,
            "seed": seed,
            "seconds": round(lasted, 1),
            "ended": ended,
            "calls": calls,
        },
        f"{endpoint}: {ended} after {lasted:.1f} s; calls with a fault: {told}",
        as_json,
    )


class _Server:
    """The server that is asked. ``trust``: a certificate to trust, empty for those of the system."""

    def __init__(self, url: str, trust: str, endpoint: str) -> None:
        verify = ssl.create_default_context(cafile=trust) if trust else True
        headers = {"authorization": f"Bearer {key}"} if (key := api_key()) else {}
        self._http = httpx.Client(base_url=url, timeout=10.0, verify=verify, headers=headers)
        self._path = f"/chaos/{endpoint}"
        self._url, self._endpoint = url, endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def hold(self, faults: list[str], seed: int, ends: float, enough: threading.Event) -> str:
        """Inject until the end, or until somebody says so; how it ended."""
        asked = {"id": secrets.token_hex(8), "inject": faults, "seed": seed}
        self._ask("POST", {**asked, "seconds": min(LEASE, max(0.05, ends - time.monotonic()))})
        try:
            while not enough.is_set() and time.monotonic() < ends:
                enough.wait(min(RENEW, max(0.0, ends - time.monotonic())))
                left = ends - time.monotonic()
                if left > 0 and not enough.is_set():
                    self._ask("POST", {**asked, "seconds": min(LEASE, left), "again": True})
        except NotFound:
            return "stopped by another command"
        self._ask("DELETE")
        return "interrupted" if enough.is_set() else "over"

    def calm(self) -> None:
        self._ask("DELETE")

    def counts(self) -> Counter[str]:
        """Calls with a fault so far, by kind; none where this caller may not read the metrics."""
        response = self._send("GET", "/metrics")
        if response.is_error:
            return Counter()
        found = _COUNT.findall(response.text)
        return Counter({kind: int(float(count)) for name, kind, count in found if name == self._endpoint})

    def _ask(self, method: str, body: dict[str, object] | None = None) -> None:
        response = self._send(method, self._path, body)
        if response.is_error:
            raise refusal(response)

    def _send(self, method: str, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._url} cannot be reached: {str(error) or type(error).__name__}") from error


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Set once a signal asks the command to end: it ends its faults first."""
    seen = threading.Event()
    kept = {number: signal.signal(number, lambda *_: seen.set()) for number in _ENDS}
    try:
        yield seen
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


def _seconds(text: str) -> float:
    if not text:
        return float("inf")
    try:
        found = float(seconds(text))
    except ValueError:
        found = 0.0
    if not 0 < found <= 86_400:
        raise UsageError(f"--for is {text!r}; expected a time above 0 and up to 1d, as 30s or 5m")
    return found


def _address(url: str, home: Path | None) -> tuple[str, str]:
    """Where the server is: as told, else the one that ``fairlead up`` runs on this home, else the usual place."""
    if url:
        return url, ""
    running = presence.found(home_of(home))
    if running is not None and running.url:
        return running.url, running.cert
    return "http://127.0.0.1:8080", ""
