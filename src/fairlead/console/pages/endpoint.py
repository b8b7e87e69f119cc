"""``/console/endpoints/{name}``: how one endpoint answers, and what answers."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.endpoint import EndpointFacts, Endpoints
from fairlead.console.shell import Page, Shell


def routes(shell: Shell, source: Endpoints) -> list[Route]:
    def read(asked: Asked) -> EndpointFacts:
        return source.endpoint(asked["name"], asked.since_ms, asked.until_ms, asked.now_ms)

    return shell.page(Page("/console/endpoints/{name}", "endpoint.html", "{name}", "home", read, span="24h"))
