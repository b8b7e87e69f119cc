"""``fairlead stream``."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from typing import Annotated, Any

import typer

from fairlead.cli import running
from fairlead.cli.output import (
    FAILED,
    INTERRUPTED,
    HomeOption,
    LogLevelOption,
    RecordOption,
    RuntimeOption,
    TrackingOption,
    TrustOption,
    emit,
)
from fairlead.cli.times import since_ms
from fairlead.contracts.broker import Since
from fairlead.kit import log, plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import home as read_home
from fairlead.serve.endpoint import Live
from fairlead.serve.settings import EndpointSettings
from fairlead.serve.streams.deciding import Patience
from fairlead.serve.streams.settings import StreamSettings
from fairlead.wiring import serving, streaming

UNBOUNDED = 1_000_000
"""What waits for the model is bounded by what is in hand."""

_ID = re.compile(r"\d+(-\d+)?", re.ASCII)


OutputOption = Annotated[
    str, typer.Option("--output", metavar="URL", help="Write the answers there; another broker, if you like.")
]
DeadOption = Annotated[
    str,
    typer.Option(
        "--dead-letter",
        metavar="URL",
        help="What cannot be answered goes there, with the reason; without it the error is the answer.",
    ),
]
GroupOption = Annotated[
    str,
    typer.Option("--group", help="Workers of one group share the messages.", show_default="the endpoint's name"),
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help="Serve /metrics, /healthz and /readyz there; 0: a free one. Without it: nowhere."
    ),
]
ReplayOption = Annotated[
    str,
    typer.Option(
        "--replay",
        metavar="FROM",
        help="Read again from a time (15m ago, or ISO) or an id, to what is newest now, and end.",
    ),
]


def stream(
    model: Annotated[str, typer.Argument(help="URI or NAME=URI, as of `serve`.")],
    source: Annotated[
        str, typer.Option("--input", metavar="URL", help="Read there: nats, redis, amqp or kafka://HOST:PORT/NAME.")
    ],
    output: OutputOption,
    dead_letter: DeadOption = "",
    group: GroupOption = "",
    replay: ReplayOption = "",
    version: Annotated[str, typer.Option(help="Answer with this version of the registered model.")] = "",
    in_flight: Annotated[int, typer.Option(help="Most messages in hand; more stay with the broker.")] = 512,
    attempts: Annotated[int, typer.Option(help="Tries of a message while the failure is the server's.")] = 5,
    deliveries: Annotated[int, typer.Option(help="Most times that a message may come and end its worker.")] = 5,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    runtime: RuntimeOption = "",
    trust_pickle: TrustOption = False,
    max_rows: Annotated[int, typer.Option(help="Most rows in a batch; 0: as the measured curve says.")] = 0,
    max_wait_ms: Annotated[float, typer.Option(help="Longest that a batch waits for company; 0: never.")] = 0.0,
    deadline_ms: Annotated[float, typer.Option(help="Time for a message in the model's queue.")] = 60_000.0,
    threads: Annotated[int, typer.Option(help="Intra-op threads of the runtime; 0: the runtime decides.")] = 0,
    grace: Annotated[float, typer.Option(help="Seconds from SIGTERM to exit, at most.")] = 25.0,
    record: RecordOption = False,
    metrics_port: MetricsPortOption = None,
    metrics_host: Annotated[str, typer.Option(help="Address to bind for --metrics-port.")] = "127.0.0.1",
    log_level: LogLevelOption = "info",
    as_json: Annotated[bool, typer.Option("--json", help="At the end, print one JSON document: the counts.")] = False,
) -> None:
    """Answer the messages of a broker with a model: at least once, in order by key.

    A message is acknowledged once its answer is stored. Ctrl-C finishes what is in hand and prints the counts.
    """
    log.configure(level=running.level_of(log_level))
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    target = serving.target(model, trust_pickle=trust_pickle, runtime=runtime)
    plan = streaming.Plan(
        read_home(home, tracking),
        streaming.of_version(target, version) if version else target,
        streaming.place(source, "--input"),
        streaming.place(output, "--output"),
        StreamSettings(in_flight=in_flight, patience=Patience(attempts, deliveries), grace=grace),
        EndpointSettings(max_rows, max_wait_ms, UNBOUNDED, UNBOUNDED, deadline_ms, threads, shed=None),
        streaming.place(dead_letter, "--dead-letter") if dead_letter else None,
        group,
        _since(replay) if replay else None,
        record,
        None if metrics_port is None else (metrics_host, metrics_port),
    )
    _run(plan, as_json)


def _run(plan: streaming.Plan, as_json: bool) -> None:
    try:
        counts = running.run(streaming.run(plan, lambda *live: _announce(plan, *live)))
    except asyncio.CancelledError:  # a second signal
        raise typer.Exit(INTERRUPTED) from None
    emit(counts, _told(counts), as_json)
    if counts["unfinished"]:
        raise typer.Exit(FAILED)


def _since(text: str) -> Since:
    """An id of the broker, or a time. Raises UsageError."""
    word = text.strip()
    if _ID.fullmatch(word):
        return Since(id=word)
    return Since(at_ms=since_ms(word, SystemClock.wall_ms(), "--replay"))


def _announce(plan: streaming.Plan, live: Live, port: int) -> None:
    fields = {"endpoint": live.endpoint, "version": live.version, "input": str(plan.input), "output": str(plan.output)}
    if plan.metrics is not None:
        fields["metrics"] = f"http://{plan.metrics[0]}:{port}/metrics"
    logging.getLogger("fairlead.stream").info("ready", extra={"fields": fields})
    if sys.stderr.isatty():
        name = f"{live.endpoint} (version {live.version})"
        sys.stderr.write(f"\n  {plan.input} -> {name} -> {plan.output}    Ctrl-C stops\n\n")


def _told(counts: dict[str, Any]) -> str:
    timing = f", p50 {counts['p50_ms']} ms, p99 {counts['p99_ms']} ms" if counts["p50_ms"] is not None else ""
    text = (
        f"{counts['messages']} messages in {counts['seconds']} s: {counts['answered']} answered{timing}; "
        f"{counts['dead_lettered']} dead letters, {counts['redelivered']} redelivered, {counts['retried']} tried again"
    )
    left = counts["unfinished"]
    return f"{text}; {left} were not finished in the grace time and come again" if left else text
