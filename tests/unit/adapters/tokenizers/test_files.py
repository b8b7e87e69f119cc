"""What the files of a model say of its tokenizer, and files that lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.adapters.tokenizers.gguf.metadata import metadata
from fairlead.adapters.tokenizers.gguf.tokenizer import GgufTokenizer
from fairlead.adapters.tokenizers.hf.tokenizer import HfTokenizer
from fairlead.contracts.errors import BrokenModel, ModelError, SourceNotFound
from fairlead.contracts.generation import Message
from tokenizer_files import CHATML, SPECIAL, folder, gguf, id_of, letters


def hf(path: Path) -> HfTokenizer:
    return HfTokenizer(str(path))


def changed(path: Path, **changes: Any) -> Path:
    """A folder whose ``tokenizer.json`` says something else."""
    file = path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    first, second = hf(folder(tmp_path / "a")), GgufTokenizer(str(gguf(tmp_path / "a.gguf")))
    talk = [Message("system", "Be <|im_end|> brief."), Message("user", "<tool_call> é")]
    assert first.converse(talk, ()) == second.converse(talk, ())
    assert first.encode("a<table>b") == second.encode("a<table>b")
    assert (first.marks, first.ends, first.size, first.template) == (second.marks, second.ends, second.size, CHATML)
    assert second.ends == (id_of("<|im_end|>"),)


def test_where_a_template_may_be(tmp_path: Path) -> None:
    inside = folder(tmp_path / "a", "inside")
    assert hf(inside).template == "inside"
    (inside / "chat_template.jinja").write_text("alone")
    assert hf(inside).template == "alone"
    (inside / "additional_chat_templates").mkdir()
    (inside / "additional_chat_templates" / "tool_use.jinja").write_text("more")
    assert hf(inside).template == "more"
    beside = folder(tmp_path / "b", None)
    assert not hf(beside).chats
    (beside / "chat_template.json").write_text(json.dumps({"chat_template": "beside"}))
    assert hf(beside).template == "beside"


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({}, {}, ("<|im_end|>",)),
        ({"eos_token_id": 256}, {"eos_token_id": 259}, ("<|endoftext|>", "<|im_end|>")),
        ({"eos_token_id": [256, 258]}, {}, ("<|endoftext|>", "<|im_end|>")),
        ({}, {"eos_token_id": 259}, ("<s>", "<|im_end|>")),
    ],
)
def test_what_ends_an_answer(tmp_path: Path, generation: Any, config: Any, expected: tuple[str, ...]) -> None:
    path = folder(tmp_path / "a")
    (path / "generation_config.json").write_text(json.dumps(generation))
    (path / "config.json").write_text(json.dumps(config))
    assert hf(path).ends == tuple(map(id_of, expected))


def test_what_a_text_begins_and_ends_with(tmp_path: Path) -> None:
    steps = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}]  # fmt: skip
    special = {one: {"id": one, "ids": [id_of(one)], "tokens": [one]} for one in SPECIAL}
    template = {"type": "TemplateProcessing", "single": steps, "pair": steps, "special_tokens": special}
    path = changed(folder(tmp_path / "a"), post_processor={"type": "Sequence", "processors": [template]})
    assert (hf(path).begin, hf(path).final) == ((id_of("<s>"),), (id_of("<|endoftext|>"),))
    bert = {"type": "BertProcessing", "sep": ["<|im_end|>", 258], "cls": ["<s>", 259]}
    assert (hf(changed(path, post_processor=bert)).begin, hf(path).final) == ((259,), (258,))
    assert hf(folder(tmp_path / "b", add_bos_token=True)).begin == (259,)
    assert hf(changed(folder(tmp_path / "c", add_bos_token=False), post_processor=template)).begin == ()


def test_tokens_that_only_the_config_knows(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", added_tokens_decoder={"265": {"content": "<extra>", "special": True}})
    assert hf(path).marks[265] == "<extra>"
    assert hf(path).size == 266


def test_vocabulary_and_merges_in_files_of_their_own(tmp_path: Path) -> None:
    vocabulary = {one: place for place, one in enumerate([*letters(), "ab", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    found = hf(tmp_path)
    assert found.encode("abab") == [256, 256]
    assert found.ends == (257,)
    assert max(found.encode("<|endoftext|>")) < 256


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tokenizer.json", "{", "is no JSON"),
        ("tokenizer.json", "[]", "no JSON object"),
        ("tokenizer.json", "{}", "has no model"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}', "is no tokenizer"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 999999999}, "merges": []}}', "vocabulary"),
        ("tokenizer_config.json", "nonsense", "is no JSON"),
        ("tokenizer_config.json", '{"chat_template": "{% if %}"}', "line 1"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"300": {}}}', "added token"),
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = folder(tmp_path / "a")
    (path / name).write_text(text)
    with pytest.raises(BrokenModel, match=told):
        hf(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SourceNotFound):
            hf(path)
        with pytest.raises(SourceNotFound):
            GgufTokenizer(str(path))
    (tmp_path / "tokenizer.model").write_bytes(b"\xff\xff\xff")
    with pytest.raises(BrokenModel, match="SentencePiece"):
        hf(tmp_path)


def test_metadata_of_every_form(tmp_path: Path) -> None:
    path = gguf(tmp_path / "a.gguf", None, more__truth=True, more__real=0.5, more__reals=[0.25, 1.0])
    found = metadata(path)
    assert found["general.architecture"] == "llama"
    assert (found["more.truth"], found["more.real"], found["more.reals"].tolist()) == (True, 0.5, [0.25, 1.0])
    assert all(name.startswith("tokenizer.") for name in metadata(path, ("tokenizer.",)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"GGUX" + b"\0" * 20, "begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "entries"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "a text of"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 5, 1 << 50), "a list of"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 5, 1 << 20), "ends at byte"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 99), "type 99"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 1), "list of lists"),
    ],
)
def test_a_file_that_lies(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    with pytest.raises(BrokenModel, match=told):
        metadata(path)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 4000), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_a_typed_error_or_none(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: bool
) -> None:
    path = gguf(tmp_path_factory.mktemp("damaged") / "a.gguf")
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place] = byte
    path.write_bytes(data[:place] if cut else data)
    try:
        GgufTokenizer(str(path)).encode("hello")
    except ModelError:
        return


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tokenizer__ggml__pre": "unheard-of"}, "by the rule 'unheard-of'"),
        ({"tokenizer__ggml__model": "rwkv"}, "of the kind 'rwkv'"),
        ({"tokenizer__ggml__tokens": 3}, "is no list"),
        ({"tokenizer__ggml__token_type": [1, 2]}, "not one number for each"),
        ({"tokenizer__ggml__merges": ["x"]}, "merges"),
    ],
)
def test_what_a_gguf_file_may_not_say(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    with pytest.raises(BrokenModel, match=told):
        GgufTokenizer(str(gguf(tmp_path / "a.gguf", None, **values)))


def test_a_folder_with_one_gguf_file(tmp_path: Path) -> None:
    gguf(tmp_path / "a.gguf")
    assert GgufTokenizer(str(tmp_path)).chats
    gguf(tmp_path / "b.gguf")
    with pytest.raises(SourceNotFound, match="2 files"):
        GgufTokenizer(str(tmp_path))
