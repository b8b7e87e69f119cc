from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli.main import main
from fairlead.testing.stores import MemoryAliasHistory, MemoryRegistry
from fairlead.wiring import stores

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryRegistry:
    found, history = MemoryRegistry(), MemoryAliasHistory()
    monkeypatch.setattr(stores, "registry", lambda _home: found)
    monkeypatch.setattr(stores, "alias_history", lambda _home: history)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "ada")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors:\n  sklearn: {pickled_model: model.pkl}\n")
    (tmp_path / "model" / "model.pkl").write_bytes(pickle.dumps([1]))
    return found


@pytest.fixture
def run(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairlead", "models", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run_


def as_json(run: Run, *arguments: str) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0, out
    return json.loads(out)


def test_log_list_show_and_history(run: Run) -> None:
    assert run("list")[:2] == (0, "no models are registered; log one with `fairlead models log`\n")
    code, out, _ = run("log", "model", "--name", "churn", "--alias", "champion", "--why", "the first")
    assert (code, out) == (0, "churn version 1 is champion\nfairlead serve models:/churn@champion\n")
    assert run("log", "model", "--name", "churn")[1] == "churn version 2\nfairlead serve models:/churn/2\n"
    assert as_json(run, "log", "model", "--name", "other", "--alias", "beta")["aliases"] == ["beta"]
    row = next(row for row in as_json(run, "list") if row["model"] == "churn")
    assert (row["model"], row["latest"], row["aliases"], row["versions"]) == ("churn", "2", {"champion": "1"}, 2)
    assert "champion -> 1" in run("list")[1]
    assert [version["version"] for version in as_json(run, "show", "churn")] == ["2", "1"]
    shown = as_json(run, "show", "churn@champion")
    assert (shown["version"], shown["description"], len(shown["digest"])) == ("1", "the first", 64)
    assert "sha-256" in run("show", "churn/2")[1]
    (line,) = as_json(run, "history", "churn")
    assert (line["after"], line["who"], line["why"]) == ("1", "ada", "the first")
    assert "the first" in run("history", "churn")[1]


@pytest.mark.parametrize("alias", ["v2", "Latest", "best one", "a@b"])
def test_an_alias_that_cannot_be_is_refused_before_anything_is_logged(
    run: Run, registry: MemoryRegistry, alias: str
) -> None:
    code, _, said = run("log", "model", "--name", "churn", "--alias", alias)
    assert code == 2, said
    assert registry.models() == []


def test_alias_and_rollback(run: Run) -> None:
    for _ in range(2):
        run("log", "model", "--name", "churn")
    assert run("alias", "churn", "champion", "1", "--expect", "")[0] == 0
    code, out, err = run("alias", "churn", "champion", "2", "--expect", "7")
    assert (code, out) == (1, "")
    assert "points at version 1 and not at version 7" in err
    moved = as_json(run, "alias", "churn", "champion", "2", "--expect", "1", "--why", "better")
    assert (moved["before"], moved["after"], moved["why"]) == ("1", "2", "better")
    assert run("alias", "churn", "champion", "2")[0] == 2
    assert run("alias", "churn", "champion", "9")[0] == 1
    assert "moved from version 2 to version 1" in run("rollback", "churn", "--why", "worse")[1]
    assert run("rollback", "churn")[0] == 1
    assert [line["after"] for line in as_json(run, "history", "churn", "--alias", "champion")] == ["1", "2", "1"]


def test_trust_and_revoke(run: Run, registry: MemoryRegistry) -> None:
    run("log", "model", "--name", "churn", "--alias", "champion")
    assert run("trust", "churn@champion")[0] == 2
    made = as_json(run, "trust", "churn@champion", "--why", "reviewed")
    assert (made["who"], made["why"], made["revoked"]) == ("ada", "reviewed", False)
    assert json.loads(registry.version("churn", "1").tags["fairlead.trust"])["digest"] == made["digest"]
    assert run("show", "churn")[1].count("yes") == 1
    assert run("trust", "churn@champion", "--revoke")[0] == 0
    code, out, err = run("trust", "churn/1", "--revoke", "--json")
    assert code == 1
    assert json.loads(out)["code"] == "source_not_found"
    assert "nothing to revoke" in err


def test_trust_of_a_file(run: Run, tmp_path: Path) -> None:
    assert run("trust", "model/model.pkl", "--why", "mine")[0] == 0
    kept = json.loads((tmp_path / ".fairlead" / "trust.json").read_bytes())["decisions"]
    assert [(one["subject"], one["why"]) for one in kept] == [(str(tmp_path / "model" / "model.pkl"), "mine")]


def test_logging_a_pickle_needs_somebody_who_vouches(run: Run, registry: MemoryRegistry) -> None:
    code, _, err = run("log", "model/model.pkl", "--name", "churn")
    assert (code, registry.models()) == (1, [])
    assert err == (
        "fairlead: model/model.pkl is a pickle, and loading it runs whatever code it holds; "
        "if you vouch for it, add --trust-pickle\n"
    )


def test_trusting_while_logging_is_kept(run: Run, registry: MemoryRegistry) -> None:
    run("log", "model", "--name", "churn", "--trust-pickle", "--why", "made here")
    assert json.loads(registry.version("churn", "1").tags["fairlead.trust"])["why"] == "made here"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("log", "model", "--name", "churn", "--example", "rows.csv"), 2, "is packaged already"),
        (("log", "nothing.onnx", "--name", "churn"), 1, "no such file"),
        (("show", "nothing"), 1, "'nothing' is not there"),
        (("history", "nothing"), 1, "'nothing' is not there"),
        (("alias", "churn"), 2, "Missing argument"),
        (("log", "model"), 2, "--name"),
    ],
)
def test_errors_are_a_sentence_and_a_code(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, _, err = run(*arguments)
    assert ended == code
    assert said in err
    assert "Traceback" not in err


def test_a_registry_that_does_not_answer(run: Run, registry: MemoryRegistry) -> None:
    registry.down = True
    code, out, _ = run("list", "--json")
    assert (code, json.loads(out)["code"]) == (1, "registry_unreachable")
