"""``/console/llm`` and ``/console/llm/traces/{id}``: what language models did, and what it cost."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.llm import LlmFacts, Llms, TraceFacts
from fairlead.console.shell import Page, Shell


def routes(shell: Shell, source: Llms) -> list[Route]:
    def llm(asked: Asked) -> LlmFacts:
        return source.llm(asked.get("endpoint"), asked.since_ms, asked.until_ms)

    def trace(asked: Asked) -> TraceFacts:
        return source.trace(asked["id"])

    return [
        *shell.page(Page("/console/llm/traces/{id}", "trace.html", "Trace {id}", "llm", trace)),
        *shell.page(Page("/console/llm", "llm.html", "Language models", "llm", llm, query=("endpoint",), span="24h")),
    ]
