from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import BrokenModel, DigestMismatch, ModelError, Untrusted
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec
from fairlead.package import manifest
from fairlead.package.manifest import Manifest

SIGNATURE = Signature(
    inputs=(
        TensorSpec("age", DataType.FP64, (-1, 1), column=True, missing=Missing.NAN),
        TensorSpec("plan", DataType.BYTES, (-1, 1), column=True, missing=Missing.VALUE, missing_value="none"),
    ),
    outputs=(TensorSpec("label", DataType.INT64, (-1,)),),
    params=(ParamSpec("threshold", DataType.FP64, 0.5), ParamSpec("weights", DataType.FP32, [1.0], (-1,))),
    prediction=("label",),
)
DRAFT = Manifest(
    "churn", SIGNATURE, "onnx", "fairlead/model.onnx", "it agrees", {"worst": 0.0}, {}, "3.11.7", {"a": "1"}, 5
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fairlead").mkdir()
    (tmp_path / "MLmodel").write_text("flavors: {}")
    (tmp_path / "fairlead" / "model.onnx").write_bytes(b"onnx")
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    written = manifest.write(folder, DRAFT)
    assert sorted(written.files) == ["MLmodel", "fairlead/model.onnx"]
    assert manifest.read(folder) == written
    manifest.verify(folder, written)


def test_writing_again_gives_the_same_digests(folder: Path) -> None:
    assert manifest.write(folder, DRAFT) == manifest.write(folder, DRAFT)
    assert not list((folder / "fairlead").glob(".*"))


def test_no_manifest_is_fine(folder: Path) -> None:
    assert manifest.read(folder) is None


def test_a_changed_file_is_named(folder: Path) -> None:
    written = manifest.write(folder, DRAFT)
    (folder / "MLmodel").write_text("flavors: {evil: {}}")
    with pytest.raises(DigestMismatch, match="MLmodel: changed since it was packaged"):
        manifest.verify(folder, written)


def test_a_missing_file_is_named(folder: Path) -> None:
    written = manifest.write(folder, DRAFT)
    (folder / "fairlead" / "model.onnx").unlink()
    with pytest.raises(DigestMismatch, match=r"model\.onnx: missing"):
        manifest.verify(folder, written)


def test_an_unexpected_file_is_named_but_mlflow_may_leave_its_note(folder: Path) -> None:
    written = manifest.write(folder, DRAFT)
    (folder / "registered_model_meta").write_text("model_name: churn")
    manifest.verify(folder, written)
    (folder / "extra.pkl").write_bytes(b"")
    with pytest.raises(DigestMismatch, match=r"extra\.pkl: not in the manifest"):
        manifest.verify(folder, written)


def test_links_that_leave_the_folder_are_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_text("secret")
    (folder / "inside").symlink_to(folder / "MLmodel")
    assert "inside" in dict(manifest.walk(folder))
    (folder / "outside").symlink_to(secret)
    with pytest.raises(Untrusted, match="symbolic link that leaves"):
        manifest.write(folder, DRAFT)


def test_linked_folders_are_refused(folder: Path) -> None:
    (folder / "linked").symlink_to(folder / "fairlead")
    with pytest.raises(Untrusted, match="linked folder"):
        manifest.tree_digest(folder)


def test_pipes_are_refused_instead_of_read_for_ever(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(BrokenModel, match="neither a file nor a folder"):
        manifest.tree_digest(folder)


def test_tree_digest_sees_names_and_bytes(folder: Path) -> None:
    before = manifest.tree_digest(folder)
    (folder / "MLmodel").rename(folder / "mlmodel")
    assert manifest.tree_digest(folder) != before
    (folder / "mlmodel").rename(folder / "MLmodel")
    assert manifest.tree_digest(folder) == before
    assert manifest.tree_digest(folder / "MLmodel") == manifest.file_digest(folder / "MLmodel")


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "a\0b"])
def test_paths_outside_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(Untrusted, match="outside its own folder"):
        manifest.inside(folder, path)


def test_a_link_cannot_lead_outside_either(folder: Path) -> None:
    (folder / "up").symlink_to(folder.parent)
    with pytest.raises(Untrusted):
        manifest.inside(folder, "up/other")
    assert manifest.inside(folder, "fairlead/model.onnx") == folder / "fairlead" / "model.onnx"


def test_a_newer_schema_says_so(folder: Path) -> None:
    manifest.write(folder, DRAFT)
    document = json.loads((folder / manifest.PATH).read_bytes())
    (folder / manifest.PATH).write_text(json.dumps({**document, "schema": 2}))
    with pytest.raises(BrokenModel, match="schema 2 and this Fairlead reads schema 1"):
        manifest.read(folder)


def test_fields_of_a_later_minor_version_are_left_alone(folder: Path) -> None:
    written = manifest.write(folder, DRAFT)
    document = json.loads((folder / manifest.PATH).read_bytes())
    (folder / manifest.PATH).write_text(json.dumps({**document, "later": 1}))
    assert manifest.read(folder) == written


@settings(deadline=None)  # it writes files
@given(st.data())
def test_a_damaged_manifest_is_broken_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    manifest.write(folder, DRAFT)
    document = json.loads((folder / manifest.PATH).read_bytes())
    field = data.draw(st.sampled_from([field.name for field in dataclasses.fields(Manifest)]))
    junk = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), st.lists, max_leaves=3)
    document[field] = data.draw(junk | st.dictionaries(st.text(max_size=3), junk, max_size=2))
    (folder / manifest.PATH).write_text(json.dumps(document))
    try:
        found = manifest.read(folder)
    except ModelError:
        return
    assert found is not None
    assert isinstance(found.artefact, str)
    assert isinstance(found.files, dict)
