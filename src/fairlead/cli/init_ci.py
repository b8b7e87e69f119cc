"""``fairlead init ci``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, deliver
from fairlead.wiring import specs
from fairlead.wiring.ci import workflows


def ci(
    spec: Annotated[Path, typer.Argument(help="The spec file.")] = Path("fairlead.yaml"),
    provider: Annotated[str, typer.Option(help=f"{' or '.join(workflows.PROVIDERS)}.")] = "github",
    endpoint: Annotated[
        str, typer.Option(help="The endpoint.", show_default="the only one with a registered model")
    ] = "",
    image: Annotated[
        str, typer.Option(metavar="NAME", help="Where images go, without a tag.")
    ] = "registry.example.com/model",
    base: Annotated[str, typer.Option(metavar="IMAGE", help="What images stand on, IMAGE@sha256:DIGEST.")] = "",
    latency_ms: Annotated[float, typer.Option(min=1, help="Budget of the infra test: p99 of calls.")] = 100.0,
    memory_mb: Annotated[float, typer.Option(min=1, help="Budget of the infra test: memory, MiB.")] = 1024.0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write, as .github/workflows/model.yml.", show_default="print"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A workflow: data tests, model tests, the image, the infra test, a canary. Secrets are the provider's."""
    file = specs.read(spec)
    asked = workflows.Asked(str(spec), workflows.chosen(file, endpoint), image, base, latency_ms, memory_mb)
    made = workflows.document(file, provider, asked)
    deliver(made, workflows.render(file, provider, asked), output, as_json)
