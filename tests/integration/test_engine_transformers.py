"""The engine `transformers` on a real small model, where torch is installed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fairlead.adapters.engines.transformers.engine import TransformersEngine
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import (
    BrokenModel,
    EngineLost,
    InputError,
    MissingExtra,
    SourceNotFound,
    Unavailable,
    UsageError,
)
from fairlead.contracts.generation import Ended, Generation, Message, Sampling
from fairlead.kit import plugins
from fairlead.testing import engine_suite
from fairlead.testing.engine_suite import Check, Subject
from fairlead.testing.hearing import Heard

DATA = Path(os.environ.get("FAIRLEAD_DATA", ""), "models-stories260k")
INSTALLED = plugins.installed("torch", "transformers")
needed = pytest.mark.skipif(
    not INSTALLED or not (DATA / "hf").is_dir(), reason="torch, transformers or the model is not here"
)


def engine(model: Path | None = None, **options: Any) -> TransformersEngine:
    return TransformersEngine(EngineOptions("story", str(model or DATA / "hf"), threads=1, options=options))


async def answer(one: TransformersEngine, prompt: Any, **sampling: Any) -> Heard:
    heard = Heard()
    one.generate(Generation("g", "story", prompt, Sampling(**{"temperature": 0.0, **sampling})), heard)
    await asyncio.wait_for(heard.over.wait(), 60)
    heard.check()
    return heard


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def story() -> AsyncIterator[TransformersEngine]:
    """One for all: to import the libraries takes seconds."""
    one = engine()
    await one.start()
    yield one
    await one.stop()


@needed
@pytest.mark.slow
@pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_suite(check: Check, story: TransformersEngine) -> None:
    text = "Once upon a time there was a little girl"
    await check(Subject(engine, seconds=60, chats=False, same=True, engine=story, text=text))


@needed
@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_it_tells_the_published_story_and_what_it_is_asked(story: TransformersEngine) -> None:
    reference = json.loads((DATA / "greedy_reference.json").read_text())
    heard = await answer(story, (1,), most=200, ignore_end=True)
    assert heard.text.strip() == reference["text"].strip()
    assert heard.ended.usage.completion == 200
    assert story.traits.context == 512
    hot = [(await answer(story, "Once", most=20, temperature=1.0, seed=7)).text for _ in range(2)]
    assert hot[0] == hot[1]
    other = (await answer(story, "Once", most=20, temperature=1.0, seed=8, top_k=50, top_p=0.9, min_p=0.01)).text
    assert other != hot[0]
    plain = (await answer(story, "Once", most=60)).text
    changed = {"frequency_penalty": 2.0, "presence_penalty": 1.0, "repetition_penalty": 1.2, "bias": ((5, -100.0),)}
    assert (await answer(story, "Once", most=60, **changed)).text != plain
    conversation = (Message("user", "hello"),)
    last = (await answer(story, conversation)).events[-1]
    assert isinstance(last, InputError)
    assert "template" in str(last)
    assert isinstance((await answer(story, (9999,))).events[-1], InputError)
    assert await story.count(Generation("g", "m", "Once upon a time")) > 3


@needed
@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_its_process_may_end(story: TransformersEngine) -> None:
    heard = Heard()
    story.generate(Generation("g", "m", "Once", Sampling(temperature=0.0, most=400, ignore_end=True)), heard)
    waiting = Heard()
    story.generate(Generation("h", "m", "Once", Sampling(temperature=0.0, most=3)), waiting)
    while len(heard.pieces) < 5:
        await asyncio.sleep(0.001)
    assert story._process is not None
    os.kill(story._process.pid, signal.SIGKILL)
    await asyncio.wait_for(heard.over.wait(), 10)
    assert isinstance(heard.events[-1], EngineLost)
    await asyncio.wait_for(waiting.over.wait(), 60)  # it waited, and is answered by the next process
    assert isinstance(waiting.events[-1], Ended | Unavailable)


@needed
@pytest.mark.slow
async def test_weights_that_are_broken(tmp_path: Path) -> None:
    for path in (DATA / "hf").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((DATA / "hf" / "model.safetensors").read_bytes()[:5000])
    one = engine(tmp_path)
    with pytest.raises(BrokenModel, match="transformers cannot load it"):
        await one.start()
    assert isinstance((await answer(one, "Once")).events[-1], Unavailable)


@pytest.mark.skipif(not INSTALLED, reason="torch and transformers are not installed")
def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"config\.json"):
        engine(tmp_path)
    with pytest.raises(UsageError, match="devise"):
        engine(tmp_path, devise="cpu")


@pytest.mark.skipif(INSTALLED, reason="torch and transformers are installed")
def test_libraries_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="pip install"):
        engine(tmp_path)
