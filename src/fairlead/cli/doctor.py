"""``fairlead doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Annotated
from urllib.parse import urlsplit

import typer

from fairlead.cli import doctor_image
from fairlead.cli.output import FAILED, AsJson, HomeOption, TrackingOption, emit, table
from fairlead.client import Client
from fairlead.contracts.errors import ModelError, NotFound, UsageError
from fairlead.contracts.types import Tensors
from fairlead.kit import plugins
from fairlead.kit.config import Home
from fairlead.kit.config import home as read_home
from fairlead.package.doctor import Finding, Level, examine, examine_endpoint, examine_other
from fairlead.serve import tune
from fairlead.wiring import stores
from fairlead.wiring.surroundings import examined

_LARGEST = 64


def doctor(
    target: Annotated[
        str,
        typer.Argument(
            help="fairlead.yaml; ./model.onnx, models:/x@champion, any model URI; or http://host:port[/endpoint]",
            show_default="none: with --image",
        ),
    ] = "",
    home: HomeOption = None,
    tracking: TrackingOption = None,
    runtime: Annotated[str, typer.Option(help="Check it with this runtime instead of the one chosen.")] = "",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Unpickle the file given: it can run any code.")
    ] = False,
    image: Annotated[
        str, typer.Option(metavar="NAME:TAG", help="Start this image, and ask it what it was packaged with.")
    ] = "",
    ready_seconds: Annotated[float, typer.Option(min=0.1, help="With --image: seconds until it must be ready.")] = 60.0,
    latency_ms: Annotated[float, typer.Option(min=0, help="With --image: p99 of its calls at most; 0: any.")] = 0.0,
    memory_mb: Annotated[float, typer.Option(min=0, help="With --image: memory that it gets, MiB; 0: any.")] = 0.0,
    env: Annotated[
        list[str] | None, typer.Option(help="With --image: NAME or NAME=VALUE for the container; again for more.")
    ] = None,
    volume: Annotated[
        list[str] | None, typer.Option(help="With --image: FROM:TO[:ro] for the container; again for more.")
    ] = None,
    network: Annotated[str, typer.Option(help="With --image: its network, as host.")] = "",
    tool: Annotated[
        str, typer.Option(help="With --image: podman or docker.", show_default="the first that works")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a spec and what it needs around it, a model, a running endpoint or an image: exit code 0 when nothing
    fails, 1 when something does."""
    if bool(target) == bool(image):
        raise UsageError("give one thing to check: a spec, a model, a URL, or --image NAME:TAG")
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    if image:
        findings = doctor_image.findings(
            image, tool=tool, ready_seconds=ready_seconds, latency_ms=latency_ms, memory_mb=memory_mb, network=network,
            env=env or [], volume=volume or [],
        )  # fmt: skip
    elif target.startswith(("http://", "https://")):
        findings = _endpoints(target)
    elif target.endswith((".yaml", ".yml")):
        findings = examined.examine(Path(target), home, tracking)
    else:
        findings = _model(target, read_home(home, tracking), runtime, trust_pickle)
    rows = [{name: str(value) for name, value in asdict(finding).items()} for finding in findings]
    failed = any(finding.level is Level.FAIL for finding in findings)
    emit({"target": target or image, "healthy": not failed, "findings": rows}, table(rows), as_json)
    if failed:
        raise typer.Exit(FAILED)


def _model(uri: str, home: Home, runtime: str, trust_pickle: bool) -> list[Finding]:
    try:
        bundle = stores.opener(home).open(uri, trust_pickle=trust_pickle, runtime=runtime)
        model = stores.load_model(bundle)
    except ModelError as error:
        return [Finding(Level.FAIL, error.code, str(error))]

    def measure(row: Tensors) -> list[tuple[int, float]]:
        curve = tune.measure(model, row, model.traits.max_rows or _LARGEST, perf_counter)
        return list(zip(curve.rows, curve.seconds, strict=True))

    try:
        return examine(bundle, model, measure)
    finally:
        model.close()


def _endpoints(url: str) -> list[Finding]:
    parts = urlsplit(url)
    named = parts.path.strip("/").removeprefix("v2/models/")
    with Client(f"{parts.scheme}://{parts.netloc}") as client:
        ready = client.ready()
        names = [named] if named else client.endpoints()
        if not names:
            raise UsageError(f"{url} serves no endpoint")
        live = client.endpoints() if named else names
        return [finding for name in names for finding in _endpoint(client, name, ready, live)]


def _endpoint(client: Client, name: str, ready: bool, live: Sequence[str]) -> list[Finding]:
    try:
        metadata = client.metadata(name)
    except NotFound as error:
        if name not in live:
            raise
        return examine_other(name, ready, str(error))
    return examine_endpoint(metadata, ready, lambda row: client.predict(name, row), perf_counter)
