"""What every registry, tracker and alias history must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", store_suite.REGISTRY, ids=lambda check: check.__name__)
    def test_my_registry(check, tmp_path):
        check(MyRegistry(...), tmp_path)

Checks use fresh model names, so one store may serve all of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from fairlead.contracts.errors import AliasMoved, BrokenModel, FairleadError, SourceNotFound
from fairlead.contracts.stores import AliasHistory, AliasMove, Registry, Tracker, Version


class Store(Registry, Tracker, Protocol):
    """A registry that keeps runs too."""


def versions_count_up_and_come_newest_first(store: Store, folder: Path) -> None:
    model, first = _logged(store, folder, description="the first")
    second = store.log(folder / "model", model)
    _expect([first.version, second.version] == ["1", "2"], "versions count from 1")
    _expect([one.version for one in store.versions(model)] == ["2", "1"], "versions() gives the newest first")
    _expect(store.latest(model).version == "2", "latest() is the newest")
    _expect(model in store.models(), "models() lists what was logged")
    _expect(store.version(model, "1").description == "the first", "the description is kept")


def aliases_move_and_go(store: Store, folder: Path) -> None:
    model, _ = _logged(store, folder)
    store.log(folder / "model", model)
    store.set_alias(model, "champion", "1")
    _expect(store.resolve(model, "champion").version == "1", "an alias resolves")
    _expect(store.version(model, "1").aliases == ("champion",), "a version knows its aliases")
    store.set_alias(model, "champion", "2")
    _expect(store.resolve(model, "champion").version == "2", "setting an alias again moves it")
    by_version = {one.version: one.aliases for one in store.versions(model)}
    _expect(by_version == {"1": (), "2": ("champion",)}, "only one version has the alias")
    store.delete_alias(model, "champion")
    _raises(SourceNotFound, lambda: store.resolve(model, "champion"))


def tags_are_kept_and_go(store: Store, folder: Path) -> None:
    model, _ = _logged(store, folder)
    store.set_tag(model, "1", "fairlead.trust", '{"why": "é"}')
    _expect(store.version(model, "1").tags["fairlead.trust"] == '{"why": "é"}', "a tag keeps its text")
    store.delete_tag(model, "1", "fairlead.trust")
    _expect("fairlead.trust" not in store.version(model, "1").tags, "a deleted tag is gone")


def what_is_not_there_is_not_found(store: Store, folder: Path) -> None:
    model, _ = _logged(store, folder)
    _raises(SourceNotFound, lambda: store.versions("no-" + model))
    _raises(SourceNotFound, lambda: store.version(model, "99"))
    _raises(SourceNotFound, lambda: store.resolve(model, "champion"))
    _raises(SourceNotFound, lambda: store.set_alias(model, "champion", "99"))
    _raises(SourceNotFound, lambda: store.set_tag(model, "99", "key", "value"))
    _raises(SourceNotFound, lambda: store.download(f"models:/{model}/99", folder / "into"))
    _raises(BrokenModel, lambda: store.log(folder, model))
    _expect(store.latest(model).version == "1", "what failed left no version")


def downloads_are_what_was_logged(store: Store, folder: Path) -> None:
    model, _ = _logged(store, folder)
    path = store.download(f"models:/{model}/1", folder / "into")
    found = {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}
    _expect(found == _FILES, "every file comes back as it was, and no other")


def runs_keep_files_and_own_their_models(store: Store, folder: Path) -> None:
    plot = folder / "plot.png"
    plot.write_bytes(b"plot")
    run = store.run(
        f"experiment {secrets.token_hex(4)}",
        "first",
        params={"depth": 3},
        metrics={"roc_auc": 0.9},
        tags={"by": "suite"},
        files={"plots/roc.png": plot},
    )
    path = store.download(f"runs:/{run}/plots", folder / "into")
    _expect((path / "roc.png").read_bytes() == b"plot", "a file of the run is where it was put")
    model, version = _logged(store, folder, run_id=run)
    _expect(store.version(model, version.version).run_id == run, "a version knows its run")


def a_move_is_a_line(history: AliasHistory) -> None:
    model, pointer = _model(), _Pointer()
    lines = [_line(model, "", "1"), _line(model, "1", "2"), _line(model, "", "1", alias="challenger")]
    for line in lines[:2]:
        history.append(line, pointer.setter(line.after), pointer.get)
    history.append(lines[2], lambda: None, lambda: "")
    _expect(history.moves(model) == lines, "moves() gives every line, oldest first, as it was written")
    _expect(history.moves(model, "champion") == lines[:2], "moves() of one alias leaves the others out")
    _expect(history.moves("no-" + model) == [], "a model without moves has none")
    _expect(pointer.at == "2", "apply was called")


def a_lost_race_changes_nothing(history: AliasHistory) -> None:
    model, pointer = _model(), _Pointer("7")
    _raises(AliasMoved, lambda: history.append(_line(model, "1", "2"), pointer.setter("2"), pointer.get))
    _expect(pointer.at == "7" and history.moves(model) == [], "nothing moved and nothing was written")


def a_failed_move_leaves_no_line(history: AliasHistory) -> None:
    model = _model()

    def fail() -> None:
        raise SourceNotFound("the registry said no")

    _raises(SourceNotFound, lambda: history.append(_line(model, "", "1"), fail, lambda: ""))
    _expect(history.moves(model) == [], "nothing was written")
    history.append(_line(model, "", "1"), lambda: None, lambda: "")
    _expect(len(history.moves(model)) == 1, "the lock was given back")


def current_may_read_the_history(history: AliasHistory) -> None:
    model = _model()
    history.append(_line(model, "", "1"), lambda: None, lambda: "" if not history.moves(model) else "written")
    _expect(len(history.moves(model)) == 1, "moves() answers while the lock is held")


def one_of_many_threads_wins(history: AliasHistory) -> None:
    model, pointer = _model(), _Pointer()

    def contend(number: int) -> bool:
        try:
            history.append(_line(model, "", str(number)), pointer.setter(str(number)), pointer.get)
        except AliasMoved:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = sum(pool.map(contend, range(1, 9)))
    lines = history.moves(model)
    _expect(won == 1 and len(lines) == 1 and lines[0].after == pointer.at, "exactly one move happened")


REGISTRY: tuple[Callable[[Store, Path], None], ...] = (
    versions_count_up_and_come_newest_first,
    aliases_move_and_go,
    tags_are_kept_and_go,
    what_is_not_there_is_not_found,
    downloads_are_what_was_logged,
    runs_keep_files_and_own_their_models,
)
"""Each takes a store and an empty folder."""
HISTORY: tuple[Callable[[AliasHistory], None], ...] = (
    a_move_is_a_line,
    a_lost_race_changes_nothing,
    a_failed_move_leaves_no_line,
    current_may_read_the_history,
    one_of_many_threads_wins,
)
"""Each takes a history."""

_FILES = {"MLmodel": b"flavors:\n  python_function:\n    loader_module: none\n", "data/weights.bin": bytes(range(256))}


class _Pointer:
    """What an alias points at, in a test."""

    def __init__(self, at: str = "") -> None:
        self.at = at

    def get(self) -> str:
        return self.at

    def setter(self, to: str) -> Callable[[], None]:
        return lambda: setattr(self, "at", to)


def _logged(store: Store, folder: Path, *, run_id: str = "", description: str = "") -> tuple[str, Version]:
    model = _model()
    for name, content in _FILES.items():
        (folder / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / name).write_bytes(content)
    return model, store.log(folder / "model", model, run_id=run_id, description=description)


def _model() -> str:
    return f"model-{secrets.token_hex(4)}"


def _line(model: str, before: str, after: str, alias: str = "champion") -> AliasMove:
    return AliasMove(model, alias, before, after, who="suite", why="to check é", at_ms=1_700_000_000_000, evidence="{}")


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(f"this does not hold: {rule}")


def _raises(kind: type[FairleadError], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected and nothing was raised")
