from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import BrokenModel, UnknownFormat, UsageError
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.package.triton import is_model, models, read, repository
from fairlead.wiring.serving import targets

CONFIG = """
platform: "pytorch_libtorch"
max_batch_size: 8
input { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUTPUT__0" data_type: TYPE_STRING dims: [ -1 ] }
"""


def model(folder: Path, config: str | None = CONFIG, *files: str) -> Path:
    for file in files or ("1/model.pt",):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"bytes")
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


def test_a_model_is_what_its_config_says(tmp_path: Path) -> None:
    found = read(model(tmp_path / "net", CONFIG, "1/model.pt", "10/model.pt", "9/model.pt"))
    assert (found.name, found.version, found.max_rows) == ("net", "10", 8)
    assert found.file == tmp_path / "net" / "10" / "model.pt"
    assert found.signature == Signature(
        (TensorSpec("INPUT__0", DataType.FP32, (-1, 4)),), (TensorSpec("OUTPUT__0", DataType.BYTES, (-1, -1)),)
    )


def test_without_batches_the_dims_are_the_shape(tmp_path: Path) -> None:
    found = read(model(tmp_path / "net", CONFIG.replace("8", "0")))
    assert found.signature is not None
    assert (found.signature.batched, found.signature.inputs[0].shape, found.max_rows) == (False, (4,), 0)
    graph = 'backend: "onnxruntime" input { name: "x" data_type: TYPE_INT64 dims: [2, 3] }'
    assert read(model(tmp_path / "graph", graph, "1/model.onnx")).signature is None


def test_versions_and_file_names_that_a_config_chooses(tmp_path: Path) -> None:
    named = CONFIG + 'default_model_filename: "net.bin" version_policy { specific { versions: [1, 2] } }'
    found = read(model(tmp_path / "net", named, "1/net.bin", "2/net.bin", "3/net.bin"))
    assert (found.version, found.file.name) == ("2", "net.bin")
    assert read(model(tmp_path / "bare", None, "1/model.onnx")).file.name == "model.onnx"


@pytest.mark.parametrize(
    ("config", "files", "error", "said"),
    [
        ('backend: "tensorrt"', (), UnknownFormat, "net in the Triton repository is for the backend 'tensorrt'"),
        ('platform: "ensemble" ensemble_scheduling { }', (), UnknownFormat, "net .* has ensemble_scheduling"),
        (CONFIG, ("readme.md",), BrokenModel, "has no numbered folder"),
        (CONFIG, ("1/model.onnx",), BrokenModel, r"version 1 has no model\.pt"),
        ('default_model_filename: "../x"', (), BrokenModel, "'../x' is no name of a file"),
        ("name:", (), BrokenModel, r"config\.pbtxt cannot be read: line 1: a value was expected"),
        ("max_batch_size: many", (), BrokenModel, "max_batch_size is 'many'"),
        ("input { dims: 1 }", (), BrokenModel, "an input has no name"),
        ('input { name: "x" data_type: TYPE_FP8 }', (), BrokenModel, "'x' has the data_type 'TYPE_FP8'"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [a] }', (), BrokenModel, "whole numbers were expected"),
        ('input { name: "x" data_type: TYPE_FP32 reshape { } }', (), UnknownFormat, "'x' is reshaped"),
    ],
)
def test_what_cannot_be_kept_is_one_sentence(
    tmp_path: Path, config: str, files: tuple[str, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        read(model(tmp_path / "net", config, *files))


def test_a_repository_becomes_its_models(tmp_path: Path) -> None:
    root = tmp_path / "models"
    model(root / "b")
    model(root / "a", None, "1/model.onnx")
    (root / "notes").mkdir()
    assert models(root) == repository(root) == ["a", "b"]
    assert is_model(root / "a")
    assert repository(root / "a") == repository(tmp_path / "none") == []
    found = targets([f"{root}/", "c=./m.onnx"], trust_pickle=True)
    assert [(one.name, one.uri, one.trust_pickle) for one in found] == [
        ("a", f"{root}/a", True),
        ("b", f"{root}/b", True),
        ("c", "./m.onnx", True),
    ]
    with pytest.raises(UsageError, match=f"leave shop= out, or give one of its models, shop={root}/a"):
        targets([f"shop={root}"])
