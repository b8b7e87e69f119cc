from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli import keys as commands
from fairlead.cli.main import main
from fairlead.testing.state import MemoryState
from fairlead.wiring import access

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store() -> MemoryState:
    return MemoryState()


@pytest.fixture
def run(store: MemoryState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for module in (access, commands):
        monkeypatch.setattr(module, "state", lambda _home: store)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "ada")

    def run_(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairlead", "keys", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run_


def as_json(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_key_is_shown_once_and_never_kept(run: Run, store: MemoryState) -> None:
    words = ("--name", "shop-web", "--scope", "churn:predict", "--rate", "200/s", "--quota", "5M/day")
    made = as_json(run, "create", *words, "--expires", "90d", "--tenant", "acme", "--concurrency", "3")
    secret = made["key"].rpartition("_")[2]
    assert (made["name"], made["scopes"], made["by"]) == ("shop-web", ["churn:predict"], "ada")
    code, text, _ = run("list")
    told = as_json(run, "list")
    assert code == 0
    for said in (text, json.dumps(told), json.dumps([one.body for one in store.all(access.KIND)])):
        assert secret not in said
    (row,) = told["keys"]
    assert (row["state"], row["tenant"], row["rates"], row["quotas"], row["concurrency"]) == (
        "active", "acme", ["200 requests/1s"], ["5e+06 requests/day"], 3,
    )  # fmt: skip
    assert "200 requests/1s, 5e+06 requests/day, 3 at once" in text
    assert row["ids"] == [made["key"].split("_")[1]]
    code, text, _ = run("create", "--name", "other", "--scope", "*:*")
    assert text.startswith("fl_")
    assert "shown once" in text


def test_rotate_and_revoke(run: Run) -> None:
    first = as_json(run, "create", "--name", "a", "--scope", "churn:predict")
    second = as_json(run, "rotate", "a", "--overlap", "1h")
    assert first["key"] != second["key"]
    assert second["ids"] == [*first["ids"], second["key"].split("_")[1]]
    code, text, _ = run("revoke", first["ids"][0])
    assert (code, text.strip()) == (0, f"{first['ids'][0]} is revoked; a is active")
    assert as_json(run, "list")["keys"][0]["ids"] == [second["key"].split("_")[1]]
    code, text, _ = run("revoke", "a")
    assert (code, text.strip()) == (0, "a is revoked")
    assert as_json(run, "list")["keys"][0]["state"] == "revoked"
    assert run("rotate", "a")[2].strip() == "fairlead: key 'a' is revoked; create a new one"
    assert as_json(run, "create", "--name", "a", "--scope", "churn:predict")["state"] == "active"


def test_none_yet_and_one_that_cannot_be_read(run: Run, store: MemoryState) -> None:
    assert "fairlead keys create" in run("list")[1]
    store.put(access.KIND, "odd", {"name": 1}, 0)
    assert "key 'odd' does not hold" in run("list")[1]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("create", "--name", "a", "--scope", "churn"), 2, "expected ENDPOINT:ACTION"),
        (("create", "--name", "a", "--scope", "churn:predikt"), 2, "did you mean predict?"),
        (("create", "--name", "a/b", "--scope", "churn:predict"), 2, "key name 'a/b' cannot be used"),
        (("create", "--name", "local", "--scope", "churn:predict"), 2, "choose another"),
        (("create", "--name", "there", "--scope", "churn:predict"), 1, "there is a key 'there'"),
        (("create", "--name", "a", "--scope", "churn:predict", "--expires", "soon"), 2, "--expires is 'soon'"),
        (("create", "--name", "a", "--scope", "churn:predict", "--expires", "0s"), 2, "--expires is '0s'"),
        (("create", "--name", "a", "--scope", "churn:predict", "--rate", "many"), 2, "limit 'many' is none"),
        (("create", "--name", "a"), 2, "--scope"),
        (("rotate", "there", "--overlap", "never"), 2, "--overlap is 'never'"),
        (("revoke", "ghost"), 1, "there is no key 'ghost'"),
        (("rotate", "ghost"), 1, "there is no key 'ghost'"),
    ],
)
def test_what_is_wrong_is_one_sentence(run: Run, words: tuple[str, ...], code: int, says: str) -> None:
    as_json(run, "create", "--name", "there", "--scope", "churn:predict")
    found, _, err = run(*words)
    assert (found, says in err) == (code, True), err
