"""``/console/endpoints/{name}/try``: call a model by a form, and see what it answered and how long that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fairlead.console.door import TOKEN_FIELD, Visit
from fairlead.console.facts.trying import Trials, Tried
from fairlead.console.refusing import json_of, status_of
from fairlead.console.shell import JSON, Page, Shell, form_of
from fairlead.contracts.errors import FairleadError, Forbidden

PATH = "/console/endpoints/{name}/try"
FIELD = "v."
"""What the names of the row's own fields begin with."""


def routes(shell: Shell, source: Trials) -> list[Route]:
    page = Page(PATH, "try.html", "Try {name}", "home", lambda asked: source.described(asked["name"]))

    async def call(request: Request, visit: Visit, form: Mapping[str, str]) -> Tried:
        shell.door.checked(request, form.get(TOKEN_FIELD, ""), visit)
        name = request.path_params["name"]
        row = tuple((key, value) for key, value in form.items() if key.startswith(FIELD))
        explain = form.get("do") == "explain"
        return await shell.reader.act(
            lambda: source.tried(name, row, form.get("body", ""), form.get("key", "").strip(), explain=explain)
        )

    async def html(request: Request) -> Response:
        name = request.path_params["name"]
        tried: Tried | None = None
        problem: FairleadError | None = None
        form: Mapping[str, str] = {}
        visit = await shell.door.enter(request)
        try:
            form = await form_of(request)
            tried = await call(request, visit, form)
        except FairleadError as error:
            problem, form = error, {} if isinstance(error, Forbidden) else form  # another site fills in nothing here
        facts = await shell.reader.read((PATH, name), lambda: source.described(name))
        row = {key: value for key, value in form.items() if key.startswith(FIELD)}
        told: dict[str, Any] = {"facts": facts, "asked": None, "title": f"Try {name}", "tried": tried}
        told |= {"problem": problem, "row": row, "sent": form.get("body", "")}
        return shell.answer(request, visit, "try.html", "home", told, status_of(problem) if problem else 200)

    async def twin(request: Request) -> Response:
        visit = await shell.door.enter(request)
        return json_of(await call(request, visit, await form_of(request)))

    shown = shell.page(page, tried=None, problem=None, row={}, sent="")
    return [
        *shown,
        Route(f"{PATH}{JSON}", shell.guarded(twin), methods=["POST"]),
        Route(PATH, shell.guarded(html), methods=["POST"]),
    ]
