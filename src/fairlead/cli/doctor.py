"""``fairlead doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Annotated
from urllib.parse import urlsplit

import typer

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

_LARGEST = 64


def doctor(
    target: Annotated[
        str,
        typer.Argument(help="./model.onnx, models:/x@champion, any model URI; or http://host:port[/endpoint]"),
    ],
    home: HomeOption = None,
    tracking: TrackingOption = None,
    runtime: Annotated[str, typer.Option(help="Check it with this runtime instead of the one chosen.")] = "",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Unpickle the file given: it can run any code.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a model or a running endpoint: exit code 0 when nothing fails, 1 when something does."""
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    if target.startswith(("http://", "https://")):
        findings = _endpoints(target)
    else:
        findings = _model(target, read_home(home, tracking), runtime, trust_pickle)
    rows = [{name: str(value) for name, value in asdict(finding).items()} for finding in findings]
    failed = any(finding.level is Level.FAIL for finding in findings)
    emit({"target": target, "healthy": not failed, "findings": rows}, table(rows), as_json)
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
