"""``fairlead render``: a spec as the configuration of something else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli import render_compose, render_kubernetes, render_prometheus
from fairlead.cli.output import AsJson, HomeOption, deliver
from fairlead.contracts.errors import FairleadError
from fairlead.kit import noted_yaml
from fairlead.wiring import specs, standing
from fairlead.wiring.envoy import asked, bootstrap
from fairlead.wiring.envoy.asked import Rendering

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A spec as the configuration of something else.")


@app.callback()
def render() -> None:
    """A spec as the configuration of something else."""


app.command()(render_prometheus.prometheus)
app.command()(render_prometheus.grafana)


@app.command()
def envoy(
    spec: Annotated[Path, typer.Argument(help="The spec file.")] = Path("fairlead.yaml"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="print")] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT where Envoy takes calls.")] = "127.0.0.1:10000",
    admin: Annotated[str, typer.Option(help="HOST:PORT of Envoy's own pages.", show_default="none")] = "",
    server: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a server of this spec; several times.", show_default="the spec's"),
    ] = None,
    split: Annotated[
        bool, typer.Option("--split", help="Share calls out among versions as running rollouts do now.")
    ] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """The spec's policies as configuration of Envoy. What Envoy cannot express is an error that names its line."""
    file = specs.read(spec)
    splits = {}
    if split:
        stored = standing.stored(specs.home(file.spec, home), 0)
        if stored.problem:
            raise FairleadError(f"the running rollouts are not known: {stored.problem}; leave --split out")
        splits = {name: one for name, one in stored.splits.items() if name in file.spec.endpoints}
    how = Rendering(
        asked.place(listen, "--listen"),
        asked.place(admin, "--admin") if admin else None,
        tuple(asked.place(one, "--server") for one in server or ()),
        splits,
    )
    made = noted_yaml.plain(bootstrap.bootstrap(file, how))
    deliver(made, bootstrap.render(file, how), output, as_json, f"envoy --mode validate -c {output}")


app.command("compose")(render_compose.compose)
app.command("kubernetes")(render_kubernetes.kubernetes)
app.command("kserve")(render_kubernetes.kserve)
