from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import AliasMoved, RegistryUnreachable, SourceNotFound, UsageError
from fairlead.contracts.stores import AliasMove
from fairlead.contracts.types import Signature
from fairlead.package import manifest
from fairlead.package.manifest import Manifest
from fairlead.package.registry import OUTSIDE, Moves, find, publish
from fairlead.testing.stores import MemoryAliasHistory, MemoryRegistry


class Ticking:
    def __init__(self) -> None:
        self.at = 0

    def now(self) -> float:
        return float(self.at)

    def wall_ms(self) -> int:
        self.at += 1
        return self.at


def registry_of(folder: Path, versions: int = 5) -> MemoryRegistry:
    (folder / "MLmodel").write_text("flavors: {}\n")
    found = MemoryRegistry()
    for _ in range(versions):
        found.log(folder, "churn")
    return found


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    return registry_of(tmp_path)


@pytest.fixture
def history() -> MemoryAliasHistory:
    return MemoryAliasHistory()


@pytest.fixture
def moves(registry: MemoryRegistry, history: MemoryAliasHistory) -> Moves:
    return Moves(registry, history, Ticking(), "ada")


def path(lines: list[AliasMove]) -> list[str]:
    return [line.after for line in lines]


def test_a_move_is_made_and_kept(moves: Moves, registry: MemoryRegistry) -> None:
    made = moves.move("churn", "champion", "2", expected="", why=" first ", evidence="verdict 7")
    assert made == AliasMove("churn", "champion", "", "2", "ada", "first", 1, evidence="verdict 7")
    assert registry.resolve("churn", "champion").version == "2"
    assert moves.history("churn") == [made]


def test_a_move_from_another_version_is_refused(moves: Moves, registry: MemoryRegistry) -> None:
    moves.move("churn", "champion", "1", why="first")
    with pytest.raises(AliasMoved, match="points at version 1 and not at version 2"):
        moves.move("churn", "champion", "3", expected="2", why="better")
    with pytest.raises(AliasMoved, match="points at version 1 and not at nothing"):
        moves.move("churn", "champion", "3", expected="", why="better")
    assert path(moves.history("churn")) == ["1"]
    assert registry.resolve("churn", "champion").version == "1"


def test_what_cannot_be_moved(moves: Moves) -> None:
    moves.move("churn", "champion", "1", why="first")
    with pytest.raises(UsageError, match="points at version 1 already"):
        moves.move("churn", "champion", "1", why="again")
    with pytest.raises(SourceNotFound):
        moves.move("churn", "champion", "99", why="not there")
    with pytest.raises(SourceNotFound):
        moves.move("nothing", "champion", "1", why="not there")
    with pytest.raises(UsageError, match="--why"):
        moves.move("churn", "champion", "2", why=" ")
    assert path(moves.history("churn")) == ["1"]


def test_a_race_lost_between_look_and_move_changes_nothing(
    registry: MemoryRegistry, history: MemoryAliasHistory
) -> None:
    class Interrupted(MemoryAliasHistory):
        """Somebody else moves the alias just before the lock is taken."""

        def append(self, move: AliasMove, apply: object, current: object) -> None:
            registry.set_alias("churn", "champion", "5")
            super().append(move, apply, current)

    with pytest.raises(AliasMoved):
        Moves(registry, Interrupted(), Ticking(), "ada").move("churn", "champion", "2", why="first")
    assert registry.resolve("churn", "champion").version == "5"


def test_a_registry_that_fails_in_the_move_leaves_no_line(
    moves: Moves, registry: MemoryRegistry, history: MemoryAliasHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str) -> None:
        raise RegistryUnreachable("gone")

    monkeypatch.setattr(registry, "set_alias", fail)
    with pytest.raises(RegistryUnreachable):
        moves.move("churn", "champion", "2", why="first")
    assert history.moves("churn") == []


def test_rolling_back_goes_further_back_each_time(moves: Moves) -> None:
    for version in ("1", "2", "3"):
        moves.move("churn", "champion", version, why="better")
    assert moves.rollback("churn", "champion", "worse").after == "2"
    assert moves.rollback("churn", "champion", "worse still").after == "1"
    with pytest.raises(SourceNotFound, match="no earlier version"):
        moves.rollback("churn", "champion", "further")
    assert path(moves.history("churn")) == ["1", "2", "3", "2", "1"]


def test_a_move_after_a_rollback_starts_anew(moves: Moves) -> None:
    for version in ("1", "2", "3"):
        moves.move("churn", "champion", version, why="better")
    moves.rollback("churn", "champion", "worse")
    moves.move("churn", "champion", "4", why="better")
    assert moves.rollback("churn", "champion", "worse").after == "2"
    assert moves.rollback("churn", "champion", "worse").after == "1"


@given(st.lists(st.sampled_from(["1", "2", "3", "4", "5", "back"]), max_size=12))
def test_rollback_is_undo(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "undo"
    folder.mkdir(exist_ok=True)
    moves = Moves(registry_of(folder), MemoryAliasHistory(), Ticking(), "ada")
    stack: list[str] = []
    for step in steps:
        if step != "back" and stack[-1:] != [step]:
            moves.move("churn", "champion", step, why="step")
            stack.append(step)
        elif step == "back" and len(stack) > 1:
            moves.rollback("churn", "champion", "back")
            stack.pop()
        elif step == "back":
            with pytest.raises(SourceNotFound):
                moves.rollback("churn", "champion", "back")
        assert moves.current("churn", "champion") == (stack[-1] if stack else "")


def test_an_alias_that_never_moved_cannot_go_back(moves: Moves) -> None:
    with pytest.raises(SourceNotFound, match="no earlier version"):
        moves.rollback("churn", "champion", "why")


def test_moves_made_outside_are_seen_once(moves: Moves, registry: MemoryRegistry) -> None:
    moves.move("churn", "champion", "1", why="first")
    registry.set_alias("churn", "champion", "4")
    registry.set_alias("churn", "challenger", "2")
    lines = moves.history("churn")
    assert moves.history("churn") == lines
    seen = [(line.alias, line.before, line.after, line.who, line.why) for line in lines if line.outside]
    assert seen == [("challenger", "", "2", "", OUTSIDE), ("champion", "1", "4", "", OUTSIDE)]


def test_an_outside_move_counts_for_the_next_move_and_for_rollback(moves: Moves, registry: MemoryRegistry) -> None:
    moves.move("churn", "champion", "1", why="first")
    registry.set_alias("churn", "champion", "4")
    assert moves.move("churn", "champion", "5", why="better").before == "4"
    assert moves.rollback("churn", "champion", "worse").after == "4"
    assert moves.rollback("churn", "champion", "worse").after == "1"


def test_an_alias_deleted_outside_is_seen(moves: Moves, registry: MemoryRegistry) -> None:
    moves.move("churn", "champion", "1", why="first")
    registry.delete_alias("churn", "champion")
    assert [(line.after, line.outside) for line in moves.history("churn")] == [("1", False), ("", True)]
    assert moves.rollback("churn", "champion", "bring it back").after == "1"


def test_history_of_one_alias_and_of_no_model(moves: Moves) -> None:
    moves.move("churn", "champion", "1", why="first")
    moves.move("churn", "challenger", "2", why="first")
    assert path(moves.history("churn", "challenger")) == ["2"]
    with pytest.raises(SourceNotFound):
        moves.history("nothing")


def test_publishing_tags_the_version_with_its_manifest(registry: MemoryRegistry, tmp_path: Path) -> None:
    plain = publish(registry, tmp_path, "plain")
    assert plain.tags == {}
    manifest.write(tmp_path, Manifest("m", Signature(()), "mlflow", "."))
    packaged = publish(registry, tmp_path, "packaged", description="the first")
    digest = manifest.file_digest(tmp_path / manifest.PATH)
    assert registry.version("packaged", "1").tags == packaged.tags == {manifest.TAG: digest}


def test_find(registry: MemoryRegistry) -> None:
    registry.set_alias("churn", "champion", "2")
    assert find(registry, "churn").version == "5"
    assert find(registry, "churn@champion").version == "2"
    assert find(registry, "models:/churn/3").version == "3"
    with pytest.raises(SourceNotFound):
        find(registry, "")
