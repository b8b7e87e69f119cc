"""The console put together: stores, who may come, pages."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from fairlead.console.app import build
from fairlead.console.assets import Assets
from fairlead.console.door import Door
from fairlead.console.live import Live
from fairlead.console.navigation import EVERY, MODELS
from fairlead.console.pages import access, drift, endpoint, home, llm, retraining, rollouts, timeline, trying
from fairlead.console.reading import Reader
from fairlead.console.rendering import Templates
from fairlead.console.sessions import SECRET_BYTES, Seal
from fairlead.console.shell import Shell
from fairlead.kit.clock import SystemClock
from fairlead.wiring.console.access import AccessPage
from fairlead.wiring.console.callers import Keys
from fairlead.wiring.console.changes import Stored
from fairlead.wiring.console.drift import DriftPage
from fairlead.wiring.console.endpoint import EndpointPage
from fairlead.wiring.console.home import HomePage
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.llm import LlmPage
from fairlead.wiring.console.retraining import RetrainingPage
from fairlead.wiring.console.rollouts import RolloutPage
from fairlead.wiring.console.timeline import TimelinePage
from fairlead.wiring.console.trying import TryPage


def application(kept: Kept, *, asks: bool) -> Starlette:
    """``asks``: whether visitors must show a key."""
    clock, assets = SystemClock(), Assets()
    reader = Reader(clock)
    door = Door(Keys(kept, asks), Seal(secret(kept.home.root / "console.key")), reader, clock)
    shell = Shell(Templates(assets), door, reader, clock, EVERY, lambda one: one is not MODELS or kept.speaks)
    return build(shell, Live(Stored(kept, clock), reader), assets, pages(shell, kept))


def pages(shell: Shell, kept: Kept) -> list[BaseRoute]:
    """Every page, each over its source."""
    return [
        *home.routes(shell, HomePage(kept)),
        *endpoint.routes(shell, EndpointPage(kept)),
        *drift.routes(shell, DriftPage(kept)),
        *timeline.routes(shell, TimelinePage(kept)),
        *rollouts.routes(shell, RolloutPage(kept)),
        *retraining.routes(shell, RetrainingPage(kept)),
        *llm.routes(shell, LlmPage(kept)),
        *access.routes(shell, AccessPage(kept)),
        *trying.routes(shell, TryPage(kept)),
    ]


def secret(path: Path) -> bytes:
    """What sessions are signed with: made once, and readable by the user of the home alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
    found = path.read_bytes()
    if len(found) < SECRET_BYTES:  # somebody makes it just now, or died while doing so
        return secrets.token_bytes(SECRET_BYTES)
    return found
