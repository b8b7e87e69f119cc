from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import ModelError, RegistryUnreachable, SourceNotFound, UnknownFormat, UsageError
from fairlead.kit.config import Home
from fairlead.package import sources
from fairlead.package.sources import Found, Kind, Source, fetch, handle, parse, split_name
from fairlead.testing.stores import MemoryRegistry

LOGGED = "m-" + "0123456789abcdef" * 2
MODEL = {"MLmodel": b"flavors: {}\n", "data/weights": b"weights"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "memory:", "memory:", "tester")


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    found = MemoryRegistry()
    for name, content in MODEL.items():
        (tmp_path / "logged" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logged" / name).write_bytes(content)
    found.log(tmp_path / "logged", "churn")
    found.set_alias("churn", "champion", "1")
    return found


def never() -> MemoryRegistry:
    raise AssertionError("the registry is not needed for this source")


@pytest.mark.parametrize(
    ("uri", "kind", "name", "model", "pointer"),
    [
        ("models:/churn@champion", Kind.ALIAS, "churn", "churn", "champion"),
        ("models:/my model/12", Kind.VERSION, "my model", "my model", "12"),
        ("models:/a@b@champion", Kind.ALIAS, "a@b", "a@b", "champion"),
        (f"models:/{LOGGED}", Kind.LOGGED, LOGGED, "", ""),
        ("runs:/abc/path/to/model.onnx", Kind.RUN, "model", "", ""),
        ("./model.onnx", Kind.PATH, "model", "", ""),
        ("pkg.module:ChurnPredictorV2", Kind.CLASS, "churn-predictor-v2", "", ""),
        ("module:HTTPModel", Kind.CLASS, "http-model", "", ""),
        ("module:Net@./w@1.safetensors", Kind.CLASS, "net", "", ""),
    ],
)
def test_every_way_to_name_a_model(uri: str, kind: Kind, name: str, model: str, pointer: str) -> None:
    found = parse(uri)
    assert (found.kind, found.name, found.model, found.pointer) == (kind, name, model, pointer)


def test_a_class_with_what_it_loads(tmp_path: Path, home: Home) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    source = parse(f"pkg.nets:Net@{tmp_path}/w")
    assert (source.target, source.path) == ("pkg.nets:Net", tmp_path / "w")
    found = fetch(source, never, home)
    assert found.path == tmp_path / "w"
    assert found.digest
    with pytest.raises(SourceNotFound, match="no such file"):
        fetch(parse(f"pkg.nets:Net@{tmp_path}/v"), never, home)


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert parse("~/model.onnx").path == tmp_path / "model.onnx"
    assert parse("model").path == tmp_path / "model"
    assert parse("file:///srv/model.onnx").path == Path("/srv/model.onnx")
    assert parse(".").name == tmp_path.stem


@pytest.mark.parametrize("uri", ["models:/churn", "models:/churn/latest", "models:/churn/Production", "models:/churn@"])
def test_a_version_must_be_named(uri: str) -> None:
    with pytest.raises(UsageError, match=r"name a version or an alias, models:/churn/1 or models:/churn@champion"):
        parse(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "  ",
        "a\0b",
        "models:/",
        "models:/@champion",
        "models:/a/b/c",
        "runs:/",
        "runs:/abc",
        "runs:/abc/../x",
        "s3://b/k",
    ],
)
def test_what_is_no_model_uri(uri: str) -> None:
    with pytest.raises(UsageError):
        parse(uri)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except UsageError:
        return
    assert found.name or found.kind in (Kind.PATH, Kind.RUN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("churn=./churn.onnx", ("churn", "./churn.onnx")),
        ("digits=models:/digits@champion", ("digits", "models:/digits@champion")),
        ("a b=models:/x@champion", ("a b", "models:/x@champion")),
        ("=./x.onnx", ("", "=./x.onnx")),
        ("./a=b.onnx", ("", "./a=b.onnx")),
        ("a b=c.onnx", ("", "a b=c.onnx")),
        ("models:/a=b@champion", ("", "models:/a=b@champion")),
        ("model.onnx", ("", "model.onnx")),
    ],
)
def test_split_name(text: str, expected: tuple[str, str]) -> None:
    assert split_name(text) == expected


def test_a_name_without_a_model() -> None:
    with pytest.raises(UsageError, match="give churn=URI"):
        split_name("churn=")


def test_handles_of_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert handle("churn@champion") == parse("models:/churn@champion")
    assert handle("churn/3") == parse("models:/churn/3")
    assert handle("churn@champion").handle == "churn@champion"
    (tmp_path / "churn@champion").write_text("a file of that name is that file")
    assert handle("churn@champion").kind is Kind.PATH
    assert handle("./churn/3").kind is Kind.PATH


def test_a_class_and_a_file_need_no_registry(home: Home, tmp_path: Path) -> None:
    assert fetch(parse("pkg:Predictor"), never, home) == Found(parse("pkg:Predictor"))
    (tmp_path / "model.txt").write_text("a text")
    found = fetch(parse(str(tmp_path / "model.txt")), never, home)
    assert found.path == tmp_path / "model.txt"
    assert len(found.digest) == 64


def test_a_file_that_is_not_there(home: Home) -> None:
    with pytest.raises(SourceNotFound, match=r"churn: no such file or folder; a registered model is models:/churn@"):
        fetch(parse("churn"), never, home)


def test_a_folder_that_is_no_model_is_not_hashed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "tree_digest", lambda _path: pytest.fail("hashed"))
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "files").touch()
    with pytest.raises(UnknownFormat):
        fetch(parse(str(tmp_path / "many")), never, home)


def content(path: Path | None) -> dict[str, bytes]:
    assert path is not None
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_an_alias_is_resolved_and_downloaded_once(home: Home, registry: MemoryRegistry) -> None:
    first = fetch(parse("models:/churn@champion"), lambda: registry, home)
    again = fetch(parse("models:/churn/1"), lambda: registry, home)
    assert content(first.path) == MODEL
    assert first.version is not None
    assert first.version.version == "1"
    assert (again.path, again.digest) == (first.path, first.digest)
    assert registry.downloads == ["models:/churn/1"]


def test_a_download_that_was_touched_is_fetched_again(home: Home, registry: MemoryRegistry) -> None:
    first = fetch(parse("models:/churn/1"), lambda: registry, home)
    assert first.path is not None
    (first.path / "data/weights").write_bytes(b"changed")
    again = fetch(parse("models:/churn/1"), lambda: registry, home)
    assert content(again.path) == MODEL
    assert len(registry.downloads) == 2


def test_compiled_python_is_not_kept(home: Home, registry: MemoryRegistry) -> None:
    registry.add("models:/churn/1", {**MODEL, "code/__pycache__/a.pyc": b"evil", "code/a.py": b""})
    found = fetch(parse("models:/churn/1"), lambda: registry, home)
    assert sorted(content(found.path)) == ["MLmodel", "code/a.py", "data/weights"]


def test_run_artefacts_may_change_and_are_fetched_each_time(home: Home, registry: MemoryRegistry) -> None:
    registry.add("runs:/abc/model", MODEL)
    first = fetch(parse("runs:/abc/model"), lambda: registry, home)
    registry.add("runs:/abc/model", {**MODEL, "data/weights": b"new"})
    again = fetch(parse("runs:/abc/model"), lambda: registry, home)
    assert first.digest != again.digest
    assert content(again.path)["data/weights"] == b"new"


def test_run_artefacts_that_did_not_change_are_left_to_who_loads_them(home: Home, registry: MemoryRegistry) -> None:
    registry.add("runs:/abc/model", MODEL)
    first = fetch(parse("runs:/abc/model"), lambda: registry, home)
    assert first.path is not None
    before = (first.path / "data/weights").stat().st_ino
    again = fetch(parse("runs:/abc/model"), lambda: registry, home)
    assert (again.path, again.digest) == (first.path, first.digest)
    assert (first.path / "data/weights").stat().st_ino == before
    assert len(registry.downloads) == 2
    assert [one.name for one in home.cache.iterdir() if one.name.startswith(".fetching")] == []


def test_another_registry_does_not_share_the_cache(home: Home, registry: MemoryRegistry) -> None:
    fetch(parse("models:/churn/1"), lambda: registry, home)
    fetch(parse("models:/churn/1"), lambda: registry, Home(home.root, "other:", home.state, home.user))
    assert len(registry.downloads) == 2


@pytest.mark.parametrize(
    ("uri", "error", "left"),
    [
        ("models:/churn/1", RegistryUnreachable("gone in the middle"), [".fetching-"]),
        ("models:/churn/1", SourceNotFound("a file of it is gone"), []),
        ("runs:/abc/model", RegistryUnreachable("it may be another one next time"), []),
    ],
)
def test_a_download_that_fails_leaves_nothing_but_a_beginning_of_what_never_changes(
    home: Home, registry: MemoryRegistry, uri: str, error: Exception, left: list[str]
) -> None:
    registry.add("runs:/abc/model", MODEL)
    whole, seen = registry.download, []

    def half(uri: str, into: Path) -> Path:
        seen.append(sorted(one.name for one in into.rglob("*")))
        whole(uri, into)
        raise error

    registry.download = half  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(type(error)):
            fetch(parse(uri), lambda: registry, home)
        found = [one.name for one in home.cache.iterdir() if one.suffix != ".lock"]
        assert [one[: len(".fetching-")] for one in found] == left
    assert bool(seen[1]) == bool(left)
    registry.download = whole  # type: ignore[method-assign]
    assert content(fetch(parse(uri), lambda: registry, home).path) == MODEL
    assert len([one for one in home.cache.iterdir() if one.suffix != ".lock"]) == 1


def test_a_download_that_cannot_begin_leaves_nothing(home: Home, registry: MemoryRegistry) -> None:
    def away(_uri: str, _into: Path) -> Path:
        raise RegistryUnreachable("away")

    registry.download = away  # type: ignore[method-assign]
    with pytest.raises(RegistryUnreachable):
        fetch(parse("models:/churn/1"), lambda: registry, home)
    assert [one.name for one in home.cache.iterdir() if one.suffix != ".lock"] == []


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "check the folder")])
def test_no_room_is_one_sentence_and_no_half_folder(
    home: Home, registry: MemoryRegistry, number: int, remedy: str
) -> None:
    def full(uri: str, into: Path) -> Path:
        (into / "half").write_bytes(b"")
        raise OSError(number, "the reason")

    registry.download = full  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=rf"models:/churn/1 cannot be stored under .*: the reason; {remedy}"):
        fetch(parse("models:/churn/1"), lambda: registry, home)
    assert [one.name for one in home.cache.iterdir() if one.suffix != ".lock"] == []


def test_many_at_once_download_once(home: Home, registry: MemoryRegistry) -> None:
    start = threading.Barrier(6)

    def get(_: int) -> Found:
        start.wait()
        return fetch(parse("models:/churn/1"), lambda: registry, home)

    with ThreadPoolExecutor(6) as pool:
        digests: set[Callable[..., object] | str] = {found.digest for found in pool.map(get, range(6))}
    assert len(digests) == 1
    assert registry.downloads == ["models:/churn/1"]


def test_the_subject_of_a_path_does_not_depend_on_how_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("m.pkl").subject == parse(str(tmp_path / "m.pkl")).subject
    assert isinstance(parse("m.pkl"), Source)
