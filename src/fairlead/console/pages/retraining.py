"""``/console/retraining`` and ``/console/retraining/{id}``: what was trained, on what, and how it was judged."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.facts.retraining import Retrainings
from fairlead.console.shell import Page, Shell

PATH = "/console/retraining"


def routes(shell: Shell, source: Retrainings) -> list[Route]:
    one = Page(
        f"{PATH}/{{id}}",
        "retraining.html",
        "Retraining {id}",
        "retraining",
        lambda asked: source.one(asked["id"], asked.now_ms),
    )
    every = Page(
        PATH,
        "retrainings.html",
        "Retraining",
        "retraining",
        lambda asked: source.retrainings(asked.get("endpoint"), asked.now_ms),
        query=("endpoint",),
    )
    return [*shell.page(one), *shell.page(every)]
