"""``fairlead demo --loop``: apart, because it stands on all that the loop stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from fairlead.cli.output import emit
from fairlead.demo import stream
from fairlead.demo.loop import LoopStory
from fairlead.kit.config import Home

FOLDER = "demo-loop"
"""Below the home: the story has a home of its own, which it empties first."""


def tell(
    home: Home,
    data: Path | None,
    target: str,
    host: str,
    port: int,
    leave: bool,
    line: Callable[[str], None],
    as_json: bool,
) -> None:
    """The story, on the stream that our code makes or on ``data``. Raises FairleadError where it goes wrong."""
    rows = stream.from_csv(data, target) if data else stream.customers()
    root = home.root / FOLDER
    place = replace(
        home,
        root=root,
        tracking=f"sqlite:///{root / 'mlflow.db'}",
        state=f"sqlite:///{root / 'state.db'}",
        events=str(root / "events"),
    )
    story = LoopStory(place, rows, host, port, line)
    story.tell(leave=leave, told=lambda: emit(asdict(story.told), "", as_json) if as_json else None)
