"""The documentation page: what is live, what it takes, and calls that work when pasted. Rendered here, no CDN."""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import quote

import msgspec

from fairlead import __version__
from fairlead.contracts.types import DataType, Missing, TensorSpec
from fairlead.kit.codec import json
from fairlead.kit.codec.tensors import Null
from fairlead.serve import examples
from fairlead.serve.examples import Described as Described
from fairlead.serve.openapi import openapi as openapi
from fairlead.serve.validate import stand_in

_HERE: Final = Path(__file__).parent
_PAGE: Final = Template((_HERE / "docs.html").read_text(encoding="utf-8"))
_CSS: Final = (_HERE / "docs.css").read_text(encoding="utf-8")
_JS: Final = (_HERE / "docs.js").read_text(encoding="utf-8")


def page(
    endpoints: Sequence[Described],
    base: str = "http://127.0.0.1:8080",
    asks: bool = False,
    texts: Sequence[str] = (),
) -> bytes:
    """The page. ``base``: the address written into the calls; a browser shows the one it loaded the page from.

    ``asks``: callers must show a key.  ``texts``: names of language models.
    """
    base = base.rstrip("/")
    names = [*(described.name for described in endpoints), *texts]
    if not names:
        headline, lead = "Nothing is live yet", "Endpoints appear here as soon as their models are loaded."
    else:
        headline = "One live endpoint" if len(names) == 1 else f"{len(names)} live endpoints"
        lead = (
            f"Call an endpoint with {_protocols_of(endpoints, texts)}. "
            "Every example below is a real request: paste it, or send it from here."
        )
    if asks:
        lead += " This server asks who calls: add -H 'authorization: Bearer KEY', and set FAIRLEAD_API_KEY for Python."
    written = [_text(name, len(endpoints) + index, base) for index, name in enumerate(texts)]
    sections = "\n".join([*(_section(one, index, base) for index, one in enumerate(endpoints)), *written])
    text = _PAGE.substitute(
        title=html.escape(f"{', '.join(names) or 'No endpoints'} - Fairlead"),
        server_version=__version__,
        css=_CSS,
        js=_JS,
        menu="".join(f'<li><a href="#e{index}">{html.escape(name)}</a></li>' for index, name in enumerate(names)),
        headline=headline,
        lead=lead,
        sections=sections or '<p class="empty">No endpoint is live.</p>',
    )
    return text.encode()


def _protocols_of(endpoints: Sequence[Described], texts: Sequence[str]) -> str:
    known = ["the Open Inference Protocol", "KServe V1", "MLflow scoring"] if endpoints else []
    known += ["OpenAI's API"] if texts else []
    return " or ".join(part for part in (", ".join(known[:-1]), known[-1]) if part)


def _text(name: str, index: int, base: str) -> str:
    """A language model."""
    key = f"e{index}"
    bodies = (
        ("Chat", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 32}),
        ("Responses", "/v1/responses", {"input": "Say hello.", "max_output_tokens": 32}),
        ("Completions", "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 32}),
    )
    panes: list[tuple[str, str]] = []
    for title, path, body in bodies:
        text = json.encode({"model": name, **body}).decode()
        pane = _route(path) + _code(_curl(base + path, text)) + _form(path, text, f"{key}-{len(panes)}")
        panes.append((title, pane))
    python = (
        f'from openai import OpenAI\n\nclient = OpenAI(base_url="{base}/v1", api_key="KEY")\n'
        f'messages = [{{"role": "user", "content": "Say hello."}}]\n'
        f"answer = client.chat.completions.create(model={name!r}, messages=messages)\n"
        "print(answer.choices[0].message.content)"
    )
    panes.append(("Python", _code(python)))
    return f"""<article class="endpoint" id="{key}" data-base="{html.escape(base)}">
<header><h2>{html.escape(name)}</h2><span class="tag">language model</span></header>
<section>{_tabs(panes, key)}</section>
</article>"""


def _section(described: Described, index: int, base: str) -> str:
    signature = described.signature
    versions = "".join(
        f'<span class="tag{" live" if version == described.version else ""}">version {html.escape(version)}</span>'
        for version in described.versions or (described.version,)
    )
    platform = f'<span class="tag">{html.escape(described.platform)}</span>' if described.platform else ""
    predicted = signature.prediction or tuple(spec.name for spec in signature.outputs)
    tables = _table("Inputs", "Missing values", [(spec, _missing(spec)) for spec in signature.inputs])
    tables += _table("Outputs", "Answered by", [(spec, _protocols(spec, predicted)) for spec in signature.outputs])
    return f"""<article class="endpoint" id="e{index}" data-base="{html.escape(base)}">
<header><h2>{html.escape(described.name)}</h2>{versions}{platform}</header>
<section class="signature">{tables}</section>
<section>{_calls(described, f"e{index}", base)}</section>
</article>"""


def _table(title: str, last: str, specs: Sequence[tuple[TensorSpec, str]]) -> str:
    """Inputs or outputs; ``last`` heads the column of notes."""
    if not specs:
        return f'<div><h3>{title}</h3><p class="absent">The model does not say.</p></div>'
    rows = "".join(
        f'<tr><td class="name">{html.escape(spec.name)}</td><td class="kind">{spec.datatype.value}</td>'
        f'<td class="size">{_shape(spec)}</td><td class="note">{note}</td></tr>'
        for spec, note in specs
    )
    return (
        f"<div><h3>{title}<small>{len(specs)}</small></h3><div class=scroll tabindex=0><table>"
        f"<thead><tr><th>Name</th><th>Type</th><th>Shape</th><th>{last}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _protocols(spec: TensorSpec, predicted: Sequence[str]) -> str:
    return "V2, V1, MLflow" if spec.name in predicted else "V2"


def _shape(spec: TensorSpec) -> str:
    if spec.column:
        return "column"
    sizes = [
        "rows" if axis == 0 and size == -1 else "any" if size == -1 else str(size)
        for axis, size in enumerate(spec.shape)
    ]
    return " &times; ".join(sizes) or "one value"


def _missing(spec: TensorSpec) -> str:
    match spec.missing:
        case Missing.FORBID:
            text = "refused"
        case Missing.NAN:
            text = "become NaN"
        case Missing.NONE:
            text = "become None"
        case Missing.VALUE:
            text = f"become <code>{html.escape(str(spec.missing_value))}</code>"
        case _:
            text = "null refused, NaN passes" if spec.datatype.is_float else "refused"
            if stand_in(spec) is not Null.REFUSE:
                text = "allowed"
    return text if spec.required else f"optional; {text}"


def _calls(described: Described, key: str, base: str) -> str:
    """Tabs: each protocol with its curl and its form, then Python."""
    name = quote(described.name)
    routes = [
        ("Open Inference", f"/v2/models/{name}/infer", examples.v2),
        ("KServe V1", f"/v1/models/{name}:predict", examples.v1),
        ("MLflow", f"/serving-endpoints/{name}/invocations", examples.invocations),
    ]
    if described.explained:
        routes.append(("Explain", f"/v1/models/{name}:explain", examples.v1))
    large = examples.large(described)
    panes = []
    for title, path, body in routes[:1] if large else routes:
        if large:
            panes.append((title, _route(path) + _code(_raw_curl(described, base + path)) + _NO_FORM))
        else:
            text = _spread(body(described))
            panes.append(
                (title, _route(path) + _code(_curl(base + path, text)) + _form(path, text, f"{key}-{len(panes)}"))
            )
    panes.append(("Python", _code(_python(described, base))))
    return _tabs(panes, key)


def _tabs(panes: Sequence[tuple[str, str]], key: str) -> str:
    tabs = "".join(
        f'<button type="button" role="tab" aria-controls="{key}-pane{at}" aria-selected="{str(at == 0).lower()}"'
        f' tabindex="{0 if at == 0 else -1}">{title}</button>'
        for at, (title, _) in enumerate(panes)
    )
    bodies = "".join(
        f'<div class="pane" role="tabpanel" id="{key}-pane{at}"{"" if at == 0 else " hidden"}>{body}</div>'
        for at, (_, body) in enumerate(panes)
    )
    return f'<h3>Call it</h3><div class="tabs" role="tablist" aria-label="Protocols">{tabs}</div>{bodies}'


def _route(path: str) -> str:
    return f'<p class="route"><b>POST</b><span>{html.escape(path)}</span></p>'


def _code(text: str) -> str:
    return (
        f'<div class="code"><pre tabindex="0">{html.escape(text)}</pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


def _form(path: str, body: str, key: str) -> str:
    return f"""<form class="try" data-path="{html.escape(path)}">
<label for="{key}-body">Try it</label>
<textarea id="{key}-body" name="body" spellcheck="false" autocomplete="off">{html.escape(body)}</textarea>
<div class="actions"><button class="send">Send</button><div class="outcome" role="status"></div></div>
<div class="code reply" hidden><pre tabindex="0"></pre><button type="button" class="copy">Copy</button></div>
</form>"""


_NO_FORM: Final = '<p class="note try">A row of this model is too large for a form: the call sends raw zeros.</p>'


def _curl(url: str, body: str) -> str:
    return f"curl -s {url} \\\n  -H 'content-type: application/json' \\\n  -d {shlex.quote(body)}"


def _raw_curl(described: Described, url: str) -> str:
    """A call with raw zeros of the right size behind the JSON."""
    inputs = []
    total = 0
    for spec in described.signature.inputs:
        array = examples.row(described)[spec.name]
        size = math.prod(array.shape) * (
            2 if spec.datatype is DataType.BF16 else 4 if spec.datatype is DataType.BYTES else array.itemsize
        )
        total += size
        tensor = {"name": spec.name, "shape": list(array.shape), "datatype": spec.datatype.value}
        inputs.append({**tensor, "parameters": {"binary_data_size": size}})
    head = json.encode({"inputs": inputs}).decode()
    return (
        f"(printf %s {shlex.quote(head)}; head -c {total} /dev/zero) | curl -s {url} \\\n"
        f"  -H 'content-type: application/octet-stream' \\\n"
        f"  -H 'inference-header-content-length: {len(head.encode())}' \\\n  --data-binary @-"
    )


def _python(described: Described, base: str) -> str:
    signature = described.signature
    names = signature.prediction or tuple(spec.name for spec in signature.outputs)
    shown = f"[{names[0]!r}]" if names else ""
    header = "from fairlead import Client\n"
    if signature.tabular:
        data = f"[{_literal(examples.rows(described)[0])}]"
    else:
        arrays = examples.row(described)
        header = "import numpy as np\n\n" + header
        parts = []
        for spec in signature.inputs:
            array = arrays[spec.name]
            kind = "object" if spec.datatype is DataType.BYTES else spec.datatype.numpy.name
            made = (
                f"np.zeros({array.shape}, {kind!r})"
                if examples.large(described)
                else f"np.array({_literal(examples.plain(array, spec.name))}, {kind!r})"
            )
            parts.append(f"{spec.name!r}: {made}")
        data = parts[0].partition(": ")[2] if len(parts) == 1 else "{" + ", ".join(parts) + "}"
    return (
        f"{header}\nwith Client({base!r}) as client:\n"
        f"    answer = client.predict({described.name!r}, {data})\nprint(answer{shown})"
    )


def _literal(value: Any) -> str:
    """Python source of a JSON-like value; NaN has no literal."""
    if isinstance(value, float) and not math.isfinite(value):
        return "None"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _spread(body: dict[str, Any]) -> str:
    """JSON with one input or row a line: short enough to read, long enough to edit."""
    (field, items), *_ = body.items()
    lines = ",\n".join("  " + msgspec.json.format(json.encode(item), indent=0).decode() for item in items)
    return f'{{"{field}": [\n{lines}\n]}}'
