"""Models by their digest: found without asking anybody, and refused when their bytes are others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from fairlead.contracts.errors import DigestMismatch, UsageError
from fairlead.contracts.stores import Registry, Version
from fairlead.kit.config import Home
from fairlead.package import pinned, sources
from fairlead.package.manifest import tree_digest
from fairlead.package.sources import Found, parse


class Registered:
    """One version, whose files lie in ``folder``."""

    def __init__(self, folder: Path, **tags: str) -> None:
        self.folder = folder
        self.asked = 0
        self.tags = {name.replace("_", "."): value for name, value in tags.items()}

    def version(self, model: str, version: str) -> Version:
        self.asked += 1
        return Version(model, version, ("champion",), source="s", created_ms=7, tags=self.tags)

    def download(self, uri: str, into: Path) -> Path:
        (into / "model").mkdir()
        for path in self.folder.iterdir():
            (into / "model" / path.name).write_bytes(path.read_bytes())
        return into / "model"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "sqlite:///x", "sqlite:///y", "tester")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights")
    return folder


def nobody() -> NoReturn:
    raise AssertionError("the registry was asked")


def uri(folder: Path) -> str:
    return f"models:/churn/3#sha256:{tree_digest(folder)}"


def test_a_uri_may_name_the_digest_of_any_bytes() -> None:
    found = parse("models:/churn@champion#sha256:" + "a" * 64)
    assert (found.digest, found.uri, found.name) == ("a" * 64, "models:/churn@champion", "churn")
    assert parse("./model.onnx#sha256:" + "b" * 64).path == Path("model.onnx").absolute()
    assert parse("./odd#sha256:abc.onnx").digest == ""
    for text in ("pkg.module:Class", "oip+http://host:1/churn"):
        with pytest.raises(UsageError, match="no bytes here"):
            parse(f"{text}#sha256:" + "a" * 64)


def test_the_second_time_nobody_is_asked(home: Home, files: Path) -> None:
    registry = Registered(files)
    first = pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    again = pinned.bring(parse(uri(files)), nobody, home)
    assert again == first
    assert again.version is not None
    assert again.version.aliases == ("champion",)
    assert registry.asked == 1


def test_other_bytes_than_were_asked_for_are_refused_and_forgotten(home: Home, files: Path) -> None:
    registry: Registry = Registered(files)  # type: ignore[assignment]
    asked = uri(files)
    (files / "model.onnx").write_bytes(b"others")
    with pytest.raises(DigestMismatch, match="was asked for"):
        pinned.bring(parse(asked), lambda: registry, home)
    assert not list((home.cache / "sha256").glob("*")) if (home.cache / "sha256").exists() else True
    path = files / "model.onnx"
    from_file = parse(f"{path}#sha256:" + "a" * 64)
    with pytest.raises(DigestMismatch):
        sources.fetch(replace(from_file), nobody, home)


def test_bytes_that_changed_in_the_cache_are_fetched_again(home: Home, files: Path) -> None:
    registry = Registered(files)
    first = pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    assert first.path is not None
    (first.path / "model.onnx").write_bytes(b"broken")
    again = pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    assert again.digest == first.digest
    assert registry.asked == 2


def test_what_somebody_vouched_for_is_asked_for_each_time(home: Home, files: Path) -> None:
    registry = Registered(files, fairlead_trust="{}")
    for _ in range(2):
        pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    assert registry.asked == 2


def test_the_same_bytes_under_another_name_are_another_model(home: Home, files: Path) -> None:
    registry = Registered(files)
    pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    pinned.bring(parse(uri(files).replace("churn", "fraud")), lambda: registry, home)  # type: ignore[arg-type, return-value]
    assert registry.asked == 2


def test_weights_of_an_image_are_found_before_the_cache(home: Home, files: Path, tmp_path: Path) -> None:
    folder, digest = tmp_path / "weights", tree_digest(files)
    inside = folder / digest / "model"
    inside.mkdir(parents=True)
    (inside / "model.onnx").write_bytes(b"weights")
    pinned.keep(Found(parse("models:/churn/3"), inside, digest, Version("churn", "3")), folder)
    found = pinned.bring(parse(uri(files)), nobody, replace(home, weights=folder))
    assert found.path == inside
    sources.forget(found, home)  # it is not in the cache, and not ours to remove
    assert inside.exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"path": "x", "version": 3}', json.dumps({"path": "gone", "version": None})]
)
def test_a_note_that_does_not_hold_is_passed_over(home: Home, files: Path, text: str) -> None:
    note = home.cache / "sha256" / f"{tree_digest(files)}.json"
    note.parent.mkdir(parents=True)
    note.write_text(text)
    registry = Registered(files)
    pinned.bring(parse(uri(files)), lambda: registry, home)  # type: ignore[arg-type, return-value]
    assert registry.asked == 1
