"""``/console/endpoints/{name}/drift`` and ``.../drift/performance``: is the model still what it was made for?"""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.drift import DriftFacts, Drifts, PerformanceFacts
from fairlead.console.shell import Page, Shell

PATH = "/console/endpoints/{name}/drift"


def routes(shell: Shell, source: Drifts) -> list[Route]:
    def drift(asked: Asked) -> DriftFacts:
        return source.drift(asked["name"], asked.get("version"), asked.since_ms, asked.until_ms)

    def performance(asked: Asked) -> PerformanceFacts:
        return source.performance(asked["name"], asked.get("version"), asked.since_ms, asked.until_ms)

    names, span = ("version",), "24h"
    whole = f"{PATH}/performance"
    return [
        *shell.page(Page(PATH, "drift.html", "Drift of {name}", "home", drift, names, span)),
        *shell.page(Page(whole, "performance.html", "Performance of {name}", "home", performance, names, span)),
    ]
