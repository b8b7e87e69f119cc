"""Models of language: what a command line and a spec make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedder_files import static
from fairlead.contracts.errors import SourceNotFound, UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import home
from fairlead.kit.spec.read import parse
from fairlead.serve.catalog import Catalog
from fairlead.serve.llm.chats import Chats
from fairlead.serve.llm.texting.engine import Texting
from fairlead.testing.engines import EchoEngine
from fairlead.testing.sinks import MemorySink
from fairlead.wiring.llm import engines, opening, paths, specs, tokenizers
from fairlead.wiring.llm.around import Surroundings
from fairlead.wiring.llm.wanted import Wanted
from fairlead.wiring.specs import check
from tokenizer_files import folder, gguf


def around(tmp_path: Path) -> Surroundings:
    return Surroundings(home(tmp_path / "home"), MemorySink(), SystemClock(), Chats())


def language(path: Path) -> Path:
    (folder(path) / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    )
    return path


def embedding(path: Path) -> Path:
    (static(folder(path, None)) / "modules.json").write_text("[]")
    return path


def test_what_a_command_line_names(tmp_path: Path) -> None:
    chat, vectors, file = language(tmp_path / "chat"), embedding(tmp_path / "vectors"), gguf(tmp_path / "small.gguf")
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    texts = [str(chat), f"e={vectors}", str(file), str(tmp_path / "model.onnx"), "models:/churn@champion", "a.b:C"]
    found = paths.split([*texts, "x=oip+http://h:1/m"], "int4", 2, 5000)
    assert found.models == [*texts[3:], "x=oip+http://h:1/m"]
    assert [(one.name, one.engine, one.precision) for one in found.chats] == [
        ("chat", "embedded", "int4"), ("e", "", "int8"), ("small", "embedded", "int4"),
    ]  # fmt: skip
    assert all((one.threads, one.deadline) == (2, 5.0) for one in found.chats)
    assert found.chats[1].parts["embedding"].model == str(vectors)
    with pytest.raises(UsageError, match="--precision"):
        paths.split([str(vectors)], "int4", 0, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tools": "hermes", "reasoning": "none", "cache_gb": 1}, ""),
        ({"tools": "herms"}, "'tools' of llm is 'herms'; expected one of auto"),
        ({"reasoning": 1}, "'reasoning' of llm"),
        ({"tokeniser": "x"}, "tokeniser"),
    ],
)
def test_options_of_text_are_not_the_engines(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    wanted = Wanted("m", "embedded", str(tmp_path), options=options)
    if told:
        with pytest.raises(UsageError, match=told):
            engines.engine(wanted, around(tmp_path))
    else:
        assert isinstance(engines.engine(wanted, around(tmp_path)), Texting)


def test_engines_by_name(tmp_path: Path) -> None:
    assert {"echo", "embedded"} <= set(engines.names())
    assert isinstance(engines.engine(Wanted("m", "echo"), around(tmp_path)), EchoEngine)
    with pytest.raises(UsageError, match="name it, as llm.model"):
        engines.engine(Wanted("m", "embedded"), around(tmp_path))
    with pytest.raises(UsageError, match="there is no engine 'embeded'"):
        engines.engine(Wanted("m", "embeded"), around(tmp_path))


def test_the_tokenizer_of_a_path(tmp_path: Path) -> None:
    assert tokenizers.opened(str(folder(tmp_path / "hf"))).size == 265
    assert tokenizers.opened(str(gguf(tmp_path / "a.gguf"))).size == 265
    for wrong in (tmp_path / "none", tmp_path / "hf" / ".."):
        (tmp_path / "a.gguf").unlink(missing_ok=True)
        with pytest.raises(SourceNotFound):
            tokenizers.opened(str(wrong))


async def test_an_embedding_model_of_a_spec_comes_and_goes(tmp_path: Path) -> None:
    model = embedding(tmp_path / "vectors")
    file = parse(f"endpoints:\n  e:\n    embedding: {{model: {model}, normalize: false}}\n    threads: 1\n", "f.yaml")
    specs.check(file, "e", file.spec.endpoints["e"])
    place = around(tmp_path)
    (one,) = opening.openings(specs.wanted(file.spec), place, Catalog())
    assert one.endpoint == "e"
    await one.open()
    found = await place.embeddings.resolve("e").embed(["hello"], float("inf"))
    assert found.vectors.shape == (1, 8)
    assert set(place.embedders) == set(place.tokenizers) == {"e"}
    await one.close()
    assert not place.embedders
    assert not place.tokenizers


@pytest.mark.parametrize(("place", "workers", "warned"), [(0, 1, False), (0, 2, True), (1, 2, False)])
async def test_a_model_in_every_worker_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int, workers: int, warned: bool
) -> None:
    beside = replace(around(tmp_path), place=place, workers=workers)
    one = opening.Opening(Wanted("m", "echo", "./model"), beside, Catalog())
    await one.open()
    await one.close()
    assert ("each worker has the model in its own memory" in caplog.messages) == warned


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("embedding: {model: ./x, engine: onx}", "engine is 'onx'; installed are onnx, static"),
        ("embedding: {model: ./x}\n    runtime: onnx", "runtime is for a model of tensors"),
        ("embedding: {model: ./x}\n    llm: {model: ./y}", "give one of"),
        ("embedding: {}", "model"),
        ("llm: {}", "f.yaml:3: endpoints.e.llm names no model, and engine 'embedded' runs one"),
    ],
)
def test_what_a_spec_may_not_say(part: str, told: str) -> None:
    def read() -> None:
        file = parse(f"endpoints:\n  e:\n    {part}\n", "f.yaml")
        specs.check(file, "e", file.spec.endpoints["e"])

    with pytest.raises(UsageError, match=told):
        read()


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("llm: {model: none}", "endpoints.e.llm.model is none, and there is no such"),
        ("llm: {engine: vllm, model: ./none}", "endpoints.e.llm.model is ./none, and there"),
        ("embedding: {model: ./none}", "endpoints.e.embedding.model is ./none, and there"),
        ("llm: {engine: vllm, model: Qwen/Qwen2.5-7B}", ""),
        ("llm: {engine: openai, base_url: 'http://h/v1', model: /m}", ""),
        ("llm: {model: .}", ""),
    ],
)
def test_models_that_are_not_there_are_found_before_anything_starts(part: str, told: str) -> None:
    file = parse(f"endpoints:\n  e:\n    {part}\n", "f.yaml")
    if told:
        with pytest.raises(UsageError, match=told):
            check(file)
    else:
        check(file)
