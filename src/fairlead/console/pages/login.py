"""Signing in with a key, and out again. One comes back to where one was."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fairlead.console.door import PATH, TOKEN_FIELD
from fairlead.console.refusing import status_of
from fairlead.console.shell import Shell, form_of
from fairlead.contracts.errors import FairleadError, Unauthenticated


def routes(shell: Shell) -> list[Route]:
    def shown(request: Request, to: str, problem: FairleadError | None) -> Response:
        token, cookie = shell.door.stranger(request)
        told = {"title": "Sign in", "to": to, "problem": problem, "token": token, "asked": None}
        status = status_of(problem) if problem else 200
        return shell.answer(request, None, "login.html", "", told, status, cookie)

    async def show(request: Request) -> Response:
        to = own(request.query_params.get("to", ""))
        return shown(request, to, None) if shell.door.asks else RedirectResponse(to, 303)

    async def sign_in(request: Request) -> Response:
        form = await form_of(request)
        to = own(form.get("to", ""))
        try:
            shell.door.checked(request, form.get(TOKEN_FIELD, ""))
            visit = await shell.door.sign_in(request, form.get("key", "").strip())
        except FairleadError as error:
            return shown(request, to, error)
        response = RedirectResponse(to, 303)
        response.headers["set-cookie"] = visit.cookie
        return response

    async def signed_out(_: Request) -> Response:
        return RedirectResponse(PATH, 303)

    async def sign_out(request: Request) -> Response:
        try:
            visit = await shell.door.enter(request)
        except Unauthenticated:  # it is over already
            return RedirectResponse(f"{PATH}/login", 303)
        shell.door.checked(request, (await form_of(request)).get(TOKEN_FIELD, ""), visit)
        response = RedirectResponse(f"{PATH}/login", 303)
        response.headers["set-cookie"] = shell.door.over(request)
        return response

    return [
        Route(f"{PATH}/login", shell.guarded(show), methods=["GET"]),
        Route(f"{PATH}/login", shell.guarded(sign_in), methods=["POST"]),
        Route(f"{PATH}/logout", shell.guarded(sign_out), methods=["POST"]),
        Route(f"{PATH}/logout", shell.guarded(signed_out), methods=["GET"]),
    ]


def own(to: str) -> str:
    """A path of the console; another one is not followed."""
    good = to == PATH or to.startswith((f"{PATH}/", f"{PATH}?"))
    return to if good and "\\" not in to and to.isascii() and to.isprintable() else PATH
