"""Drift, language models and access in the console: page, JSON twin and command say the same."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fairlead.adapters.traces.files import FileTracer
from fairlead.audit.chain import opened
from fairlead.audit.entry import Noted, Seal
from fairlead.audit.heads import Head
from fairlead.cli.main import main
from fairlead.console.facts.access import Limited
from fairlead.contracts.access import Scope
from fairlead.contracts.answered import Answered
from fairlead.contracts.audit import Audited
from fairlead.contracts.events import Columns, Label
from fairlead.contracts.generation import Generation, Message, Sampling, Usage
from fairlead.contracts.ledger import EACH, Account, Budget, Reservation, Window
from fairlead.contracts.plans import Happening, Share, TrafficSplit
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import Folder
from fairlead.serve.access.keys import Key
from fairlead.testing.ledger_suite import line
from fairlead.wiring import access, auditing, ledgering, stores
from fairlead.wiring.console import measured
from fairlead.wiring.console.access import AccessPage
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.llm import LlmPage

pytest.importorskip("jinja2", reason="needs fairlead[console]")
pytest.importorskip("duckdb", reason="needs fairlead[events]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")

HOUR = 3_600_000
HOSTILE = "<script>alert(1)</script>\"'" + "z" * 500


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return config.home(tmp_path / ".fairlead")


@pytest.fixture
def visit(home: Home) -> Iterator[Any]:
    app = opening.application(Kept(home), asks=False)
    with testing.TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["fairlead", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert str(ended.value.code) == "0", err
    return out


@pytest.fixture
def recorded(home: Home) -> int:
    """Six hours of version 3, whose inputs move in the last two; when they end."""
    state, events, rng = stores.state(home), stores.events(home), np.random.default_rng(1)
    name = f"x{HOSTILE[:60]}"

    def rows(n: int, shift: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
        x = rng.normal(shift, 1, n)
        return {"x": x, name: rng.normal(size=n)}, {"p": 1 / (1 + np.exp(-2 * x))}

    kept = reference(*rows(3000), model="classifier", version="3")
    state.put("reference", "classifier/3", to_body(kept), 0)
    state.put("split", "churn", to_body(TrafficSplit("churn", "classifier", (Share("3", "champion", 100),))), 0)
    start = SystemClock.wall_ms() // HOUR * HOUR - 6 * HOUR
    for hour in range(6):
        n, (inputs, outputs) = 200, rows(200, 1.5 if hour > 3 else 0.0)
        at = start + hour * HOUR + np.arange(n) * 1000
        ids = [f"{hour}-{row}" for row in range(n)]
        told = Columns("churn", "3", "champion", ids, at, np.full(n, 0.002), [""] * n, np.ones(n, int), inputs, outputs)
        folder = Folder(kept, "churn", "3", "champion", "w", HOUR)
        folder.add(told)
        state.put_windows(folder.windows())
        events.append([told])
        truth = (rng.random(n) < outputs["p"]).astype(float)
        state.label([Label("churn", one, float(y), int(ms) + 60_000)
                     for one, y, ms in zip(ids, truth, at, strict=True)])  # fmt: skip
    timeline.write(state, Happening("churn", "deploy", HOSTILE, start))
    return start + 6 * HOUR


def test_drift_is_what_the_commands_say(
    visit: Any, recorded: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(command(monkeypatch, capsys, "monitor", "report", "churn", "--since", "24h", "--json"))
    span = f"since={report['since_ms']}&until={report['until_ms']}"
    found = visit.get(f"/console/endpoints/churn/drift.json?{span}").json()
    columns = {one["name"]: one for one in report["columns"]}
    assert len(found["columns"]) == len(columns) == 3
    for one in found["columns"]:
        same = columns[one["name"]]
        assert one["band"] == (same["null_band"] or [0, None])[1]
        for field in ("kind", "verdict", "psi", "p", "importance", "reference", "current", "labels", "trend", "why"):
            assert one[field] == same[field], field
    assert (found["reference"], found["rows"], found["state"]) == ("classifier/3", 1200, "alarm")
    tests = json.loads(command(monkeypatch, capsys, "monitor", "drift", "churn", "--since", "24h", "--json"))["tests"]
    known = {(one["column"], one["test"]): one for one in tests}
    for column in found["columns"]:
        for one in column["tests"]:
            same = known.pop((column["name"], one["test"]))
            assert (one["size"], one["p"], one["n"], one["verdict"]) == tuple(
                same[field] for field in ("size", "p", "n", "verdict")
            )
    assert known == {}
    page = visit.get(f"/console/endpoints/churn/drift?{span}").text
    assert "<script>alert" not in page
    assert all(f"{one['psi']:.3f}" in page for one in found["columns"])
    told = visit.get(f"/console/endpoints/churn/drift/performance.json?{span}").json()
    assert len(told["periods"]) == len(report["periods"]) > 0
    for one, same in zip(told["periods"], report["periods"], strict=True):
        for field in ("start_ms", "predictions", "labelled_then", "labelled_now"):
            assert one[field] == same[field]
        for when in ("then", "now"):
            for measure, other in zip(one[when], same[when], strict=True):
                assert measure == {field: other[field] for field in measure}
    assert told["labels"] == report["labels"]
    assert [one["expected"]["value"] for one in told["estimates"]] == [
        one["expected"]["value"] for one in report["estimates"]
    ]
    shown = visit.get(f"/console/endpoints/churn/drift/performance?{span}").text
    value = next(one["now"][0]["value"] for one in told["periods"] if one["now"][0]["value"] is not None)
    assert f"{value:.4f}" in shown


def test_a_time_without_calls_and_an_endpoint_that_nobody_knows(visit: Any, recorded: int) -> None:
    empty = visit.get(f"/console/endpoints/churn/drift?since={recorded - 90 * HOUR}&until={recorded - 80 * HOUR}")
    assert empty.status_code == 200
    assert "Nothing to compare in this time" in empty.text
    for page in ("drift", "drift/performance"):
        assert visit.get(f"/console/endpoints/nobody/{page}").status_code == 404
        assert visit.get(f"/console/endpoints/churn/{page}.json?version=9").status_code in (200, 404)


def answer(model: str, request: str, seconds: float, usage: Usage, **facts: Any) -> Answered:
    asked = Generation(f"{request}-{model}", model, (Message("user", "a secret text"),), Sampling())
    now = SystemClock.wall_ms()
    return Answered(model, asked, request, "stop", False, 10.0, 10.25, 10.0 + seconds, now, usage.completion, 0.1,
                    usage, True, HOSTILE, facts=facts)  # fmt: skip


@pytest.fixture
def talked(home: Home) -> None:
    tracer = FileTracer(str(home.root / "traces"), "shop")
    tracer.put(answer("small", "r-1", 1.25, Usage(10, 5, 11)))
    guard = {"pii/email/mask": 2}
    tracer.put(answer("chat", "r-1", 2.25, Usage(10, 5, 11), cascade=("small", "large"), guard_input=guard, cost_nano=7,
                      currency="USD"))  # fmt: skip
    tracer.put(answer("chat", HOSTILE, 0.01, Usage(), cache="exact"))
    tracer.close()
    (home.root / "traces" / "2020-01-01.jsonl").write_bytes(b'{"torn')


def test_language_models_out_of_traces(home: Home, visit: Any, talked: None) -> None:
    now = SystemClock.wall_ms()
    found = LlmPage(Kept(home)).llm("", now - HOUR, now + 1000)
    chat, small = found.speakers
    assert (chat.name, chat.answers, chat.failed, chat.cached, chat.steps) == (
        "chat", 2, 0, (("exact", 1),), (("large", 1),)
    )  # fmt: skip
    assert small.first == (0.25, 0.25, 0.25)
    assert small.per_token == pytest.approx((0.1, 0.1, 0.1))
    assert (small.prompt, small.prompt_cached, small.completion) == (15, 5, 11)
    (guarded,) = found.guarded
    assert (guarded.side, guarded.detector, guarded.kind, guarded.action, guarded.count) == (
        "input", "pii", "email", "mask", 2
    )  # fmt: skip
    assert found.ledger is not None
    assert found.ledger.code == "not_found"
    for path in ("/console/llm", "/console/llm.json", "/console/llm/traces/r-1"):
        page = visit.get(path)
        assert page.status_code == 200
        assert "secret text" not in page.text
        if not path.endswith(".json"):
            assert "<script>alert" not in page.text
    trace = visit.get("/console/llm/traces/r-1.json").json()
    assert [one["name"] for one in trace["spans"]] == ["chat", "small"]
    assert ["cascade", "small → large"] in trace["told"][0]
    assert visit.get("/console/llm/traces/nobody").status_code == 404


def test_money_is_what_the_ledger_says(
    home: Home, visit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, now = ledgering.store(home), SystemClock.wall_ms()
    usd = line("acme/USD/month", most=10**12, money=True)._replace(begins=now - 1000, ends=now + 10**9)
    hold = store.reserve(Reservation("r", Account("", "acme", "<b>", "chat", "small"), now, "USD", (usd,)))
    store.settle(hold, Usage(10, 1, 2, 0), 12_345, "settled", now + 1)
    store.close()
    said = json.loads(command(monkeypatch, capsys, "ledger", "show", "--json"))
    found = visit.get("/console/llm.json").json()
    assert found["spent"] == said["spent"]
    assert [{name: one[name] for name in said["balances"][0]} for one in found["budgets"]] == said["balances"]
    page = visit.get("/console/llm").text
    assert "0.000012345" in page
    assert "&lt;b&gt;" in page


def test_budgets_have_their_amounts(
    home: Home, visit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the spec, and of keys: two keys may bring budgets of one kind and different amounts."""
    scopes, now = (Scope("chat", "generate"),), SystemClock.wall_ms()
    for name, amount in (("one", 1_000), ("two", 4_000)):
        access.create(home, Key(name, scopes, (), now, budgets=(Budget("key", amount, Window.DAY, key=EACH),)))
    store = ledgering.store(home)
    for key in ("key@one/tokens/day", "key@two/tokens/day", "all-tokens/tokens/day"):
        held = line(key, most=10**6, money=False)._replace(begins=now - 1000, ends=now + 10**7)
        hold = store.reserve(Reservation(f"r{key}", Account("", "", key, "chat", "small"), now, "", (held,)))
        store.settle(hold, Usage(500, 0, 300, 0), 0, "settled", now + 1)
    store.close()
    allowed = Budget("all-tokens", 10_000, Window.DAY)
    app = opening.application(Kept(home, budgets=(allowed,)), asks=False)
    with testing.TestClient(app, base_url="http://127.0.0.1") as spoken:
        budgets = spoken.get("/console/llm.json").json()["budgets"]
        assert {one["balance"]: (one["amount"], one["left"], one["used"]) for one in budgets} == {
            "key@one/tokens/day": ("1000", "200", 0.8),
            "key@two/tokens/day": ("4000", "3200", 0.2),
            "all-tokens/tokens/day": ("10000", "9200", 0.08),
        }
        assert spoken.get("/console/access.json").json()["budgets"] == budgets
    said = json.loads(command(monkeypatch, capsys, "ledger", "show", "--json"))["balances"]
    assert {one["balance"]: one["amount"] for one in said} == {
        "key@one/tokens/day": "1000", "key@two/tokens/day": "4000", "all-tokens/tokens/day": "",
    }  # fmt: skip


def test_a_sealed_log_is_proved_with_its_key(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_KEY", "k" * 32)
    chain = opened(auditing.folder(home), auditing.seal("env:AUDIT_KEY"), auditing.heads(home))
    now = SystemClock.wall_ms()
    chain.append([Noted(Audited("shop", "predict", "churn"), now, 4)])
    chain.anchor(auditing.heads(home), now)
    chain.close()
    said = json.loads(command(monkeypatch, capsys, "audit", "verify", "--key", "env:AUDIT_KEY", "--json"))
    found = AccessPage(Kept(home, audit_key="env:AUDIT_KEY")).access("", "", "", now - HOUR, now + HOUR).proof
    assert (found.ok, found.chains, found.entries, found.keyed) == (True, 1, said["entries"], said["keyed"])
    assert found.keyed > 0
    blind = AccessPage(Kept(home)).access("", "", "", now - HOUR, now + HOUR).proof
    assert blind.ok is None
    assert "key" in blind.why


def test_a_proof_is_made_anew_for_a_file_and_a_head_that_changed_whatever_its_times_say(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SystemClock.wall_ms()
    heads = auditing.heads(home)
    assert heads is not None
    chain = opened(auditing.folder(home), Seal(), heads)
    chain.append([Noted(Audited("shop", "predict", "churn"), now, 41)])
    chain.anchor(heads, now)
    chain.close()
    page, proved = AccessPage(Kept(home)), []
    first = SystemClock.wall_ms
    whole = page._proved
    monkeypatch.setattr(AccessPage, "_proved", lambda _, *how: proved.append(1) or whole(*how))

    def told(seconds: int) -> bool | None:
        monkeypatch.setattr(SystemClock, "wall_ms", staticmethod(lambda: first() + seconds * 1000))
        return page.access("", "", "", now - HOUR, now + HOUR).proof.ok

    assert [told(0), told(0), len(proved)] == [True, True, 2], "a file that changed just now may change unseen"
    assert [told(9), told(9), told(9), len(proved)] == [True, True, True, 3], "a proof of what rests is kept"
    heads.put(Head("0" * 8, 5, "0" * 64, "another:/home/audit"))
    assert [told(9), len(proved)] == [True, 3], "whatever other homes write"
    (file,) = auditing.folder(home).glob("*.jsonl")
    as_written, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(as_written.replace(b'"count":41', b'"count":14'))
    os.utime(file, ns=times)
    assert file.stat().st_mtime_ns == times[1]
    assert told(9) is False
    file.write_bytes(as_written)
    os.utime(file, ns=times)
    assert told(9) is True
    head = next(one for one in heads.all() if one.seq != 5)
    heads.put(replace(head, seq=head.seq + 5, hash="0" * 64))
    assert told(9) is False, "the last entries are gone, by the head that is kept"


def test_language_models_are_in_the_navigation_where_there_are_any(home: Home, visit: Any) -> None:
    entry = 'href="/console/llm"'
    assert entry not in visit.get("/console").text
    assert entry in visit.get("/console/llm").text, "who is there sees where they are"
    told = opening.application(Kept(home, chats=True), asks=False)
    with testing.TestClient(told, base_url="http://127.0.0.1") as spoken:
        assert entry in spoken.get("/console").text
    (home.root / "ledger").mkdir(parents=True)
    assert entry in visit.get("/console").text


def test_calls_over_a_limit_are_those_of_the_server(home: Home, visit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visit.get("/console/access.json").json()["limited"] is None
    assert "no server that" in visit.get("/console/access").text

    def answers(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/metrics"
        lines = (
            'fairlead_limited_total{endpoint="churn",scope="key",limit="requests-s"} 3.0',
            'fairlead_limited_total{endpoint="churn",scope="tenant",limit="rows-min"} 5.0',
            'fairlead_limited_total{endpoint="quiet",scope="key",limit="requests-s"} 0.0',
        )
        return httpx.Response(200, text="\n".join(lines))

    def client(kept: Kept, url: str) -> httpx.Client:
        return httpx.Client(base_url=url, transport=httpx.MockTransport(answers))

    monkeypatch.setattr(measured, "client", client)
    found = AccessPage(Kept(home, server="http://x")).access("", "", "", 0, 1)
    assert found.limited == (Limited("churn", "tenant", "rows-min", 5), Limited("churn", "key", "requests-s", 3))


def test_access_is_what_the_commands_say(
    home: Home, visit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock.wall_ms()
    key, text = access.create(home, Key("shop", (Scope("churn", "predict"),), (), now, by="ada"))
    chain = opened(auditing.folder(home), Seal(), auditing.heads(home))
    refused = Audited("shop", "predict", HOSTILE, outcome="forbidden")
    chain.append([Noted(Audited("shop", "predict", "churn"), now - 5000, 41), Noted(refused, now - 4000, 3)])
    chain.anchor(auditing.heads(home), now)
    chain.close()
    said = json.loads(command(monkeypatch, capsys, "keys", "list", "--json"))["keys"]
    answered = visit.get("/console/access.json")
    found = answered.json()
    assert [{name: one[name] for name in said[0]} for one in found["keys"]] == said
    (one,) = found["keys"]
    assert (one["calls"], one["refused"], one["last_ms"]) == (41, 3, now - 5000)
    lines = [json.loads(one) for one in command(monkeypatch, capsys, "audit", "tail", "--json").splitlines()]
    for mine, theirs in zip(found["entries"], lines, strict=True):
        assert {name: mine[name] for name in mine if name != "detail"} == {
            name: theirs[name] for name in mine if name != "detail"
        }
    assert found["proof"]["ok"] is True
    assert [(one["outcome"], one["count"]) for one in found["refused"]] == [("forbidden", 3)]
    page = visit.get("/console/access").text
    for secret in (text, key.secrets[0].sha256, text.rpartition("_")[2]):
        assert secret not in page
        assert secret not in answered.text
    assert "<script>alert" not in page
    only = visit.get("/console/access.json?outcome=refused&actor=shop").json()
    assert [one["outcome"] for one in only["entries"]] == ["forbidden"]
    file = next(auditing.folder(home).glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"count":41', b'"count":14'))
    assert AccessPage(Kept(home)).access("", "", "", now - HOUR, now).proof.ok is False


def test_a_home_in_which_nothing_happened(visit: Any) -> None:
    for page, told in (("llm", "No language model has left a trace here"), ("access", "There is no key")):
        found = visit.get(f"/console/{page}")
        assert found.status_code == 200
        assert told in found.text
