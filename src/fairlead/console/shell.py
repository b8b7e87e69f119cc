"""What all pages share: a page and its JSON twin from one reading, acts by forms, errors as pages.

A page is told once (``Page``): its path, its template, and what reads its facts. An act likewise (``Act``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fairlead.console.asked import Asked, asked
from fairlead.console.door import PATH, TOKEN_FIELD, Door, Visit, bearer
from fairlead.console.navigation import Entry
from fairlead.console.reading import Reader
from fairlead.console.refusing import as_ours, json_of, status_of, wants_json
from fairlead.console.rendering import Templates
from fairlead.contracts.errors import BodyTooLarge, FairleadError, Forbidden, InvalidParameter, Unauthenticated
from fairlead.kit.clock import Clock

_log = logging.getLogger("fairlead.console")

JSON: Final = ".json"
MAX_FORM: Final = 2 * 2**20
"""Bytes of a form."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """``path``: under ``/console``, with ``{name}`` parts.  ``title``: may name those parts.  ``section``: the entry of
    the navigation that is current.  ``read``: blocking, in a thread; its facts are the page's ``facts``.

    ``query``: what the query may name.  ``span``: the range of time without one, empty for a page that has none.
    """

    path: str
    template: str
    title: str
    section: str
    read: Callable[[Asked], Any]
    query: Sequence[str] = ()
    span: str = ""


@dataclass(frozen=True, slots=True)
class Acting:
    """What somebody asks to be done. ``who``: for the audit log."""

    path: Mapping[str, str]
    form: Mapping[str, str]
    who: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Done:
    """``text``: one sentence on what was done.  ``data``: the same for machines.  ``to``: the page that shows it; empty
    for the one that the form was on.
    """

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    to: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """``do``: blocking, in a thread; raises FairleadError.  ``back``: the page of the form.

    ``fields``: what the form may name.  ``confirm``: the part of the path that one must type, empty for none.
    """

    path: str
    do: Callable[[Acting], Done]
    back: str
    fields: Sequence[str] = ()
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class Shell:
    """``entries``: of the navigation, those of them that ``there`` says have something to show.  ``read`` and ``act``
    of pages run through ``reader``.
    """

    templates: Templates
    door: Door
    reader: Reader
    clock: Clock
    entries: Sequence[Entry]
    there: Callable[[Entry], bool] = lambda _: True

    def page(self, page: Page, **more: Any) -> list[Route]:
        """The page and its twin. ``more``: what the template finds beside the facts."""

        async def html(request: Request) -> Response:
            visit = await self.door.enter(request)
            wanted, facts = await self._facts(page, request)
            told = {**more, "facts": facts, "asked": wanted, "title": _titled(page.title, wanted.path)}
            return self.answer(request, visit, page.template, page.section, told)

        async def twin(request: Request) -> Response:
            await self.door.enter(request)
            return json_of((await self._facts(page, request))[1])

        return [
            Route(f"{page.path}{JSON}", self.guarded(twin), methods=["GET"]),
            Route(page.path, self.guarded(html), methods=["GET"]),
        ]

    def act(self, act: Act) -> list[Route]:
        """The form's address, and its twin for machines, which show their key with the request."""

        async def do(request: Request) -> tuple[Visit, Done]:
            visit = await self.door.enter(request)
            form = await form_of(request)
            self.door.checked(request, form.pop(TOKEN_FIELD, ""), visit)
            path = dict(request.path_params)
            self._allowed(act, visit, path, form)
            acting = Acting(path, form, visit.visitor.name, self.clock.wall_ms())
            return visit, await self.reader.act(lambda: act.do(acting))

        async def html(request: Request) -> Response:
            back = filled(act.back, request)
            try:
                visit, done = await do(request)
            except Unauthenticated:
                return self._to_login(request, back)
            except Exception as error:  # noqa: BLE001 - the page says it
                known = as_ours(error)
                visit = await self.door.enter(request)
                self.door.tell(visit, "bad", str(known))
                return RedirectResponse(back, 303)
            self.door.tell(visit, "good", done.text)
            return RedirectResponse(done.to or back, 303)

        async def twin(request: Request) -> Response:
            _, done = await do(request)
            return json_of({"done": done.text, **done.data})

        return [
            Route(f"{act.path}{JSON}", self.guarded(twin), methods=["POST"]),
            Route(act.path, self.guarded(html), methods=["POST"]),
        ]

    def guarded(self, handler: Handler) -> Handler:
        """The handler of a route, whose errors become an answer. The parts of its path are those that are meant."""

        async def handle(request: Request) -> Response:
            request.scope["path_params"] = {name: unquote(value) for name, value in request.path_params.items()}
            try:
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - an answer says it, and the log where it is not ours
                return await self.refused(request, error)

        return handle

    async def refused(self, request: Request, error: Exception, status: int = 0) -> Response:
        """An error as JSON or as a page within the frame; who is not known goes to the form, and then back.

        ``status``: 0 for the one of the error.
        """
        known = as_ours(error)
        status = status or status_of(known)
        if not isinstance(error, FairleadError):
            _log.error("a page failed", extra={"fields": {"path": request.url.path}}, exc_info=error)
        if wants_json(request) or bearer(request):
            return json_of({"error": str(known), "code": known.code}, status, retry=known.retry_after)
        if isinstance(known, Unauthenticated):
            if request.headers.get("hx-request"):  # an open page that asks for its parts anew, and not for a form
                return Response(status_code=401, headers={"cache-control": "no-store"})
            return self._to_login(request, _here(request))
        visit = None
        if not isinstance(known, Forbidden):
            with contextlib.suppress(FairleadError):  # not known, or not to be known: the page alone, without the frame
                visit = await self.door.enter(request)
        told = {"error": known, "status": status, "title": "Not shown", "asked": None}
        return self.answer(request, visit, "error.html", "", told, status)

    def answer(
        self,
        request: Request,
        visit: Visit | None,
        template: str,
        section: str,
        told: Mapping[str, Any],
        status: int = 200,
        cookie: str = "",
    ) -> Response:
        """A template within the frame. ``visit`` None: somebody who may not see the rest of the console."""
        context = {
            **told,
            "entries": self._entries(section) if visit is not None else [],
            "section": section,
            "here": _here(request),
            "twin": _twin(request),
            "now_ms": self.clock.wall_ms(),
            "visitor": visit.visitor if visit else None,
            "asks": self.door.asks,
            "token": visit.token if visit else told.get("token", ""),
            "notice": self.door.told(visit) if visit else None,
        }
        response = Response(self.templates.render(template, context), status, media_type="text/html")
        response.headers["cache-control"] = "no-store"
        cookie = cookie or (visit.cookie if visit else "")
        if cookie:
            response.headers["set-cookie"] = cookie
        return response

    def _entries(self, section: str) -> list[Entry]:
        return [one for one in self.entries if one.section == section or self.there(one)]

    async def _facts(self, page: Page, request: Request) -> tuple[Asked, Any]:
        now_ms = self.clock.wall_ms()
        wanted = asked(request.path_params, request.query_params.multi_items(), page.query, page.span, now_ms)
        return wanted, await self.reader.read((page.path, wanted.key), lambda: page.read(wanted))

    def _allowed(self, act: Act, visit: Visit, path: Mapping[str, str], form: Mapping[str, str]) -> None:
        if not visit.visitor.acts:
            raise Forbidden(f"{visit.visitor.name!r} may look at the console and not act; that needs console:write")
        may = (*act.fields, *(("confirm",) if act.confirm else ()))
        unknown = [name for name in form if name not in may]
        if unknown:
            raise InvalidParameter(f"unknown field {unknown[0][:80]!r}; the form has {', '.join(may) or 'none'}")
        if act.confirm and form.get("confirm", "").strip() != path[act.confirm].strip():
            raise InvalidParameter(f"nothing was done: to confirm, type {path[act.confirm]!r}")

    def _to_login(self, _request: Request, back: str) -> Response:
        return RedirectResponse(f"{PATH}/login?{urlencode({'to': back})}", 303)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises BodyTooLarge, InvalidParameter."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise BodyTooLarge(f"the form has more than {MAX_FORM:,} bytes; send less")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=1000))
    except ValueError:
        raise InvalidParameter("the form cannot be read; expected application/x-www-form-urlencoded") from None


def filled(path: str, request: Request) -> str:
    """A path with the parts of the request's own."""
    for name, value in request.path_params.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def _titled(title: str, parts: Sequence[tuple[str, str]]) -> str:
    for name, value in parts:
        title = title.replace(f"{{{name}}}", value)
    return title


def _here(request: Request) -> str:
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or request.url.path
    return f"{path}?{request.url.query}" if request.url.query else path


def _twin(request: Request) -> str:
    path, _, query = _here(request).partition("?")
    return f"{path}{JSON}{'?' if query else ''}{query}"
