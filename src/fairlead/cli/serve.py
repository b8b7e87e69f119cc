"""``fairlead serve``."""

from __future__ import annotations

import functools
import math
from typing import Annotated

import typer

from fairlead.cli import running
from fairlead.cli.output import (
    AccessOption,
    ArmOption,
    HomeOption,
    InsecureOption,
    LogLevelOption,
    RecordOption,
    RuntimeOption,
    TrackingOption,
    TrustOption,
)
from fairlead.contracts.errors import UsageError
from fairlead.contracts.scaling import Scaling
from fairlead.kit import log, plugins
from fairlead.kit.config import home as read_home
from fairlead.serve.access.rules import Rules
from fairlead.serve.server import Server
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.serve.supervisor import Supervisor
from fairlead.wiring import serving
from fairlead.wiring.access import needed
from fairlead.wiring.llm import paths

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
        help="URI or NAME=URI: models:/churn@champion, runs:/ID/model, ./model.onnx, ./folder, ./chat.gguf, "
        "pkg.module:Predictor, oip+http://HOST:PORT/NAME"
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
ReplicasOption = Annotated[
    str,
    typer.Option(metavar="MIN..MAX", help="Processes of each model that come and go with the calls, as 0..4."),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="Of the weights of language models, converted here: f16, bf16, int8 or int4.", show_default="int8"
    ),
]
TargetConcurrency = Annotated[float, typer.Option(help="Calls in flight for each replica, with --replicas.")]
IdleTtl = Annotated[
    float, typer.Option(help="Seconds without a call after which the last one ends, with --replicas 0..")
]
MemoryMb = Annotated[
    float, typer.Option(help="Memory of all models together, MiB; those called least recently sleep. 0: no limit.")
]
ModelControl = Annotated[
    bool | None,
    typer.Option(
        help="Let callers load and unload models; by default where --host is of this machine.", show_default=False
    ),
]
Chaos = Annotated[
    bool, typer.Option("--chaos", help="Let callers inject faults (fairlead chaos): for test environments.")
]
MaxConnections = Annotated[int, typer.Option(help="Open connections of each port; 0: as many as open files allow.")]
PerAddress = Annotated[int, typer.Option(help="Open connections of each port from one address; 0: any number.")]
MaxCallRows = Annotated[int, typer.Option(help="Most rows of one call; more get 413. 0: any number.")]
MaxStringKb = Annotated[float, typer.Option(help="Longest string of a call, KiB; 0: any length.")]


def serve(
    models: Models,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    grpc_port: GrpcPort = None,
    workers: Annotated[int, typer.Option(help="Processes that answer; each loads every model.")] = 1,
    home: HomeOption = None, tracking: TrackingOption = None,
    runtime: RuntimeOption = "", trust_pickle: TrustOption = False,
    max_rows: Annotated[int, typer.Option(help="Most rows in a batch; 0: as the measured curve says.")] = 0,
    max_wait_ms: Annotated[float, typer.Option(help="Longest that a batch waits for company; 0: never.")] = 0.0,
    queue_rows: Annotated[int, typer.Option(help="Most rows that may wait; more get 429.")] = 16_384,
    deadline_ms: DeadlineMs = 60_000.0,
    threads: Annotated[int, typer.Option(help="Intra-op threads of the runtime; 0: the runtime decides.")] = 0,
    provider: Provider = None,
    max_body_mb: MaxBody = 64.0, grace: Grace = 25.0,
    tls_cert: TlsCert = "", tls_key: TlsKey = "", tls_client_ca: TlsClientCa = "",
    record: RecordOption = False, arm: ArmOption = "",
    executor: ExecutorOption = "auto", processes: ProcessesOption = 1,
    env: EnvOption = "current", replicas: ReplicasOption = "",
    target_concurrency: TargetConcurrency = 8.0, idle_ttl: IdleTtl = 600.0,
    precision: PrecisionOption = "",
    memory_mb: MemoryMb = 0.0,
    model_control: ModelControl = None,
    access: AccessOption = None, insecure: InsecureOption = False,
    max_connections: MaxConnections = 10_000, max_connections_per_address: PerAddress = 0,
    max_call_rows: MaxCallRows = 0, max_string_kb: MaxStringKb = 1024.0,
    log_level: LogLevelOption = "info",
    as_json: AsJson = False,
    chaos: Chaos = False, worker_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:  # fmt: skip
    """Serve models: Open Inference Protocol V2, KServe V1 and MLflow /invocations on one port, gRPC on another."""
    level = running.level_of(log_level)
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    log.configure(level=level)
    running.check_driver()
    settings = ServerSettings(
        host, port, _bytes(max_body_mb), grace, tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca,
        grpc_port=grpc_port, workers=workers, memory=_bytes(memory_mb), model_control=model_control,
        max_connections=max_connections, max_connections_per_address=max_connections_per_address, chaos=chaos,
        insecure=insecure,
    )  # fmt: skip
    found = paths.split(models, precision, threads, deadline_ms)
    asked = serving.Plan(
        read_home(home, tracking),
        serving.targets(found.models, trust_pickle=trust_pickle, runtime=runtime),
        settings,
        EndpointSettings(
            max_rows, max_wait_ms, queue_rows, deadline_ms=deadline_ms, executor=executor, processes=processes, env=env,
            threads=threads, providers=tuple(provider or ()),
            replicas=_replicas(replicas, target_concurrency, idle_ttl),
            call_rows=max_call_rows, string_bytes=_bytes(max_string_kb / 1024),
        ),
        record,
        access=Rules() if needed(settings, bool(access), insecure) else None, chats=found.chats, arm=arm,
    )  # fmt: skip
    if worker_of:
        running.work(lambda: asked, level, worker_of)
    else:
        running.run(_server(asked, as_json).run())


def _server(plan: serving.Plan, as_json: bool) -> Server | Supervisor:
    """One process that answers, or what stands in front of several."""
    announce = functools.partial(running.announce, plan.settings, as_json)
    if plan.settings.workers > 1:
        return serving.supervisor(plan.settings, running.worker_command("serve"), announce)
    return serving.server(plan, lambda port, catalog: announce(port, catalog.named()))


def _bytes(mebibytes: float) -> int:
    """Whole bytes; what cannot be one (infinity, NaN) becomes a number that the settings refuse."""
    return int(mebibytes * 2**20) if math.isfinite(mebibytes) else -1


def _replicas(text: str, target: float, idle: float) -> Scaling | None:
    """``MIN..MAX``, or one number for both. Raises UsageError."""
    if not text and Scaling(target=target, idle=idle) != Scaling():
        raise UsageError(
            "--target-concurrency and --idle-ttl say how replicas are counted; give --replicas MIN..MAX too"
        )
    if not text:
        return None
    least, dots, most = text.partition("..")
    if not least.isdecimal() or (dots and not most.isdecimal()):
        raise UsageError(f"--replicas is {text!r}; expected MIN..MAX, as 0..4, or one number")
    return Scaling(int(least), int(most or least), target, idle)
