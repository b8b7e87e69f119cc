"""``fairlead timeline``: what happened to an endpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from fairlead.cli.output import AsJson, HomeOption, emit
from fairlead.cli.times import SinceOption, UntilOption, since_ms
from fairlead.cli.where import home_of
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.monitor import timeline as timelines
from fairlead.wiring import reading, stores, watching


def timeline(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The name that clients call.")],
    since: SinceOption = "30d",
    until: UntilOption = "",
    kind: Annotated[str, typer.Option(help="Lines of one kind, such as slo.", show_default="every")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The newest so many lines.")] = 50,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Deployments, rollouts, verdicts, alerts and retrainings of an endpoint, oldest first, with their numbers."""
    settings, now = home_of(home), SystemClock.wall_ms()
    state, start = stores.state(settings), since_ms(since, now)
    end = since_ms(until, now, "--until") if until else None
    reading.check(state, stores.events(settings) if watching.has_events() else None, endpoint)
    known = timelines.read(state, endpoint, since_ms=start, until_ms=end, limit=0 if kind else limit)
    lines = timelines.chosen(known, what=(kind,))[-limit:] if kind else known
    text = timelines.as_text(lines)
    if not text and known:
        kinds = ", ".join(sorted({one.what for one in known}))
        text = f"no line of the kind {kind!r} was noted of {endpoint} in this time; there are {kinds}"
    text = text or f"nothing was noted of {endpoint} in this time; look further back with --since"
    emit([to_body(one) for one in lines], text, as_json)
