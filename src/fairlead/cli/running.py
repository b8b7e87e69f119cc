"""What commands that serve share: the loop, workers by the same command line, and the word when all is ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import typer
import uvloop

from fairlead.cli.output import FAILED, as_ours, emit
from fairlead.contracts.errors import UsageError
from fairlead.kit import config, cuda, log
from fairlead.kit.sentences import masked
from fairlead.serve import worker
from fairlead.serve.process import Command
from fairlead.serve.settings import ServerSettings
from fairlead.serve.supervisor import Endpoints
from fairlead.wiring import serving

T = TypeVar("T")
_STDIN: Final = 0


def level_of(name: str) -> int:
    """The level behind ``--log-level``. Raises UsageError."""
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise UsageError(f"--log-level {name!r} is not known; expected debug, info, warning or error")
    return level


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end, on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def when_alone(then: Callable[[], object]) -> None:
    """Call it once standard input ends, which it does when the process that started this one is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError):  # not sys.stdin, whose lock this thread would keep while Python ends
            while os.read(_STDIN, 1024):
                pass
        then()

    threading.Thread(target=wait, name="fairlead-alone", daemon=True).start()


def check_driver() -> None:
    """Raises DriverMismatch where the libraries here need a GPU driver that this machine has not."""
    if wanted := config.cuda():
        cuda.check(wanted, cuda.driver())


def worker_command(command: str) -> Command:
    """How a worker of this process is started: its own command line, in which ``command`` stands."""

    def words(place: str, descriptor: int) -> list[str]:
        given = sys.argv[1:]
        at = given.index(command) + 1
        start = [sys.executable, "-P", "-m", "fairlead"]  # -P: the user's folder must not shadow a library
        return [*start, *given[:at], "--worker-of", f"{place}:{descriptor}", *given[at:]]

    return words


def work(plan: Callable[[], serving.Plan], level: int, worker_of: str) -> None:
    """Be one worker. What goes wrong is told to the supervisor, which tells the user."""
    place, _, descriptor = worker_of.partition(":")
    log.configure(level=level, worker=place)
    with socket.socket(fileno=int(descriptor)) as link:
        link.set_inheritable(False)
        try:
            run(serving.worker(plan(), link.dup(), place).run())
        except Exception as error:  # noqa: BLE001 - the supervisor tells it
            if "--debug" in sys.argv:
                sys.stderr.write(masked(traceback.format_exc()))
            worker.report(link, as_ours(error))
            raise typer.Exit(FAILED) from None


def announce(settings: ServerSettings, as_json: bool, port: int, endpoints: Endpoints, *, console: bool = True) -> None:
    """On a terminal: where things are. Off it the log says enough. ``console``: whether it is on this port."""
    url = settings.url(port)
    logging.getLogger("fairlead.serve").info("ready", extra={"fields": {"url": url, "endpoints": len(endpoints)}})
    if as_json:
        live = [{"name": endpoint, "version": version} for endpoint, version in endpoints]
        more = {"grpc": settings.grpc} if settings.grpc else {}
        more |= {"console": f"{url}/console"} if console else {}
        emit({"url": url, "docs": f"{url}/docs", **more, "endpoints": live}, "", as_json)
    elif sys.stderr.isatty():
        names = ", ".join(f"{endpoint} (version {version})" for endpoint, version in endpoints)
        grpc = f"    gRPC on {settings.grpc}" if settings.grpc else ""
        shown = f"\n  {url}/console" if console else ""
        sys.stderr.write(f"\n  {names}\n  {url}/docs{grpc}{shown}    Ctrl-C stops\n\n")
