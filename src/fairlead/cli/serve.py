"""``fairlead serve``."""

from __future__ import annotations

import functools
import math
from typing import Annotated

import typer

from fairlead.cli import running
from fairlead.cli.output import HomeOption, LogLevelOption, RecordOption, RuntimeOption, TrackingOption, TrustOption
from fairlead.kit import log, plugins
from fairlead.kit.config import home as read_home
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.wiring import serving

GrpcPort = Annotated[
    int | None, typer.Option(help="Port of gRPC, 8081 by custom; 0 takes a free one. Without it: no gRPC.")
]
TlsCert = Annotated[str, typer.Option(help="Certificate (PEM), the chain behind it: serve HTTPS.")]
TlsKey = Annotated[str, typer.Option(help="Its key (PEM); empty: in the same file.")]
TlsClientCa = Annotated[
    str, typer.Option(help="Authorities (PEM): callers must show a certificate that one of them signed.")
]
MaxBody = Annotated[float, typer.Option(help="Largest request body, MiB.")]
Grace = Annotated[float, typer.Option(help="Seconds from SIGTERM to exit, at most.")]
Models = Annotated[
    list[str],
    typer.Argument(
        help="URI or NAME=URI: models:/churn@champion, runs:/ID/model, ./model.onnx, ./folder, pkg.module:Predictor"
    ),
]
DeadlineMs = Annotated[float, typer.Option(help="Time for a call that names none in x-request-timeout-ms.")]
Provider = Annotated[
    list[str] | None, typer.Option(help="Where the model runs, cuda for example; again for more. Without it: the CPU.")
]
AsJson = Annotated[bool, typer.Option("--json", help="When ready, print one JSON document: where is what.")]
ExecutorOption = Annotated[
    str, typer.Option(help="Where batches run: auto, inline, thread or process (of its own); auto measures.")
]
EnvOption = Annotated[
    str, typer.Option(help="Libraries the model runs with: current, or isolated: its own, from its requirements.")
]
ProcessesOption = Annotated[int, typer.Option(help="Processes of each model, with --executor process.")]


def serve(
    models: Models,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    grpc_port: GrpcPort = None,
    workers: Annotated[int, typer.Option(help="Processes that answer; each loads every model.")] = 1,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    runtime: RuntimeOption = "",
    trust_pickle: TrustOption = False,
    max_rows: Annotated[int, typer.Option(help="Most rows in a batch; 0: as the measured curve says.")] = 0,
    max_wait_ms: Annotated[float, typer.Option(help="Longest that a batch waits for company; 0: never.")] = 0.0,
    queue_rows: Annotated[int, typer.Option(help="Most rows that may wait; more get 429.")] = 16_384,
    deadline_ms: DeadlineMs = 60_000.0,
    threads: Annotated[int, typer.Option(help="Intra-op threads of the runtime; 0: the runtime decides.")] = 0,
    provider: Provider = None,
    max_body_mb: MaxBody = 64.0,
    grace: Grace = 25.0,
    tls_cert: TlsCert = "",
    tls_key: TlsKey = "",
    tls_client_ca: TlsClientCa = "",
    record: RecordOption = False,
    executor: ExecutorOption = "auto",
    processes: ProcessesOption = 1,
    env: EnvOption = "current",
    log_level: LogLevelOption = "info",
    as_json: AsJson = False,
    worker_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Serve models: Open Inference Protocol V2, KServe V1 and MLflow /invocations on one port, gRPC on another."""
    level = running.level_of(log_level)
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    log.configure(level=level)
    settings = ServerSettings(
        host, port, _bytes(max_body_mb), grace, tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca,
        grpc_port=grpc_port, workers=workers,
    )  # fmt: skip
    asked = serving.Plan(
        read_home(home, tracking),
        serving.targets(models, trust_pickle=trust_pickle, runtime=runtime),
        settings,
        EndpointSettings(
            max_rows, max_wait_ms, queue_rows, deadline_ms=deadline_ms, threads=threads, executor=executor,
            processes=processes, providers=tuple(provider or ()), env=env,
        ),
        record,
    )  # fmt: skip
    announce = functools.partial(running.announce, settings, as_json)
    if worker_of:
        running.work(lambda: asked, level, worker_of)
    elif workers > 1:
        running.run(serving.supervisor(settings, running.worker_command("serve"), announce).run())
    else:
        running.run(serving.server(asked, lambda port, live: announce(port, serving.versions(live))).run())


def _bytes(mebibytes: float) -> int:
    """Whole bytes; what cannot be one (infinity, NaN) becomes a number that the settings refuse."""
    return int(mebibytes * 2**20) if math.isfinite(mebibytes) else -1
