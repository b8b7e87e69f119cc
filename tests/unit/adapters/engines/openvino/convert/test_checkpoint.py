"""Weights of a folder: one file or shards, what is taken of them, and what a bad folder gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import llm_checkpoints as made
from fairlead.adapters.engines.openvino.convert.checkpoint import INDEX, WHOLE, Checkpoint, opened
from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat

TENSORS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4) / 4,
    "b": np.array([1.0, -2.5, 0.0], np.float32),
    "c": np.ones((2, 2), np.float32),
}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_numbers_come_back_in_float32(tmp_path: Path, dtype: str, shards: int) -> None:
    made.save(tmp_path, {}, TENSORS, dtype, shards)
    with opened(tmp_path) as checkpoint:
        assert checkpoint.numbers == 19
        assert [path.parent for path in checkpoint.files] == [tmp_path] * shards
        found = checkpoint.take("a", (3, 4))
        np.testing.assert_array_equal(found.floats(1, 3), TENSORS["a"][1:])
        assert found.floats(0, 3).dtype == np.float32
        found.forget()
        np.testing.assert_array_equal(found.floats(0, 3), TENSORS["a"])
        np.testing.assert_array_equal(checkpoint.take("b", (3,)).floats(0, 1), TENSORS["b"][None])
        assert checkpoint.unused == ["c"]
        checkpoint.skip("c")
        assert not checkpoint.unused


def test_a_header_of_an_odd_length(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    header += b" " * (1 - len(header) % 2)
    (tmp_path / WHOLE).write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\0\xc0")
    with opened(tmp_path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.take("a", (1, 2)).floats(0, 1), [[1, -2]])


def test_one_whole_file_goes_before_shards(tmp_path: Path) -> None:
    made.save(tmp_path, {}, TENSORS)
    (tmp_path / INDEX).write_text("{}")
    assert Checkpoint(tmp_path).has("a")


def test_links_to_files_elsewhere_are_followed(tmp_path: Path) -> None:
    """As the Hugging Face cache lays them out."""
    (tmp_path / "snapshot").mkdir()
    made.save(tmp_path / "blobs", {}, TENSORS)
    (tmp_path / "snapshot" / WHOLE).symlink_to(tmp_path / "blobs" / WHOLE)
    assert Checkpoint(tmp_path / "snapshot").has("a")


def test_a_tensor_that_is_missing_or_other(tmp_path: Path) -> None:
    checkpoint = Checkpoint(made.save(tmp_path, {}, TENSORS))
    with pytest.raises(BrokenModel, match="has no tensor 'd', which its config.json asks for"):
        checkpoint.take("d", (1,))
    with pytest.raises(BrokenModel, match=r"tensor 'a' has the shape \[3, 4\], and by config.json it must be \[4, 3\]"):
        checkpoint.take("a", (4, 3))


def test_numbers_that_are_not_read(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / WHOLE).write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(UnknownFormat, match="tensor 'a' is of F8_E4M3.*vLLM"):
        Checkpoint(tmp_path).take("a", (2,))


def test_weights_that_were_cut_short(tmp_path: Path) -> None:
    path = made.save(tmp_path, {}, TENSORS) / WHOLE
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BrokenModel, match=f"{WHOLE}: tensor 'c' ends at byte"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 9, 40])
def test_files_cut_anywhere(tmp_path: Path, kept: int) -> None:
    path = made.save(tmp_path, {}, TENSORS) / WHOLE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BrokenModel):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": 3}}', "has no weight_map"),
        ('{"weight_map": {"a": "b.safetensors"}}', "names the shard 'b.safetensors', which is not there"),
        ('{"weight_map": {"a": "../m.safetensors"}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"a": "sub/m.safetensors"}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"a": ".."}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"a": ""}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"a": "m\\u0000.safetensors"}}', "a shard is a file in the same folder"),
        ('{"weight_map": {"z": "m.safetensors"}}', "puts 'z' into m.safetensors, where it is not"),
    ],
)
def test_an_index_that_is_wrong(tmp_path: Path, index: str, said: str) -> None:
    made.write(tmp_path / "m.safetensors", TENSORS)
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(BrokenModel, match=said):
        Checkpoint(tmp_path)


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such folder"):
        Checkpoint(tmp_path / "none")
    with pytest.raises(SourceNotFound, match=f"holds neither {WHOLE}"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UnknownFormat, match="pickled weights"):
        Checkpoint(tmp_path)


def test_an_index_names_only_what_it_takes(tmp_path: Path) -> None:
    made.write(tmp_path / "m.safetensors", TENSORS)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "m.safetensors"}}))
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.has("a")
    assert not checkpoint.has("b")
