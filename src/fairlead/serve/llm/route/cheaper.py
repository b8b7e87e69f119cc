"""The stage before the ledger: where the budget would not pay for this model, a cheaper one is asked."""

from __future__ import annotations

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import OverBudget
from fairlead.serve.llm import others
from fairlead.serve.llm.ask import Ask, Enter, Later
from fairlead.serve.llm.route.stage import ROUTE


class Cheaper:
    """Stage. ``name``: of the endpoint that is asked instead; its own budget holds there."""

    def __init__(self, endpoint: str, name: str, find: others.Find) -> None:
        self._name = name
        self._instead = others.enter(find, name, endpoint)

    def stage(self, after: Enter) -> Enter:
        def enter(ask: Ask, tell: Tell) -> Running:
            later = Later()
            said = moved = False

            def hear(event: Event) -> None:
                nonlocal said, moved
                if later.cancelled or moved:
                    return
                if isinstance(event, OverBudget) and not said:
                    moved = True
                    ask.notes.headers[ROUTE] = self._name
                    ask.notes.facts["cheaper"] = self._name
                    later.then(self._instead(ask, instead))
                    return
                said = True
                tell(event)

            def instead(event: Event) -> None:
                if not later.cancelled:
                    tell(event)

            running = after(ask, hear)
            if not moved:
                later.then(running)
            return later

        return enter
