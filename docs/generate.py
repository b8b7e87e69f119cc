"""Write what is generated in docs/. ``--check`` only says whether it is current.

A generated part of a page stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import sys
from pathlib import Path

from fairlead.cli import main as cli
from fairlead.contracts import errors
from fairlead.contracts.answered import Answered
from fairlead.contracts.figures import Look
from fairlead.contracts.generation import Generation, Usage
from fairlead.contracts.sink import Streamed
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.spec import describe
from fairlead.serve.edges.status import STATUS, status_of
from fairlead.serve.grpc.status import STATUS as GRPC
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.cascade.stage import Cascade
from fairlead.serve.llm.chats import Chats
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.route.stage import Routes
from fairlead.testing.state import MemoryState
from fairlead.wiring import modelplane

DOCS = Path(__file__).parent


def error_codes() -> str:
    """Every code of the error tree with its statuses and its place."""
    rows = ["| code | HTTP | gRPC | error | what it says |", "|---|---|---|---|---|"]
    meanings = dict(re.findall(r"[|' ]-\s+(\w+)\s{2,}(.+)", inspect.getdoc(errors) or ""))
    for name, found in vars(errors).items():
        if inspect.isclass(found) and issubclass(found, errors.FairleadError):
            status = str(status_of(found.code)) if found.code in STATUS else "-"
            grpc = str(GRPC[found.code]) if found.code in GRPC else "-"
            meaning = meanings.get(name, "an error of the server itself")
            rows.append(f"| `{found.code}` | {status} | {grpc} | `{name}` | {meaning} |")
    return "\n".join(rows)


def commands() -> str:
    """The help text of every command."""
    pages: dict[tuple[str, ...], str] = {(): _help([])}
    for name in cli.COMMANDS:
        pages[name,] = _help([name])
        inside = re.findall(r"^  (\w+)  ", pages[name,].partition("Commands:")[2], re.MULTILINE)
        pages |= {(name, one): _help([name, one]) for one in inside}
    return "\n\n".join(
        f"### `fairlead {' '.join(group)}`".rstrip("` ") + f"`\n\n```text\n{text}\n```" for group, text in pages.items()
    )


def _help(words: list[str]) -> str:
    """In this process: one for each of some fifty commands takes a minute."""
    os.environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        cli.get_command(cli.app).main([*words, "--help"], prog_name="fairlead", standalone_mode=False)
    return out.getvalue().rstrip()


def shown() -> list[tuple[str, Look]]:
    """What stages of language models count, each figure once."""
    clock, nobody = SystemClock(), Chats().resolve
    fair = Fair("chat", Sharing(), lambda: 1, clock)
    fair.slots.saw("", 1, 0.0)
    fair.measured.refused("queue_full", 1)
    fair.measured.used("", Usage(1))
    routes = Routes("chat", Routing(replicas=("a",)), nobody, clock)
    routes.measured.picked["a", "least"] = routes.measured.outcomes["a", "ok"] = routes.measured.retries["wait"] = 1
    climbing = Climbing((Step("small", 0.9),), "chat")
    cascade = Cascade("assistant", climbing, nobody, clock, lambda: 1.0, lambda _alarm: None)
    cascade.measured.climbed["small", "unsure"] = 1
    store = MemoryState()
    store.put("monitor", "churn", {"standings": {"Drift": {"since_ms": 1}}, "readings": {"drift.psi.in.age": 0.3}}, 0)
    store.put("split", "churn", {"shares": [{"version": "1", "weight": 100.0}]}, 0)
    models = tuple(modelplane.figures(store, "churn"))
    return [("models", lambda: models), ("fair", fair.figures), ("route", routes.figures), ("cascade", cascade.figures)]


def metrics() -> str:
    """Every metric of our own."""
    sink = plugins.load("fairlead.sinks", "prometheus")()
    sink.endpoint("churn", "1").failed("queue_full", 0.0)
    sink.edge_error("/invocations", "not_found")
    sink.ready("churn", "1", True)
    sink.endpoint("churn", "1").pressure(0.0, 1)
    sink.endpoint("churn", "1").shed("delay", "batch")
    sink.endpoint("churn", "1").processes(1, 0)
    sink.endpoint("churn", "1").replaced("crashed")
    sink.endpoint("churn", "1").upstream("http://10.0.0.5:8000", 0, False)
    sink.endpoint("churn", "1").upstream_asked("http://10.0.0.5:8000", "ok")
    sink.endpoint("churn", "1").ejected("http://10.0.0.5:8000", "failures")
    sink.endpoint("churn", "1").retry("sent")
    sink.endpoint("churn", "1").hedge("sent")
    sink.endpoint("churn", "1").wanted(1)
    sink.endpoint("churn", "1").woke(0.5)
    sink.endpoint("risk", "1").step("scaled", "ok", 0.0)
    sink.limited("churn", "key", "requests")
    sink.shared_limits("asked", 1)
    sink.spent("chat", 1, 1, "USD")
    sink.over_budget("chat", "money")
    sink.budget("acme", "USD", 1, 0, 0)
    sink.endpoint("churn", "1").fell_back("cache", "model_failed")
    sink.endpoint("churn", "1").breaker("open")
    sink.workers().silent("0")
    sink.events("parquet", 1, 0)
    sink.certificate(0.0)
    sink.injected("churn", "slow", 1)
    sink.degraded("events", True)
    for owner, look in shown():
        sink.figures(owner, look)
    sink.stream("churn", "churn", lambda: Streamed(0, 0, 0, 0, 0, 0, 0, 0, [(1.0, 0)], 0.0))
    sink.chat("chat").cached("exact")
    asked = Generation("", "chat", "")
    sink.chat("chat").answered(Answered("chat", asked, "", "stop", False, 0.0, 0.0, 0.0, 0, 0, 0.0, None))
    sink.guards("chat").found("input", "pii", "email", "mask", 1)
    sink.guards("chat").looked("input", 0.0)
    sink.guards("chat").missed("input", "http", "late")
    rows = ["| metric | type | labels | what it measures |", "|---|---|---|---|"]
    for family in sink.registry.collect():
        if family.name.startswith("fairlead_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = ", ".join(f"`{name}`" for name in family.samples[0].labels if name != "le")
            rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


GENERATED = {
    "errors.md": ("errors", error_codes),
    "cli.md": ("commands", commands),
    "metrics.md": ("metrics", metrics),
    "spec.md": ("fields", describe.table),
}
SCHEMA = "fairlead.schema.json"


def render(page: str) -> tuple[str, str]:
    """The page as it is and as it should be."""
    if page == SCHEMA:
        there = (DOCS / page).read_text() if (DOCS / page).exists() else ""
        return there, json.dumps(describe.schema(), indent=2) + "\n"
    name, make = GENERATED[page]
    text = (DOCS / page).read_text()
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    wanted, count = pattern.subn(lambda match: f"{match[1]}{make()}\n{match[2]}", text)
    if count != 1:
        sys.exit(f"{page} has no generated part {name!r}")
    return text, wanted


def main() -> None:
    stale = []
    for page in (*GENERATED, SCHEMA):
        now, wanted = render(page)
        if now != wanted:
            stale.append(page)
            if "--check" not in sys.argv:
                (DOCS / page).write_text(wanted)
    if stale and "--check" in sys.argv:
        sys.exit(f"stale: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
