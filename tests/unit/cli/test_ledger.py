from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli import keys
from fairlead.cli import ledger as commands
from fairlead.cli.main import main
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, Reservation
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.serve.access.keys import Key
from fairlead.testing.ledger_suite import line
from fairlead.testing.state import MemoryState
from fairlead.wiring import access, ledgering

Run = Callable[..., tuple[int, str, str]]
FOREVER = 253_370_764_800_000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setattr(commands.auditing, "act", lambda *_, **__: None)

    def run_(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairlead", "ledger", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run_


@pytest.fixture
def spent(tmp_path: Path) -> int:
    """A home in which two keys have spent; when, in milliseconds."""
    store, now = ledgering.store(config.home(tmp_path / ".fairlead")), SystemClock.wall_ms()
    usd = line("acme/USD/month", most=10**12, money=True)._replace(begins=now - 1000, ends=now + 10**9)
    total = line("all/tokens/total", most=10**12)._replace(begins=0, ends=FOREVER)
    for key, tokens in (("shop", 10), ("shop", 5), ("=web", 1)):
        asked = Reservation(f"r-{key}", Account("", "acme", key, "chat", "small"), now, "USD", (usd, total))
        hold = store.reserve(asked)
        assert isinstance(hold, Hold)
        store.settle(hold, Usage(tokens, 1, 2, 0), tokens * 1000, "settled", now + 1)
    store.reserve(Reservation("r", Account(), now, "USD", (usd,)))
    store.close()
    return now


def document(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_show(run: Run, spent: int) -> None:
    found = document(run, "show")
    usd, tokens = found["balances"]
    assert (usd["balance"], usd["unit"], usd["settled"], usd["reserved"]) == (
        "acme/USD/month",
        "USD",
        "0.000016",
        "0.00",
    )
    assert (tokens["unit"], tokens["settled"], tokens["ends"], tokens["answers"]) == ("tokens", "25", "", 3)
    assert [(row["key"], row["answers"], row["input"], row["cost"]) for row in found["spent"]] == [
        ("=web", 1, 1, "0.000001"),
        ("shop", 2, 15, "0.000015"),
    ]
    code, text, _ = run("show")
    assert code == 0
    assert "acme/USD/month" in text
    assert "This month:" in text


def test_amounts_of_the_spec_that_lies_here(run: Run, spent: int, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(
        "access: {required: true}\nprices: [{model: chat, input: 1, output: 1}]\n"
        "budgets: [{name: acme, tenant: acme, amount: 50 USD}]\nendpoints: {chat: {llm: {engine: echo}}}\n"
    )
    assert [one["amount"] for one in document(run, "show")["balances"]] == ["50.00", ""]


def test_statements(run: Run, spent: int) -> None:
    code, text, _ = run("statement", "--by", "key")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert code == 0
    assert [(row["key"], row["answers"], row["output"]) for row in rows] == [("'=web", "1", "2"), ("shop", "2", "4")]
    assert rows[0]["window"].endswith("T00:00:00+00:00")
    each = document(run, "statement", "--per", "answer")["statement"]
    first = each[0]
    assert (first["id"], first["how"], first["cost"]) == ("r-shop", "settled", "0.00001")
    assert document(run, "statement", "--since", "2090-01-01")["statement"] == []
    assert run("statement", "--since", "2090-01-01")[1] == ""
    assert len(document(run, "statement", "--per", "total", "--by", "tenant")["statement"]) == 1
    for wrong, said in ((("--by", "colour"), "--by names 'colour'"), (("--since", "soon"), "date 'soon' is none")):
        code, _, error = run("statement", *wrong)
        assert code == 2
        assert said in error


def test_reset_and_rebuild(run: Run, spent: int, tmp_path: Path) -> None:
    assert document(run, "reset", "all/tokens/total")["was"]["settled"] == "25"
    assert document(run, "show")["balances"][1]["settled"] == "0"
    code, _, error = run("reset", "nobody")
    assert code == 1
    assert "there is no balance 'nobody'" in error
    assert document(run, "rebuild") == {"balances": 2, "changed": []}
    (tmp_path / ".fairlead" / "ledger" / "balances-1").unlink()
    assert document(run, "show")["balances"][0]["settled"] == "0.000016"


def test_nothing_was_ever_spent(run: Run) -> None:
    code, _, error = run("show")
    assert code == 1
    assert "no language model with budgets or prices ran there" in error


def test_keys_bring_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MemoryState()
    for module in (access, keys):
        monkeypatch.setattr(module, "state", lambda _home: store)
    monkeypatch.chdir(tmp_path)

    def create(*more: str) -> tuple[str, str]:
        words = ["fairlead", "keys", "create", "--name", f"k{len(store.all(access.KIND))}", "--scope", "chat:generate"]
        monkeypatch.setattr(sys, "argv", [*words, *more, "--json"])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr()

    out, _ = create("--budget", "20 USD/month", "--token-budget", "5M/day")
    assert json.loads(out)["budgets"] == ["20.00 USD/month", "5,000,000 tokens/day"]
    (known, *_), _ = access.known(store)
    assert isinstance(known, Key)
    assert [(one.currency, one.key) for one in known.budgets] == [("USD", "*"), ("", "*")]
    for wrong, said in (
        (("--budget", "5M/day"), "expected money such as"),
        (("--token-budget", "5 USD/day"), "expected tokens such as"),
        (("--budget", "5 USD"), "expected an amount in a window"),
        (("--budget", "5 USD/day", "--budget", "6 USD/day"), "a key has one budget of a currency in a window"),
    ):
        assert said in create(*wrong)[1]
