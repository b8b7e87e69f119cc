"""The suite of engines over every installed one that can run here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.contracts.engine import Engine, EngineOptions
from fairlead.kit import plugins
from fairlead.testing import engine_suite
from fairlead.testing.engine_suite import Check, Subject
from fairlead.testing.engines import EchoEngine
from openai_server import Server

STAND_IN = Path(__file__).parents[1] / "openai_server.py"
NOT_HERE = {
    "embedded": "needs a converted model: tests of its own run the suite over it",
    "transformers": "needs torch: tests of its own run the suite over it",
}
"""Engines that this file leaves out, and why."""
CHECKED = ("echo", "openai", "llama-server", "vllm")

checks = pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)


def made(engine: str, options: EngineOptions) -> Engine:
    found: Engine = plugins.load("fairlead.engines", engine)(options)
    return found


def test_every_engine_is_checked_or_left_out_for_a_reason() -> None:
    assert set(plugins.names("fairlead.engines")) <= {*CHECKED, *NOT_HERE}


@checks
@pytest.mark.parametrize("options", [{}, {"delay": 0.002}, {"delay": 0.001, "parallel": 2}], ids=str)
async def test_the_fake(check: Check, options: dict[str, object]) -> None:
    await check(Subject(lambda: EchoEngine(EngineOptions("m", "m", options=options)), same=True))


@checks
@pytest.mark.parametrize("options", [{}, {"connections": 2}], ids=str)
async def test_a_server_of_the_api(check: Check, options: dict[str, object]) -> None:
    async with Server(delay=0.001) as server:
        await check(Subject(lambda: made("openai", EngineOptions("m", "m", server.url, options=options)), same=True))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands in for both programs: neither is on every machine."""
    folder = tmp_path_factory.mktemp("programs")
    path = folder / "program"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    path.chmod(0o755)
    (folder / "model.gguf").write_bytes(b"GGUF stand-in")
    return path


@pytest.fixture
def supervised(request: pytest.FixtureRequest, program: Path) -> Subject:
    engine: str = request.param
    options = {"binary": str(program), "context": 2048}

    def make() -> Engine:
        return made(engine, EngineOptions("m", str(program.parent / "model.gguf"), options=options))

    # llama.cpp counts a conversation by the text that its template makes of it.
    return Subject(make, same=True, counts=engine == "vllm")


@checks
@pytest.mark.parametrize("supervised", ["llama-server", "vllm"], indirect=True)
async def test_a_server_that_is_started_here(check: Check, supervised: Subject) -> None:
    await check(supervised)
