"""Servers that are started here: ready, ended with us, started again. A stand-in plays llama-server and vLLM."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.engines.served.child import Supervised
from fairlead.adapters.engines.served.llama_server import LlamaServer
from fairlead.adapters.engines.served.vllm import Vllm
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import (
    BrokenModel,
    EngineLost,
    MissingExtra,
    SourceNotFound,
    Unavailable,
    UnknownFormat,
    UsageError,
)
from fairlead.contracts.generation import Ended, Generation, Message
from fairlead.testing.hearing import Heard

STAND_IN = Path(__file__).parents[1] / "openai_server.py"
WORDS = " ".join(f"word{number}" for number in range(200))


@pytest.fixture
def sleeper(program: Path) -> Path:
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    return program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    path.chmod(0o755)
    (tmp_path / "model.gguf").write_bytes(b"GGUF stand-in")
    return path


def llama(program: Path, **options: Any) -> LlamaServer:
    options = {"binary": str(program), **options}
    return LlamaServer(EngineOptions("chat", str(program.parent / "model.gguf"), threads=2, options=options))


def vllm(program: Path, **options: Any) -> Vllm:
    return Vllm(EngineOptions("chat", "org/model", options={"binary": str(program), **options}))


def ask(engine: Supervised, text: str = WORDS) -> Heard:
    heard = Heard()
    engine.generate(Generation("g", "chat", (Message("user", text),)), heard)
    return heard


async def answer(engine: Supervised, text: str = WORDS) -> Heard:
    heard = ask(engine, text)
    await asyncio.wait_for(heard.over.wait(), 10)
    heard.check()
    return heard


def running(marker: Path) -> list[int]:
    """Processes whose command line has ``marker``'s folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(marker.parent) in words and os.fsencode(STAND_IN) in words:
            found.append(int(entry.name))
    return found


async def test_options_reach_the_program(program: Path) -> None:
    engine = llama(program, parallel=2, context=1000, gpu_layers=9, arguments=["--flash-attn", "on"])
    await engine.start()
    try:
        assert engine.traits.context == 1000
        assert (await answer(engine, "hi")).text == "hi"
        words = (program.parent / "words").read_text()
        assert "-np 2 -c 2000 -ngl 9 -t 2 --flash-attn on" in words
        assert "key" not in words
    finally:
        await engine.stop()
    other = vllm(program, tensor_parallel=2, context=999, memory_share=0.5, prefix_caching=False)
    await other.start()
    try:
        assert other.traits.context == 999
        words = (program.parent / "words").read_text()
        assert "serve org/model" in words
        assert (
            "--tensor-parallel-size 2 --no-enable-prefix-caching --gpu-memory-utilization 0.5 --max-model-len 999"
            in words
        )
    finally:
        await other.stop()


async def test_a_crash_ends_what_runs_and_it_comes_back(program: Path) -> None:
    engine = llama(program)
    await engine.start()
    try:
        many = [ask(engine) for _ in range(8)]
        while not all(len(one.pieces) >= 2 for one in many):
            await asyncio.sleep(0.005)
        ask(engine, "CRASH")
        for one in many:
            await asyncio.wait_for(one.over.wait(), 5)
            one.check()
        assert [type(one.events[-1]) for one in many] == [EngineLost] * 8
        last = (await answer(engine)).events[-1]
        assert isinstance(last, Unavailable | Ended)
        began = time.monotonic()
        while engine.troubles() or not isinstance((await answer(engine, "hi")).events[-1], Ended):
            assert time.monotonic() - began < 10, engine.troubles()
            await asyncio.sleep(0.02)
    finally:
        await engine.stop()
    assert not sys.platform.startswith("linux") or running(program) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("victim", ["server", "tether"])
async def test_it_is_killed_with_its_parent(program: Path, victim: str) -> None:
    code = f"""
        import asyncio
        from fairlead.adapters.engines.served.llama_server import LlamaServer
        from fairlead.contracts.engine import EngineOptions

        async def main():
            options = {{"binary": {str(program)!r}}}
            engine = LlamaServer(EngineOptions("chat", {str(program.parent / "model.gguf")!r}, options=options))
            await engine.start()
            print(engine.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - it is killed below
        assert parent.stdout is not None
        tether = int(parent.stdout.readline())
        assert len(running(program)) == 1
        os.kill(parent.pid if victim == "server" else tether, signal.SIGKILL)
        began = time.monotonic()
        if victim == "server":
            while running(program):
                assert time.monotonic() - began < 10
                await asyncio.sleep(0.05)
        else:  # and it is started again
            (first,) = running(program) or [0]
            while running(program) in ([], [first]):
                assert time.monotonic() - began < 10
                await asyncio.sleep(0.05)
        parent.kill()
    while running(program):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.05)


async def test_one_that_ends_at_once_says_so(program: Path) -> None:
    engine = llama(program, arguments=["BROKEN"])
    with pytest.raises(BrokenModel, match="exit code 3"):
        await engine.start()
    assert isinstance((await answer(engine)).events[-1], Unavailable)
    await engine.stop()


async def test_one_that_is_never_ready_is_given_up(sleeper: Path) -> None:
    engine = llama(sleeper, start_seconds=0.3)
    with pytest.raises(Unavailable, match="start_seconds"):
        await engine.start()


def test_what_is_not_there(program: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"github.com/ggml-org/llama\.cpp.*`binary`"):
        llama(program, binary="no-such-llama-server")
    with pytest.raises(MissingExtra, match="pip install vllm"):
        vllm(program, binary=str(tmp_path / "no"))
    with pytest.raises(SourceNotFound, match="GGUF"):
        LlamaServer(EngineOptions("chat", str(tmp_path / "no.gguf"), options={"binary": str(program)}))
    with pytest.raises(UnknownFormat, match="GGUF"):
        LlamaServer(EngineOptions("chat", str(program), options={"binary": str(program)}))
    with pytest.raises(UsageError, match="--port"):
        llama(program, arguments=["--port", "1"])
    with pytest.raises(UsageError, match="memory_share"):
        vllm(program, memory_share=1.5)
    with pytest.raises(UsageError, match="paralel"):
        llama(program, paralel=2)
    with pytest.raises(UsageError, match="model"):
        Vllm(EngineOptions("chat", "", options={"binary": str(program)}))
