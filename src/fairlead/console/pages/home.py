"""``/console``: every endpoint at a glance."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.facts.home import Homes
from fairlead.console.shell import Page, Shell


def routes(shell: Shell, source: Homes) -> list[Route]:
    return shell.page(Page("/console", "home.html", "Endpoints", "home", lambda asked: source.home(asked.now_ms)))
