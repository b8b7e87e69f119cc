from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairlead.contracts.errors import SourceNotFound, Untrusted, UsageError
from fairlead.kit.config import Home
from fairlead.package.risks import Risk
from fairlead.package.sources import Found, fetch, parse
from fairlead.package.trust import TAG, Decision, TrustBook
from fairlead.testing.stores import MemoryRegistry

RISK = Risk("model.pkl", "is a pickle")
NOON = 1_795_521_600_000


class Noon:
    def now(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return NOON


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "memory:", "memory:", "ada")


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    found = MemoryRegistry()
    (tmp_path / "logged").mkdir()
    (tmp_path / "logged" / "MLmodel").write_text("flavors: {}\n")
    found.log(tmp_path / "logged", "churn")
    found.set_alias("churn", "champion", "1")
    return found


@pytest.fixture
def book(home: Home, registry: MemoryRegistry) -> TrustBook:
    return TrustBook(home, lambda: registry, Noon())


def champion(registry: MemoryRegistry, home: Home) -> Found:
    return fetch(parse("models:/churn@champion"), lambda: registry, home)


def a_file(tmp_path: Path, content: bytes = b"model") -> Found:
    (tmp_path / "model.pkl").write_bytes(content)
    return Found(parse(str(tmp_path / "model.pkl")), tmp_path / "model.pkl", digest=content.hex())


def test_without_risks_nothing_is_asked(book: TrustBook, tmp_path: Path) -> None:
    assert book.admit(a_file(tmp_path), []) is None


def test_a_refused_file_names_the_flag(book: TrustBook, tmp_path: Path) -> None:
    with pytest.raises(Untrusted) as error:
        book.admit(a_file(tmp_path), [RISK])
    assert str(error.value) == f"{tmp_path}/model.pkl is a pickle; if you vouch for it, add --trust-pickle"


def test_a_refused_version_names_the_command(book: TrustBook, registry: MemoryRegistry, home: Home) -> None:
    with pytest.raises(Untrusted) as error:
        book.admit(champion(registry, home), [RISK, RISK])
    assert str(error.value) == (
        "churn@champion: model.pkl is a pickle (and 1 more); "
        'if you vouch for it: `fairlead models trust churn@champion --why "..."`'
    )


def test_a_decision_on_a_version_is_a_tag_that_everybody_sees(
    book: TrustBook, registry: MemoryRegistry, home: Home, tmp_path: Path
) -> None:
    made = book.record(champion(registry, home), "  reviewed ")
    assert made == Decision(made.digest, "ada", "reviewed", NOON, "churn@champion")
    assert json.loads(registry.version("churn", "1").tags[TAG])["digest"] == made.digest
    elsewhere = Home(tmp_path / "elsewhere", "memory:", "memory:", "bob")
    found = fetch(parse("models:/churn/1"), lambda: registry, elsewhere)
    assert TrustBook(elsewhere, lambda: registry, Noon()).admit(found, [RISK]) == made


def test_changed_bytes_are_refused_again_and_the_earlier_decision_is_told(
    book: TrustBook, registry: MemoryRegistry, home: Home, tmp_path: Path
) -> None:
    book.record(champion(registry, home), "reviewed")
    registry.add("models:/churn/1", {"MLmodel": b"flavors: {changed: {}}\n"})
    elsewhere = Home(tmp_path / "elsewhere", "memory:", "memory:", "bob")
    with pytest.raises(Untrusted, match=r"what ada trusted on 2026-11-24 were other bytes"):
        book.admit(champion(registry, elsewhere), [RISK])
    book.record(a_file(tmp_path), "mine")
    with pytest.raises(Untrusted, match="other bytes"):
        book.admit(a_file(tmp_path, b"changed"), [RISK])


def test_a_decision_on_a_file_covers_its_bytes_wherever_they_lie(book: TrustBook, tmp_path: Path) -> None:
    made = book.record(a_file(tmp_path), "mine")
    (tmp_path / "copy").mkdir()
    assert book.admit(a_file(tmp_path / "copy"), [RISK]) == made


def test_revoking(book: TrustBook, registry: MemoryRegistry, home: Home, tmp_path: Path) -> None:
    book.record(champion(registry, home), "reviewed")
    book.record(a_file(tmp_path), "mine")
    assert book.revoke(champion(registry, home)).why == "reviewed"
    assert book.revoke(a_file(tmp_path)).why == "mine"
    assert TAG not in registry.version("churn", "1").tags
    for found in (champion(registry, home), a_file(tmp_path)):
        with pytest.raises(Untrusted):
            book.admit(found, [RISK])
        with pytest.raises(SourceNotFound, match="nothing to revoke"):
            book.revoke(found)


@pytest.mark.parametrize("tag", ["", "yes", "[]", "{}", '{"digest": 1}', "null"])
def test_a_tag_that_does_not_parse_is_no_decision(
    book: TrustBook, registry: MemoryRegistry, home: Home, tag: str
) -> None:
    registry.set_tag("churn", "1", TAG, tag)
    with pytest.raises(Untrusted):
        book.admit(champion(registry, home), [RISK])


def test_a_trust_file_that_does_not_parse_is_told(book: TrustBook, home: Home, tmp_path: Path) -> None:
    home.root.mkdir()
    home.trust.write_text("{")
    with pytest.raises(UsageError, match=r"trust\.json does not parse"):
        book.admit(a_file(tmp_path), [RISK])


def test_a_reason_is_needed(book: TrustBook, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--why"):
        book.record(a_file(tmp_path), " ")


def test_a_class_needs_no_decision(book: TrustBook) -> None:
    with pytest.raises(UsageError, match="needs no decision"):
        book.record(Found(parse("pkg:Predictor")), "why")


def test_no_decision_of_many_at_once_is_lost(home: Home) -> None:
    def vouch(number: int) -> Decision:
        book = TrustBook(home, MemoryRegistry, Noon())
        return book.record(Found(parse(f"{number}.pkl"), Path("x"), digest=str(number)), "many")

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(vouch, range(24)))
    kept = json.loads(home.trust.read_bytes())["decisions"]
    assert sorted(one["digest"] for one in kept) == sorted(one.digest for one in made)
