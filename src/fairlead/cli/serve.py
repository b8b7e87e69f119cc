"""``fairlead serve``."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from typing import Annotated

import typer
import uvloop

from fairlead import wiring
from fairlead.cli.output import HomeOption, TrackingOption, emit
from fairlead.contracts.errors import UsageError
from fairlead.kit import log, plugins
from fairlead.kit.config import home as read_home
from fairlead.serve.endpoint import Live
from fairlead.serve.settings import EndpointSettings, ServerSettings


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="URI or NAME=URI: models:/churn@champion, runs:/ID/model, ./model.onnx, ./folder, pkg.module:Predictor"
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
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
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one JSON document: where is what.")
    ] = False,
) -> None:
    """Serve models: Open Inference Protocol V2, KServe V1 and MLflow /invocations on one port."""
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise UsageError(f"--log-level {log_level!r} is not known; expected debug, info, warning or error")
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    log.configure(level=level)
    settings = ServerSettings(
        host=host, port=port, max_body=_bytes(max_body_mb), grace=grace, tls_cert=tls_cert, tls_key=tls_key
    )
    server = wiring.server(
        read_home(home, tracking),
        [wiring.target(model, trust_pickle=trust_pickle, runtime=runtime) for model in models],
        settings,
        EndpointSettings(
            max_rows=max_rows, max_wait_ms=max_wait_ms, queue_rows=queue_rows, deadline_ms=deadline_ms, threads=threads
        ),
        on_ready=lambda bound, live: _announce(settings.url(bound), live, as_json),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.run())


def _bytes(mebibytes: float) -> int:
    """Whole bytes; what cannot be one (infinity, NaN) becomes a number that the settings refuse."""
    return int(mebibytes * 2**20) if math.isfinite(mebibytes) else -1


def _announce(url: str, endpoints: list[Live], as_json: bool) -> None:
    """On a terminal: where things are. Off it the log says enough."""
    logging.getLogger("fairlead.serve").info("ready", extra={"fields": {"url": url, "endpoints": len(endpoints)}})
    if as_json:
        live = [{"name": one.endpoint, "version": one.version} for one in endpoints]
        emit({"url": url, "docs": f"{url}/docs", "endpoints": live}, "", as_json)
    elif sys.stderr.isatty():
        names = ", ".join(f"{live.endpoint} (version {live.version})" for live in endpoints)
        sys.stderr.write(f"\n  {names}\n  {url}/docs    Ctrl-C stops\n\n")
