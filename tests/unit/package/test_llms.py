"""Which paths are language models, and what they say of themselves."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat
from fairlead.package.formats import identify, sniff
from fairlead.package.llms import GGUF, HF, IR, about, looks


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


GGUF_FILE = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
GGUF_FILE += text("general.architecture") + struct.pack("<I", 8) + text("qwen2")
GGUF_FILE += text("qwen2.context_length") + struct.pack("<II", 4, 32768)
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 4096}
XML = b'<?xml version="1.0"?>\n<net name="m"><layer names="input_ids" id="0" type="Parameter"/>'
XML_LLM = XML.replace(b'names="input_ids"', b'name="input_ids"') + b'<layer id="1" type="ReadValue"/></net>'


def folder(path: Path, config: Any = None, **files: bytes) -> Path:
    path.mkdir(exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", LLAMA, model__safetensors=b"")
    assert looks(path) == HF
    found = about(path)
    assert (found.family, found.context, found.architecture, found.weights) == (
        "llama",
        4096,
        "LlamaForCausalLM",
        path,
    )
    assert found.title == "a language model (Hugging Face, LlamaForCausalLM)"
    assert identify(path).name == "transformers"
    with pytest.raises(
        UnknownFormat, match=r"is a language model \(Hugging Face.*fairlead serve PATH.*llm: {model: PATH}"
    ):
        sniff(path)


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"architectures": ["GPT2LMHeadModel"], "n_positions": 1024}, 1024),
        ({"architectures": ["XForCausalLM"], "text_config": {"max_position_embeddings": 77}}, 77),
        ({"architectures": ["XForCausalLM"], "max_position_embeddings": "many"}, 0),
        ({"architectures": ["XForCausalLM"], "max_position_embeddings": True}, 0),
    ],
)
def test_contexts(tmp_path: Path, config: Any, context: int) -> None:
    assert about(folder(tmp_path, config)).context == context


def test_a_gguf_file_and_a_folder_with_one(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", small__gguf=GGUF_FILE)
    for one in (path, path / "small.gguf"):
        assert looks(one) == GGUF
        found = about(one)
        assert (found.family, found.context, found.weights) == ("qwen2", 32768, path / "small.gguf")
    assert found.title == "a language model (GGUF, qwen2)"
    (path / "other.gguf").write_bytes(GGUF_FILE)
    assert looks(path) == "", "which of the two?"


def test_a_folder_of_openvino(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", LLAMA, openvino_model__xml=XML_LLM, openvino_model__bin=b"1")
    assert looks(path) == IR
    assert (about(path).family, about(path).context) == ("llama", 4096)
    (path / "converted.json").write_text('{"context": 1024}')
    assert about(path).context == 1024
    (path / "config.json").unlink()
    (path / "converted.json").write_text("{")
    assert (about(path).family, about(path).context) == ("", 0)
    assert identify(path).name == "openvino"


@pytest.mark.parametrize(
    ("config", "files"),
    [
        ({"architectures": ["BertModel"]}, {}),
        ({"architectures": ["ResNetForImageClassification"]}, {}),
        ({"architectures": []}, {}),
        ({"architectures": [3]}, {}),
        ({"architectures": "LlamaForCausalLM"}, {}),
        ({}, {}),
        ([], {}),
        (None, {}),
        (None, {"openvino_model__xml": XML}),
        (None, {"openvino_model__xml": b""}),
        (None, {"model__gguf": b"GG"}),
        (None, {"model__onnx": b"GGUF"}),
    ],
)
def test_what_is_no_language_model(tmp_path: Path, config: Any, files: dict[str, bytes]) -> None:
    path = folder(tmp_path / "m", config, **files)
    assert looks(path) == ""
    with pytest.raises(UnknownFormat, match="is no language model; give a folder"):
        about(path)


def test_what_is_broken(tmp_path: Path) -> None:
    assert looks(tmp_path / "none") == ""
    with pytest.raises(SourceNotFound, match="no such file or folder"):
        about(tmp_path / "none")
    path = folder(tmp_path / "m", None, config__json=b"{", half__gguf=GGUF_FILE[:20])
    assert looks(path) == ""
    with pytest.raises(BrokenModel, match="is no JSON"):
        about(path)
    assert looks(path / "half.gguf") == GGUF, "what it is can be said; that it is broken, too"
    with pytest.raises(BrokenModel, match="cut short"):
        about(path / "half.gguf")
    assert identify(path / "half.gguf").name == "gguf"
