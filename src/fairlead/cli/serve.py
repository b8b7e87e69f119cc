"""``fairlead serve``."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
import sys
import traceback
from typing import Annotated

import typer
import uvloop

from fairlead.cli.output import FAILED, HomeOption, TrackingOption, as_ours, emit
from fairlead.contracts.errors import UsageError
from fairlead.kit import log, plugins
from fairlead.kit.config import home as read_home
from fairlead.serve import worker
from fairlead.serve.server import Server
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.serve.supervisor import Endpoints, Supervisor
from fairlead.wiring import serving


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="URI or NAME=URI: models:/churn@champion, runs:/ID/model, ./model.onnx, ./folder, pkg.module:Predictor"
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(help="Processes that answer; each loads every model.")] = 1,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    runtime: Annotated[str, typer.Option(help="Run with this runtime instead of the one the package chose.")] = "",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Unpickle files given on this command line: they can run any code.")
    ] = False,
    max_rows: Annotated[int, typer.Option(help="Most rows in a batch; 0: as the measured curve says.")] = 0,
    max_wait_ms: Annotated[float, typer.Option(help="Longest that a batch waits for company; 0: never.")] = 0.0,
    queue_rows: Annotated[int, typer.Option(help="Most rows that may wait; more get 429.")] = 16_384,
    deadline_ms: Annotated[
        float, typer.Option(help="Time for a call that names none in x-request-timeout-ms.")
    ] = 60_000.0,
    threads: Annotated[int, typer.Option(help="Intra-op threads of the runtime; 0: the runtime decides.")] = 0,
    max_body_mb: Annotated[float, typer.Option(help="Largest request body, MiB.")] = 64.0,
    grace: Annotated[float, typer.Option(help="Seconds from SIGTERM to exit, at most.")] = 25.0,
    tls_cert: Annotated[str, typer.Option(help="Certificate (PEM), the chain behind it: serve HTTPS.")] = "",
    tls_key: Annotated[str, typer.Option(help="Its key (PEM); empty: in the same file.")] = "",
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Keep what was asked and answered, and follow rollouts.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one JSON document: where is what.")
    ] = False,
    worker_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Serve models: Open Inference Protocol V2, KServe V1 and MLflow /invocations on one port."""
    level = _level(log_level)
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    log.configure(level=level)
    settings = ServerSettings(
        host, port, _bytes(max_body_mb), grace, workers=workers, tls_cert=tls_cert, tls_key=tls_key
    )
    asked = serving.Plan(
        read_home(home, tracking),
        [serving.target(model, trust_pickle=trust_pickle, runtime=runtime) for model in models],
        settings,
        EndpointSettings(
            max_rows=max_rows, max_wait_ms=max_wait_ms, queue_rows=queue_rows, deadline_ms=deadline_ms, threads=threads
        ),
        record,
    )
    announce = functools.partial(_announce, settings, as_json)
    if worker_of:
        _work(asked, level, *worker_of.split(":"))
    elif workers > 1:
        _run(serving.supervisor(settings, _worker_command, announce))
    else:
        _run(serving.server(asked, lambda bound, live: announce(bound, [(one.endpoint, one.version) for one in live])))


def _level(name: str) -> int:
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise UsageError(f"--log-level {name!r} is not known; expected debug, info, warning or error")
    return level


def _run(server: Server | Supervisor) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.run())


def _bytes(mebibytes: float) -> int:
    """Whole bytes; what cannot be one (infinity, NaN) becomes a number that the settings refuse."""
    return int(mebibytes * 2**20) if math.isfinite(mebibytes) else -1


def _worker_command(place: str, descriptor: int) -> list[str]:
    """The command line that this process was given, for a worker of it."""
    words = sys.argv[1:]
    at = words.index("serve") + 1
    start = [sys.executable, "-P", "-m", "fairlead"]  # -P: the user's folder must not shadow a library
    return [*start, *words[:at], "--worker-of", f"{place}:{descriptor}", *words[at:]]


def _work(asked: serving.Plan, level: int, place: str, descriptor: str) -> None:
    """Be one worker. What goes wrong is told to the supervisor, which tells the user."""
    log.configure(level=level, worker=place)
    with socket.socket(fileno=int(descriptor)) as link:
        link.set_inheritable(False)
        try:
            _run(serving.worker(asked, link.dup(), place))
        except Exception as error:  # noqa: BLE001 - the supervisor tells it
            if "--debug" in sys.argv:
                traceback.print_exc()
            worker.report(link, as_ours(error))
            raise typer.Exit(FAILED) from None


def _announce(settings: ServerSettings, as_json: bool, port: int, endpoints: Endpoints) -> None:
    """On a terminal: where things are. Off it the log says enough."""
    url = settings.url(port)
    logging.getLogger("fairlead.serve").info("ready", extra={"fields": {"url": url, "endpoints": len(endpoints)}})
    if as_json:
        live = [{"name": endpoint, "version": version} for endpoint, version in endpoints]
        emit({"url": url, "docs": f"{url}/docs", "endpoints": live}, "", as_json)
    elif sys.stderr.isatty():
        names = ", ".join(f"{endpoint} (version {version})" for endpoint, version in endpoints)
        sys.stderr.write(f"\n  {names}\n  {url}/docs    Ctrl-C stops\n\n")
