"""``fairlead init``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from fairlead.cli import init_ci
from fairlead.cli.output import AsJson, HomeOption, TrackingOption, emit
from fairlead.kit.config import home as read_home
from fairlead.kit.spec import describe
from fairlead.wiring import specs

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def init(
    context: typer.Context,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a spec, for editors.")] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Print a spec file: an endpoint for every registered model with a champion, else one to begin with."""
    if context.invoked_subcommand is not None:
        return
    if schema:
        sys.stdout.write(json.dumps(describe.schema(), indent=2) + "\n")
        return
    first: Any = specs.champions(read_home(home, tracking))
    emit(first, describe.sample(first), as_json)


app.command("ci")(init_ci.ci)
