"""The form of a model: what was written stays in it, whatever came of it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from console_frame import console
from fairlead.console.facts.trying import Field, Tried, TryFacts
from fairlead.console.pages import trying
from fairlead.contracts.errors import InvalidParameter


@dataclass
class Source:
    asked: list[dict[str, str]] = field(default_factory=list)

    def described(self, name: str) -> TryFacts:
        fields = (Field("v.0.0", "age", "integer", "INT64", "40"), Field("v.1.0", "plan", "text", "BYTES", "a"))
        return TryFacts(name, "http://127.0.0.1:8080", fields=fields)

    def tried(self, name: str, row: tuple[tuple[str, str], ...], body: str, key: str, *, explain: bool) -> Tried:
        self.asked.append(dict(row))
        raise InvalidParameter("age is 'old'; expected a number (INT64)")


async def test_a_value_that_is_refused_loses_none_of_the_others() -> None:
    source = Source()
    async with console(lambda shell: trying.routes(shell, source)) as (client, _):
        path = "/console/endpoints/churn/try"
        found = re.search(r'name="token" value="([^"]+)"', (await client.get(path)).text)
        assert found is not None
        written = {"v.0.0": "old", "v.1.0": "<b>gold", "do": "call"}
        page = await client.post(path, data={**written, "token": found[1]})
        assert page.status_code == 400
        assert source.asked == [{"v.0.0": "old", "v.1.0": "<b>gold"}]
        assert 'value="old"' in page.text
        assert 'value="&lt;b&gt;gold"' in page.text
        forged = await client.post(path, data={**written, "token": "x"})
        assert forged.status_code == 403
        assert 'value="old"' not in forged.text, "another site fills in nothing"


async def test_a_model_of_any_name_is_called_by_its_own() -> None:
    names: list[str] = []

    class Noting(Source):
        def tried(self, name: str, row: tuple[tuple[str, str], ...], body: str, key: str, *, explain: bool) -> Tried:
            names.append(name)
            return super().tried(name, row, body, key, explain=explain)

    async with console(lambda shell: trying.routes(shell, Noting())) as (client, _):
        for name in ("meta/llama", "a%2Fb", "<b>'100%'", "n" * 500):
            path = f"/console/endpoints/{quote(name, safe='')}/try"
            page = await client.get(path)
            action = re.search(r'<form[^>]* action="([^"]*/try)"', page.text)
            found = re.search(r'name="token" value="([^"]+)"', page.text)
            assert found is not None
            await client.post(html.unescape(action[1]) if action else path, data={"token": found[1], "do": "call"})
            assert (await client.get(f"{path}.json")).json()["name"] == name
            assert names[-1] == name
