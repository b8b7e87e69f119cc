"""The engine `llama-server` over llama.cpp itself: the program, where it is installed, or the package xllamacpp."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.adapters.engines.served.llama_server import LlamaServer
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.generation import Format, Generation, Message, Sampling
from fairlead.kit import plugins
from fairlead.testing import engine_suite
from fairlead.testing.engine_suite import Check, Subject
from fairlead.testing.hearing import Heard

DATA = Path(os.environ.get("FAIRLEAD_DATA", ""), "models-stories260k")
MODEL = DATA / "stories260K-f32.gguf"
PROGRAM = shutil.which("llama-server")
PACKAGE = plugins.installed("xllamacpp")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not MODEL.is_file() or not (PROGRAM or PACKAGE),
        reason="the model, or llama-server (pip install xllamacpp), is not here",
    ),
]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    if PROGRAM:
        return Path(PROGRAM)
    path = tmp_path / "llama-server"
    script = Path(__file__).parents[1] / "llama_server.py"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    path.chmod(0o755)
    return path


def made(program: Path) -> LlamaServer:
    options = {"binary": str(program), "context": 512, "parallel": 4}
    return LlamaServer(EngineOptions("story", str(MODEL), threads=1, options=options))


@pytest.fixture
async def story(program: Path) -> AsyncIterator[LlamaServer]:
    one = made(program)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)
async def test_the_suite(check: Check, program: Path) -> None:
    await check(Subject(lambda: made(program), chats=False, text="Once upon a time there was a little girl"))


async def answer(engine: LlamaServer, generation: Generation) -> Heard:
    heard = Heard()
    engine.generate(generation, heard)
    await asyncio.wait_for(heard.over.wait(), 30)
    heard.check()
    return heard


async def test_it_tells_the_published_story_and_more(story: LlamaServer) -> None:
    reference = json.loads((DATA / "greedy_reference.json").read_text())
    greedy = Sampling(temperature=0.0, most=200, ignore_end=True)
    heard = await answer(story, Generation("g", "story", (1,), greedy))
    assert heard.text.strip() == reference["text"].strip()
    assert heard.ended.usage.completion == 200
    many = [Heard() for _ in range(16)]
    for one in many:
        story.generate(Generation("g", "story", (1,), greedy), one)
    for one in many:
        await asyncio.wait_for(one.over.wait(), 60)
        assert one.text.strip() == reference["text"].strip()
    asked = Generation("g", "story", (Message("system", "be good"), Message("user", "hello")), Sampling(most=8))
    heard = await answer(story, asked)
    assert heard.ended.usage.completion <= 8
    assert abs(await story.count(asked) - heard.ended.usage.prompt) <= 1
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    held = Generation("g", "story", (Message("user", "hello"),), Sampling(most=64), format=Format("f", schema))
    assert isinstance(json.loads((await answer(story, held)).text)["a"], bool)
    seeded = [Generation("g", "story", "Once", Sampling(most=30, seed=7))] * 2
    assert len({(await answer(story, one)).text for one in seeded}) == 1
