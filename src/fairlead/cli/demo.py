"""``fairlead demo``."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer
import uvloop

from fairlead.cli.output import INTERRUPTED, AsJson, HomeOption, TrackingOption
from fairlead.contracts.errors import UsageError
from fairlead.demo.story import Asked, Story
from fairlead.kit import log, plugins
from fairlead.kit.config import home as read_home
from fairlead.serve.settings import endpoint_name


def demo(
    data: Annotated[Path | None, typer.Option(help="A CSV file; without it, a set that scikit-learn bundles.")] = None,
    target: Annotated[str, typer.Option(help="The column to predict; needed with --data.")] = "",
    id_column: Annotated[str | None, typer.Option("--id", help="The column that names a row; left out.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model.", show_default="from the data")] = "",
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    seconds: Annotated[float, typer.Option(help="Seconds of live traffic.")] = 3.0,
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the traffic instead of serving on.")] = False,
    whole: Annotated[
        bool, typer.Option("--loop", help="Tell the whole loop: decay, retraining, gate, rollout, two mishaps.")
    ] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Train, register, convert, check, serve and call a model: the main job, on real data."""
    if (data is None) != (not target):
        raise UsageError("--data and --target go together: the file, and the column to predict")
    if not 0.1 <= seconds <= 3600:
        raise UsageError(f"--seconds {seconds:g}; expected 0.1 to 3600")
    log.configure(level=logging.WARNING)
    line = functools.partial(_line, sys.stderr if as_json else sys.stdout)
    if whole:
        plugins.attribute("fairlead.cli.demo_loop:tell")(
            read_home(home), data, target, host, port, leave, line, as_json
        )
        return
    asked = Asked(data, target, id_column, endpoint_name(name) if name else "", host, port, seconds, leave)
    ended: list[bool] = []
    story = Story(read_home(home, tracking), asked, line)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()

        def done() -> None:
            ended.append(True)
            if as_json and story.well:  # a failure becomes the one document, when it is raised below
                sys.stdout.write(json.dumps(asdict(story.told), indent=2) + "\n")
                sys.stdout.flush()
            if leave or not story.well:
                loop.call_soon_threadsafe(server.stop)
            else:
                line("\n  Serving until Ctrl-C.")

        server = story.prepare(done)
        runner.run(server.run())
    if not ended:  # Ctrl-C before the traffic had been told: there is no result
        raise typer.Exit(INTERRUPTED)
    story.finish()


def _line(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()
