"""Tokenizers against encodings that others published."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.adapters.embedders.static import StaticEmbedder
from fairlead.adapters.tokenizers.gguf.tokenizer import GgufTokenizer
from fairlead.adapters.tokenizers.hf.tokenizer import HfTokenizer
from fairlead.adapters.tokenizers.vocabulary import Vocabulary
from fairlead.contracts.embedder import EmbedderOptions
from fairlead.testing import tokenizer_suite


@pytest.fixture(scope="module")
def data() -> Path:
    found = os.environ.get("FAIRLEAD_DATA")
    if not found:
        pytest.skip("FAIRLEAD_DATA is not set")
    return Path(found)


def golden(data: Path, name: str) -> list[tuple[str, list[int]]]:
    """Texts and their ids."""
    file = data / "tokenizers" / "gguf-vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{file}.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    lines = Path(f"{file}.out").read_text("utf-8").splitlines()
    return [(text, [int(one) for one in line.split()]) for text, line in zip(texts, lines, strict=False)]


def made(data: Path, kind: str, path: str) -> Vocabulary:
    return (HfTokenizer if kind == "hf" else GgufTokenizer)(str(data / path))


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("hf", "tokenizers/gpt2", "gpt-2"),
        ("hf", "tokenizers/llama2", "llama-spm"),
        ("gguf", "tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf", "gpt-2"),
        ("gguf", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf", "llama-spm"),
        ("gguf", "tokenizers/gguf-vocab/ggml-vocab-bert-bge.gguf", "bert-bge"),
    ],
)
def test_published_encodings(data: Path, kind: str, path: str, name: str) -> None:
    tokenizer = made(data, kind, path)
    cases = golden(data, name)
    assert len(cases) >= 46
    for text, ids in cases:
        assert tokenizer.encode(text) == ids
        if name != "bert-bge":
            assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("kind", "path"),
    [("hf", "tokenizers/gpt2"), ("hf", "tokenizers/llama2"), ("gguf", "tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf"),
     ("gguf", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf")],
)  # fmt: skip
@pytest.mark.parametrize("check", tokenizer_suite.CHECKS, ids=lambda check: check.__name__)
def test_they_pass_the_suite(data: Path, kind: str, path: str, check: Any) -> None:
    check(made(data, kind, path))


@pytest.mark.parametrize(
    ("kind", "path"), [("hf", "models-stories260k/hf"), ("gguf", "models-stories260k/stories260K-f32.gguf")]
)
def test_the_story(data: Path, kind: str, path: str) -> None:
    story = json.loads((data / "models-stories260k" / "greedy_reference.json").read_text())
    tokenizer = made(data, kind, path)
    assert tokenizer.encode(story["text"]) == story["token_ids"]
    assert tokenizer.decode(story["token_ids"]) == story["text"]
    assert (tokenizer.begin, tokenizer.ends, tokenizer.size) == ((1,), (2,), 512)


def test_a_model_that_finds_special_tokens_in_text_does_not_get_to(data: Path) -> None:
    tokenizer = HfTokenizer(str(data / "models-static-embedding"))
    for text in ("[PAD]", "a [PAD] b", "[PAD][PAD]", "hello [PAD]"):
        assert 0 not in tokenizer.encode(text)


async def test_a_published_vector(data: Path) -> None:
    model = str(data / "models-static-embedding")
    embedder = StaticEmbedder(EmbedderOptions("e", model, HfTokenizer(model)))
    await embedder.start()
    found = await embedder.embed([embedder.read(" ".join(["hello"] * 1000))])
    expected = np.array(json.loads((data / "models-static-embedding" / "expected_hello.json").read_text())[0])
    assert found.shape == (1, 64)
    assert np.abs(found[0] - expected).max() < 1e-6
    await embedder.stop()
