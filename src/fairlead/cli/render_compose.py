"""``fairlead render compose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, deliver
from fairlead.kit import noted_yaml
from fairlead.wiring import specs
from fairlead.wiring.compose import asked, stack
from fairlead.wiring.compose.asked import Rendering


def compose(
    spec: Annotated[Path, typer.Argument(help="The spec file.")] = Path("fairlead.yaml"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="print")] = None,
    image: Annotated[
        str,
        typer.Option(metavar="NAME:TAG", help="Image of the server.", show_default="of FAIRLEAD_IMAGE, when it runs"),
    ] = "",
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE=IMAGE", help=f"Another image of {', '.join(asked.PINNED)}; again for more."),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus/--no-prometheus", help="Scrape the server's metrics.")
    ] = True,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Callers show no key; only this machine reaches the ports.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The spec as a stack of containers: the server, and beside it what the spec names. What cannot be is an error."""
    file = specs.read(spec)
    how = Rendering(
        asked.exact(image, "--image") if image else "",
        asked.pins(tuple(pin or ())),
        prometheus,
        insecure,
        output.parent if output else Path(),
    )
    made = noted_yaml.plain(stack.stack(file, how))
    deliver(made, stack.render(file, how), output, as_json, f"docker compose -f {output} config")
