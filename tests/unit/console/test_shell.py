"""The frame of the console: pages and twins, who comes, forms, errors, what browsers are told."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import httpx
from starlette.routing import BaseRoute

from console_frame import Doorman, console
from fairlead.console.asked import Asked
from fairlead.console.facts.home import HomeFacts, Model, Operations, Row
from fairlead.console.pages import home
from fairlead.console.pages.login import own
from fairlead.console.shell import Act, Acting, Done, Page, Shell
from fairlead.console.visitors import Visitor
from fairlead.contracts.errors import Conflict, FairleadError, NotFound, Unavailable

HOSTILE = "<script>alert(1)</script>\"'&" + "n" * 480


@dataclass
class Source:
    error: FairleadError | None = None
    reads: int = 0

    def home(self, now_ms: int) -> HomeFacts:
        self.reads += 1
        if self.error is not None:
            raise self.error
        nan = float("nan")
        operations = Operations("ok", "", 0, nan, nan, None, nan, (nan, None, 1.0), ())
        rows = (Row(HOSTILE, operations, Model("none", "none", "")),)
        return HomeFacts(now_ms - 1, now_ms, rows)


def pages(source: Source, done: list[Acting] | None = None) -> object:
    def act(acting: Acting) -> Done:
        assert done is not None
        if done:
            raise Conflict(f"{done[0].who} did it already")
        done.append(acting)
        return Done("it is done", {"version": "4"})

    def made(shell: Shell) -> list[BaseRoute]:
        found = [*home.routes(shell, source)]
        path = "/console/endpoints/{name}"
        found += shell.act(Act(f"{path}/promote", act, "/console", ("id",), "name"))
        return [*found, *shell.page(Page(path, "error.html", "{name}", "home", _missing, query=("kind",), span="1h"))]

    return made


def _missing(asked: Asked) -> None:
    raise NotFound(f"no {asked['name']} of {asked.get('kind')} in {asked.range}")


def token_of(text: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', text)
    return found[1] if found else ""


async def test_what_is_foreign_is_escaped_and_what_is_no_number_is_no_number() -> None:
    async with console(pages(Source())) as (client, _):
        page = await client.get("/console")
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert not re.search(r"[> ](nan|None|inf)[ <]", page.text)
        twin = await client.get("/console.json")
        row = twin.json()["rows"][0]
        assert row["name"] == HOSTILE
        assert row["operations"]["p99"] is None
        assert "NaN" not in twin.text


async def test_every_answer_forbids_what_pages_do_not_need() -> None:
    async with console(pages(Source())) as (client, _):
        for path in ("/console", "/console.json", "/console/none", "/console/assets/console.css"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
        page = (await client.get("/console")).text
        assert " style=" not in page
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page)
        assert not re.search(r"\son\w+=", page)
        assert not re.findall(r'(?:src|href)="https?:', page)


async def test_many_who_look_cost_one_read() -> None:
    source = Source()
    async with console(pages(source)) as (client, clock):
        for _ in range(5):
            await client.get("/console")
        assert source.reads == 1
        clock.advance(1.1)
        await client.get("/console")
        assert source.reads == 2


async def test_errors_are_pages_within_the_frame_and_json_for_machines() -> None:
    source = Source(Unavailable("the state store does not answer"))
    async with console(pages(source)) as (client, _):
        page = await client.get("/console")
        assert page.status_code == 503
        assert "the state store does not answer" in page.text
        assert 'aria-label="Console"' in page.text, "one can go on from here"
        twin = await client.get("/console.json")
        assert twin.status_code == 503
        assert twin.json() == {"error": "the state store does not answer", "code": "unavailable"}
        missing = await client.get("/console/endpoints/churn?kind=a")
        assert missing.status_code == 404
        assert "no churn of a in 1h" in missing.text
        for query, word in (
            ("knd=a", "did you mean kind?"),
            ("range=2y", "is not known"),
            ("since=5&until=4", "before"),
        ):
            wrong = await client.get(f"/console/endpoints/churn.json?{query}")
            assert wrong.status_code == 400
            assert word in wrong.json()["error"]
        assert (await client.get("/console/nowhere")).status_code == 404


async def test_nobody_calls_it_by_another_name() -> None:
    async with console(pages(Source()), host="evil.example") as (client, _):
        page = await client.get("/console")
        assert page.status_code == 403
        assert "evil.example" in page.text
        assert "nnnn" not in page.text


async def test_an_act_needs_the_form_the_word_and_happens_once() -> None:
    done: list[Acting] = []
    async with console(pages(Source(), done)) as (client, _):
        token = token_of((await client.get("/console/endpoints/churn")).text) or await _token(client)
        path = "/console/endpoints/churn/promote"
        for form, why in (
            ({"confirm": "churn"}, "not made by this console"),
            ({"token": token, "confirm": "chrn"}, "type &#39;churn&#39;"),
            ({"token": token, "confirm": "churn", "x": "1"}, "unknown field"),
        ):
            refused = await client.post(path, data=form)
            assert refused.status_code == 303
            assert why in (await client.get("/console")).text
        other = {"origin": "http://evil.example"}
        await client.post(path, data={"token": token, "confirm": "churn"}, headers=other)
        assert not done
        assert "not made by" in (await client.get("/console")).text
        good = await client.post(path, data={"token": token, "confirm": "churn", "id": "7"})
        assert good.headers["location"] == "/console"
        assert "it is done" in (await client.get("/console")).text
        assert "it is done" not in (await client.get("/console")).text, "said once"
        assert [(one.path["name"], one.form["id"], one.who) for one in done] == [("churn", "7", "local:me")]
        await client.post(path, data={"token": token, "confirm": "churn"})
        assert "local:me did it already" in (await client.get("/console")).text
        assert len(done) == 1


async def _token(client: httpx.AsyncClient) -> str:
    """Of the session, as the form of any page has it."""
    await client.get("/console")
    return _seal(client)


def _seal(client: httpx.AsyncClient) -> str:
    from fairlead.console.sessions import COOKIE, Seal

    seal = Seal(b"s" * 32)
    session = seal.read(client.cookies[COOKIE], 1_700_000_000)
    assert session is not None
    return seal.token(session)


KEYS = {"good": Visitor("ann", True), "looks": Visitor("bob", False)}


async def test_one_signs_in_by_a_key_and_comes_back_to_where_one_was() -> None:
    doorman = Doorman(True, dict(KEYS))
    async with console(pages(Source()), doorman, host="console.example") as (client, clock):
        sent = await client.get("/console/endpoints/churn?kind=a")
        assert sent.status_code == 303
        assert sent.headers["location"] == "/console/login?to=%2Fconsole%2Fendpoints%2Fchurn%3Fkind%3Da"
        form = await client.get(sent.headers["location"])
        token = token_of(form.text)
        assert "nnnn" not in form.text
        wrong = await client.post("/console/login", data={"token": token, "key": "bad", "to": "/console"})
        assert wrong.status_code == 401
        assert "does not hold" in wrong.text
        other = await client.post("/console/login", data={"token": token, "key": "other", "to": "/console"})
        assert other.status_code == 403
        forged = await client.post("/console/login", data={"token": "x", "key": "good", "to": "/console"})
        assert forged.status_code == 403
        back = await client.post("/console/login", data={"token": token, "key": "good", "to": "/console?x=1"})
        assert (back.status_code, back.headers["location"]) == (303, "/console?x=1")
        cookie = back.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "good" not in cookie
        assert (await client.get("/console")).status_code == 200
        doorman.keys.pop("good")  # taken back
        clock.advance(1.1)
        assert (await client.get("/console")).headers["location"].startswith("/console/login")
        doorman.keys["good"] = KEYS["good"]
        clock.advance(12 * 3600)
        assert (await client.get("/console")).headers["location"].startswith("/console/login")


async def test_who_looks_may_not_act_and_machines_show_their_key() -> None:
    done: list[Acting] = []
    async with console(pages(Source(), done), Doorman(True, dict(KEYS)), host="console.example") as (client, _):
        assert (await client.get("/console.json")).status_code == 401
        looks, good = ({"authorization": f"Bearer {one}"} for one in ("looks", "good"))
        assert (await client.get("/console.json", headers=looks)).status_code == 200
        path = "/console/endpoints/churn/promote.json"
        refused = await client.post(path, data={"confirm": "churn"}, headers=looks)
        assert refused.status_code == 403
        assert "console:write" in refused.json()["error"]
        told = await client.post(path, data={"confirm": "churn"}, headers=good)
        assert told.json() == {"done": "it is done", "version": "4"}
        again = await client.post(path, data={"confirm": "churn"}, headers=good)
        assert again.status_code == 409
        assert "ann did it already" in again.json()["error"]


def test_one_comes_back_to_the_console_alone() -> None:
    for good in ("/console", "/console/llm?x=1", "/console?range=1h"):
        assert own(good) == good
    for bad in ("", "https://evil", "//evil", "/consoles", "/console/\\evil", "/console/\n", "/", "javascript:1"):
        assert own(bad) == "/console"


async def test_a_form_that_is_too_large_is_refused() -> None:
    async with console(pages(Source(), [])) as (client, _):
        await client.get("/console")
        answer = await client.post("/console/endpoints/churn/promote.json", content=b"a=" + b"x" * (2**21 + 10))
        assert answer.status_code == 413
        assert json.loads(answer.content)["code"] == "body_too_large"


async def test_strangers_get_errors_as_everybody_does() -> None:
    async with console(pages(Source()), Doorman(True, dict(KEYS)), host="console.example") as (client, _):
        assert (await client.get("/console/nowhere")).status_code == 404
        assert (await client.delete("/console")).status_code == 405
        large = await client.post("/console/login", content=b"key=" + b"x" * (2**21 + 10))
        assert large.status_code == 413
        assert 'href="/console/access"' not in large.text, "nothing of the console but the error"


async def test_a_method_that_a_page_does_not_have_is_the_callers_error() -> None:
    async with console(pages(Source())) as (client, _):
        answer = await client.delete("/console")
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]
        assert "DELETE is not for /console" in answer.text


async def test_names_and_origins_that_are_no_urls_are_refused() -> None:
    async with console(pages(Source(), [])) as (client, _):
        token = await _token(client)
        path, form = "/console/endpoints/churn/promote.json", {"token": token, "confirm": "churn"}
        assert (await client.post(path, data=form, headers={"origin": "http://["})).status_code == 403
        assert (await client.get("/console", headers={"host": "["})).status_code == 403
