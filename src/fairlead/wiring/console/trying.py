"""Tries a model on the server that runs: what it takes by its documents, the call by the Open Inference Protocol."""

from __future__ import annotations

import json
import math
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from fairlead.console.facts.trouble import Trouble
from fairlead.console.facts.trying import Attribution, Explanation, Field, Phase, Tensor, Tried, TryFacts
from fairlead.contracts.errors import FairleadError, InvalidParameter, NotFound, Unavailable
from fairlead.kit.sentences import cause
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.measured import client, server_of

_FIELDS: Final = 64
"""Values of a row that has a form."""
_SECONDS: Final = 30.0
_REPLY: Final = 20_000
"""Characters of a reply that are shown."""
_SAID: Final = ("fairlead-version", "fairlead-prediction-id", "fairlead-degraded", "x-request-id", "content-type")
_PHASE: Final = re.compile(r'([\w.-]+)((?:;\s*[\w-]+=(?:"[^"]*"|[^;,]*))*)')
_PART: Final = re.compile(r';\s*([\w-]+)=(?:"([^"]*)"|([^;,]*))')
_PYTHON: Final = """import httpx

answer = httpx.post(
    "{url}",
    json={body},
)
print(answer.json(), answer.headers["server-timing"])"""


@dataclass(frozen=True, slots=True)
class TryPage:
    """``Trials`` over the server of ``kept``."""

    kept: Kept

    def described(self, name: str) -> TryFacts:
        url = "http://127.0.0.1:8080"
        try:
            url = server_of(self.kept)
            with client(self.kept, url) as asking:
                paths = _json(asking.get("/openapi.json", timeout=_SECONDS))["paths"]
                about = _json(asking.get(f"/v2/models/{_part(name)}"))
        except FairleadError as error:
            return TryFacts(name, url, trouble=Trouble(error.code, str(error)))
        except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
            trouble = Trouble(Unavailable.code, f"the server at {url} does not say what {name!r} takes: {cause(error)}")
            return TryFacts(name, url, trouble=trouble)
        call = paths.get(f"/v2/models/{_part(name)}/infer", {}).get("post", {})
        body = _example(call)
        fields = _fields(body)
        return TryFacts(
            name,
            url,
            _tensors(about.get("inputs")),
            _tensors(about.get("outputs")),
            str(about.get("platform", "")),
            tuple(map(str, about.get("versions") or ())),
            fields,
            json.dumps(body, indent=2),
            f"/v1/models/{_part(name)}:explain" in paths,
            bool(call.get("security")),
            _curl(url, name, body),
            _PYTHON.format(url=f"{url}/v2/models/{_part(name)}/infer", body=_python(body)),
        )

    def tried(self, name: str, row: tuple[tuple[str, str], ...], body: str, key: str, *, explain: bool) -> Tried:
        url = server_of(self.kept)
        facts = self.described(name)
        if facts.trouble is not None:
            raise Unavailable(facts.trouble.text)
        document = _written(body) if body or not facts.fields else _filled(json.loads(facts.body), facts.fields, row)
        shown = {"authorization": f"Bearer {key}"} if key else {}
        try:
            with client(self.kept, url) as asking:
                if not key:
                    asking.headers.pop("authorization", None)  # the key of this machine may only look
                began = time.perf_counter()
                answer = asking.post(f"/v2/models/{_part(name)}/infer", json=document, headers=shown, timeout=_SECONDS)
                seconds = time.perf_counter() - began
                told = None
                if explain and answer.is_success:
                    explained = asking.post(
                        f"/v1/models/{_part(name)}:explain",
                        json={"instances": [_instance(document)]},
                        headers=shown,
                        timeout=_SECONDS,
                    )
                    told = _explanation(_json(explained))
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"the server at {url} did not answer: {cause(error)}") from None
        headers = tuple((one, answer.headers[one]) for one in _SAID if one in answer.headers)
        return Tried(
            answer.status_code,
            seconds,
            _pretty(answer),
            headers,
            _timing(answer.headers.get("server-timing", "")),
            _curl(url, name, document),
            row,
            told,
        )


def _fields(body: Mapping[str, Any]) -> tuple[Field, ...]:
    """One for each value of the row; none where there are too many, or where it is no plain row."""
    found: list[Field] = []
    for place, one in enumerate(body.get("inputs", ())):
        data = one.get("data")
        if not isinstance(data, list) or any(isinstance(value, list | dict) for value in data):
            return ()
        for at, value in enumerate(data):
            label = one["name"] if len(data) == 1 else f"{one['name']}[{at}]"
            found.append(Field(f"v.{place}.{at}", label, _kind(one["datatype"]), one["datatype"], _text(value)))
    return tuple(found) if len(found) <= _FIELDS else ()


def _filled(body: dict[str, Any], fields: tuple[Field, ...], row: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The example's row with the values of the form. Raises InvalidParameter."""
    given = dict(row)
    for field in fields:
        if field.key in given:
            _, place, at = field.key.split(".")
            body["inputs"][int(place)]["data"][int(at)] = _value(field, given[field.key])
    return body


def _value(field: Field, text: str) -> Any:
    if field.kind == "text":
        return text
    if field.kind == "bool":
        return text == "true"
    try:
        if text.strip() == "":
            return None
        found = int(text) if field.kind == "integer" else float(text)
    except ValueError:
        raise InvalidParameter(f"{field.label} is {text[:40]!r}; expected a number ({field.datatype})") from None
    if isinstance(found, float) and not math.isfinite(found):
        raise InvalidParameter(
            f"{field.label} is {text[:40]!r}, which JSON has no number for; expected a finite one "
            f"({field.datatype}), or nothing where the value is missing"
        )
    return found


def _written(body: str) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"the body is not JSON: {error}") from None


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text[:40]} is larger than any number that a model takes")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in it; write null where a value is missing")


def _instance(document: Mapping[str, Any]) -> Any:
    """The first row as V1 takes it: by column where there are several inputs, else its values."""
    inputs = document["inputs"]
    if len(inputs) == 1 and len(inputs[0]["data"]) > 1:
        return inputs[0]["data"]
    return {one["name"]: one["data"][0] if len(one["data"]) == 1 else one["data"] for one in inputs}


def _explanation(answer: Mapping[str, Any]) -> Explanation | None:
    found = (answer.get("explanations") or [None])[0]
    if not isinstance(found, Mapping):
        return None
    parts = [Attribution(name, float(value)) for name, value in found.get("attributions", {}).items()]
    column = f" [{found['column']}]" if "column" in found else ""
    ranked = sorted(parts, key=lambda one: -abs(one.value))[:_FIELDS]
    output = f"{found.get('output', 'the output')}{column}"
    return Explanation(output, found.get("value"), found.get("base"), bool(found.get("exact")), tuple(ranked))


def _timing(header: str) -> tuple[Phase, ...]:
    """``queue;dur=0.1, batch;desc="3 rows"``: durations are milliseconds."""
    phases = []
    for name, rest in _PHASE.findall(header)[:16]:
        said = {key: quoted or plain for key, quoted, plain in _PART.findall(rest)}
        seconds = None
        if re.fullmatch(r"[0-9.]+", said.get("dur", "")):
            seconds = float(said["dur"]) / 1000
        phases.append(Phase(name, seconds, said.get("desc", "")[:80]))
    return tuple(phases)


def _json(answer: httpx.Response) -> Any:
    if answer.status_code == 404:
        raise NotFound(str(answer.json().get("error", "it is not there"))[:500])
    if not answer.is_success:
        raise Unavailable(f"the server answers {answer.status_code}: {answer.text[:300]}")
    return answer.json()


def _example(call: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get(
        "example"
    ) or {"inputs": []}
    return body


def _tensors(told: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(one["name"], one["datatype"], tuple(one["shape"]), bool(one.get("optional"))) for one in told or ()
    )


def _kind(datatype: str) -> str:
    if datatype in ("BYTES", "BOOL"):
        return {"BYTES": "text", "BOOL": "bool"}[datatype]
    return "number" if datatype.startswith(("FP", "BF")) else "integer"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}"


def _pretty(answer: httpx.Response) -> str:
    try:
        text = json.dumps(answer.json(), indent=2, ensure_ascii=False)
    except ValueError:
        text = answer.text
    return text if len(text) <= _REPLY else f"{text[:_REPLY]}\n… {len(text) - _REPLY:,} more characters"


def _curl(url: str, name: str, body: Any) -> str:
    data = shlex.quote(json.dumps(body))
    return f"curl {shlex.quote(f'{url}/v2/models/{_part(name)}/infer')} -H 'content-type: application/json' -d {data}"


def _python(body: Any) -> str:
    return repr(body)


def _part(name: str) -> str:
    return quote(name, safe="")
