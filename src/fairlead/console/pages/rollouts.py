"""``/console/rollouts`` and ``/console/endpoints/{name}/rollout``: how a version comes, and who holds it."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.rollouts import Rollouts, RolloutsFacts
from fairlead.console.shell import Act, Acting, Done, Page, Shell

PATH = "/console/endpoints/{name}/rollout"
ASKED = {"pause": "", "resume": "", "promote": "name", "abort": "name"}
"""What can be asked, and the part of the path that one types to confirm it."""


def routes(shell: Shell, source: Rollouts) -> list[Route]:
    def act(what: str, confirm: str) -> Act:
        def do(acting: Acting) -> Done:
            row = source.wished(what, acting.path["name"], acting.form.get("id", ""), acting.who)
            return Done(f"{row.id}: {what} is noted; the controller does it within a second", {"rollout": row.id})

        return Act(f"{PATH}/{what}", do, PATH, ("id",), confirm)

    def shown(asked: Asked) -> RolloutsFacts:
        return source.rollouts(asked["name"], asked.get("id"))

    one = Page(PATH, "rollouts.html", "Rollout of {name}", "home", shown, ("id",))
    every = Page("/console/rollouts", "rollouts.html", "Rollouts", "rollouts", lambda _: source.rollouts(""))
    acts = [route for what, confirm in ASKED.items() for route in shell.act(act(what, confirm))]
    return [*shell.page(one), *shell.page(every), *acts]
