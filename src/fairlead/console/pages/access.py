"""``/console/access``: keys and what they do, and the end of the audit log."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.access import Accesses, AccessFacts
from fairlead.console.shell import Page, Shell


def routes(shell: Shell, source: Accesses) -> list[Route]:
    def read(asked: Asked) -> AccessFacts:
        wanted = (asked.get("actor"), asked.get("action"), asked.get("outcome"))
        return source.access(*wanted, asked.since_ms, asked.until_ms)

    names = ("actor", "action", "outcome")
    return shell.page(Page("/console/access", "access.html", "Access", "access", read, query=names, span="24h"))
