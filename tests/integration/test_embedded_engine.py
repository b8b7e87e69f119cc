"""The embedded engine with a real model: what it says, and what becomes of its callers when its process ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.adapters.engines.openvino.engine import EmbeddedTokens
from fairlead.adapters.engines.openvino.messages import Stepped
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import (
    BrokenModel,
    EngineLost,
    FairleadError,
    InvalidParameter,
    QueueFull,
    SourceNotFound,
    Unavailable,
)
from fairlead.contracts.generation import Sampling
from fairlead.contracts.tokens import TokenGeneration, Tokens, TokensEnded
from fairlead.testing.token_engine_suite import GREEDY, Heard, asked, begin, whole
from stories import Stories, stories


@pytest.fixture
def model() -> Stories:
    return stories()


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the converted model is kept, for all tests."""
    return tmp_path_factory.mktemp("engines")


@asynccontextmanager
async def started(model: Stories, engines: Path, **options: Any) -> AsyncIterator[EmbeddedTokens]:
    engine = EmbeddedTokens(model.options(engines, **{"cache_gb": 1, "parallel": 32, **options}))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def again(engine: EmbeddedTokens) -> None:
    """Wait until it answers after it was lost."""
    async with asyncio.timeout(30):
        while engine.troubles() or not engine.pid:
            await asyncio.sleep(0.05)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def there(child: int) -> bool:
    return Path(f"/proc/{child}").exists()


def grammar(what: TokenGeneration, ends: tuple[int, ...] = (), **kinds: Any) -> TokenGeneration:
    return replace(what, grammar=kinds, ends=ends)


class TestWhatItSays:
    async def test_is_the_published_story_alone_and_among_sixteen_others(self, model: Stories, engines: Path) -> None:
        async with started(model, engines) as engine:
            alone = await whole(engine, asked(model.begin, 200))
            assert alone.ids == model.greedy
            others = [
                begin(engine, asked((1, 300 + place, 20 + place), 180, Sampling(seed=place))) for place in range(16)
            ]
            among = await whole(engine, asked(model.begin, 200))
            assert among.ids == model.greedy
            for other in others:
                await other.end()
                assert len(other.ids) == 180

    @pytest.mark.parametrize("options", [{"prompt_lookup": True}, {"draft": True}], ids=["lookup", "draft"])
    async def test_is_the_same_when_it_guesses_ahead(
        self, model: Stories, engines: Path, options: dict[str, Any]
    ) -> None:
        if options.pop("draft", False):
            options["draft_model"] = str(model.folder)
        async with started(model, engines, **options) as engine:
            heard = await whole(engine, asked(model.begin, 200))
            assert heard.ids == model.greedy
            told = [len(event.ids) for event in heard.events if isinstance(event, Tokens)]
            assert len(told) < 200
            place = model.greedy.index(model.greedy[20])
            stopped = await whole(engine, asked(model.begin, 200, ends=(model.greedy[20],)))
            assert stopped.ids == model.greedy[:place]
            gone = begin(engine, asked(model.begin, 400))
            beside = begin(engine, asked(model.begin, 100))
            await asyncio.sleep(0.05)
            assert gone.running is not None
            gone.running.cancel()
            assert (await beside.end()).ids == model.greedy[:100]
            assert engine.load().running == 0

    async def test_a_prompt_that_was_read_before_is_not_read_again(self, model: Stories, engines: Path) -> None:
        async with started(model, engines) as engine:
            prompt = (1, *model.greedy[:150])
            first, second = [await whole(engine, asked(prompt, 50)) for _ in range(2)]
            longer = await whole(engine, asked((*prompt, *model.greedy[150:190]), 5))
            assert first.ids == second.ids == model.greedy[150:]
            assert [one.last.usage.cached for one in (first, second, longer)] == [0, 128, 160 + 0]  # type: ignore[union-attr]

    async def test_is_held_to_a_grammar(self, model: Stories, engines: Path) -> None:
        words = json.loads((model.folder / "tokenizer.json").read_text())["model"]["vocab"]
        texts = {number: word.replace("\u2581", " ") for word, number in words.items()}
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
        ends = (model.end,)
        async with started(model, engines) as engine:
            assert engine.traits.schemas
            digits = await whole(engine, grammar(asked(model.begin, 20), ends, regex="[0-9]{3}"))
            assert isinstance(digits.last, TokensEnded)
            assert digits.last.stopped
            text = "".join(
                chr(int(texts[one][3:5], 16)) if texts[one].startswith("<0x") else texts[one] for one in digits.ids
            )
            assert text.isdigit()
            assert len(text) == 3
            either = await whole(engine, grammar(asked(model.begin, 9), ends, grammar='root ::= "yes" | "no"'))
            assert "".join(texts[one] for one in either.ids) in ("yes", "no")
            likely = Sampling(temperature=0.0, logprobs=0)
            sure = await whole(engine, grammar(asked(model.begin, 9, likely), ends, regex="[0-9]{3}"))
            assert sure.ids == digits.ids
            structured = await whole(engine, grammar(asked(model.begin, 300), ends, json_schema=schema))
            if isinstance(structured.last, TokensEnded) and structured.last.stopped:
                assert structured.ids

    async def test_a_grammar_that_does_not_compile_hurts_nobody_else(self, model: Stories, engines: Path) -> None:
        async with started(model, engines) as engine:
            beside = begin(engine, asked(model.begin, 200))
            bad = [
                {"json_schema": '{"type": "objec'},
                {"json_schema": {"type": "nothing"}},
                {"regex": "(abc"},
                {"grammar": "root ::= x"},
                {"grammar": "x" * 300_000},
                {"lark": "x"},
                {"regex": "a", "grammar": "b"},
            ]
            refused = [await whole(engine, grammar(asked(model.begin), (model.end,), **one)) for one in bad]
            assert all(isinstance(one.last, InvalidParameter) for one in refused), [one.last for one in refused]
            assert not any("/home" in str(one.last) or ".cc" in str(one.last) for one in refused)
            assert (await beside.end()).ids == model.greedy

    async def test_what_sampling_cannot_be_is_refused_and_hurts_nobody_else(
        self, model: Stories, engines: Path
    ) -> None:
        async with started(model, engines) as engine:
            beside = begin(engine, asked(model.begin, 200))
            bad = [Sampling(presence_penalty=3.0), Sampling(top_p=0.0), Sampling(repetition_penalty=0.0)]
            bad += [Sampling(min_p=1.5), Sampling(logprobs=5)]
            for sampling in bad:
                heard = await whole(engine, asked(model.begin, sampling=sampling))
                assert isinstance(heard.last, InvalidParameter), (sampling, heard.last)
            wild = [Sampling(top_k=10**9, seed=1), Sampling(top_k=-3, seed=2**70), Sampling(temperature=1e9, min_p=0.5)]
            for sampling in wild:
                heard = await whole(engine, asked(model.begin, 20, sampling))
                assert len(heard.ids) == 20, (sampling, heard.last)
            far = replace(asked(model.begin, 20, Sampling(temperature=0.0, least=10)), ends=(10**6, model.end))
            assert (await whole(engine, far)).ids == model.greedy[:20]
            cold = await whole(engine, asked(model.begin, 20, Sampling(temperature=1e-30)))
            assert cold.ids == model.greedy[:20]
            assert (await beside.end()).ids == model.greedy


def lora(folder: Path, name: str, seed: int) -> Path:
    """An adapter of four ranks for the queries of all layers, in the layout of PEFT."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for layer in range(5):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{stem}.lora_A.weight"] = draw.normal(size=(4, 64)).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = draw.normal(size=(64, 4)).astype(np.float32)
    header, data = {}, b""
    for key, array in tensors.items():
        header[key] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    place = folder / name
    place.mkdir()
    text = json.dumps(header).encode()
    (place / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return place


class TestAdapters:
    async def test_each_caller_gets_theirs(self, model: Stories, engines: Path, tmp_path: Path) -> None:
        places = {name: str(lora(tmp_path, name, seed)) for name, seed in (("red", 1), ("blue", 2))}
        async with started(model, engines, adapters=places) as engine:

            def of(adapter: str, most: int = 40) -> TokenGeneration:
                return replace(asked(model.begin, most), adapter=adapter)

            plain = (await whole(engine, of(""))).ids
            assert plain == model.greedy[:40]
            red, blue = [(await whole(engine, of(name))).ids for name in ("red", "blue")]
            assert len({tuple(plain), tuple(red), tuple(blue)}) == 3
            mixed = [begin(engine, of(name)) for name in ("red", "", "blue", "red", "", "blue", "blue", "")]
            wanted = [red, plain, blue, red, plain, blue, blue, plain]
            assert [(await one.end()).ids for one in mixed] == wanted
            unknown = await whole(engine, of("green"))
            assert isinstance(unknown.last, InvalidParameter)
            assert "blue, red" in str(unknown.last)


class TestItsProcess:
    async def test_killed_under_32_requests_each_is_told_once(self, model: Stories, engines: Path) -> None:
        async with started(model, engines, parallel=16) as engine:
            many = [begin(engine, asked(model.begin, 400)) for _ in range(32)]
            while sum(bool(one.ids) for one in many) < 16:
                await asyncio.sleep(0.005)
            first = engine.pid
            os.kill(first, signal.SIGKILL)
            for one in many:
                await one.end()
            assert all(isinstance(one.last, EngineLost) and one.last.retry_after for one in many)
            assert all(sum(isinstance(event, FairleadError) for event in one.events) == 1 for one in many)
            meanwhile = await whole(engine, asked(model.begin))
            assert type(meanwhile.last) is Unavailable
            assert meanwhile.last.retry_after
            assert engine.troubles()
            assert engine.load().waiting + engine.load().running == 0
            told = [len(one.events) for one in many]
            await again(engine)
            assert (await whole(engine, asked(model.begin, 200))).ids == model.greedy
            assert [len(one.events) for one in many] == told
            assert engine.pid != first

    async def test_one_that_hangs_is_replaced(self, model: Stories, engines: Path) -> None:
        async with started(model, engines, hang_seconds=0.5) as engine:
            heard = begin(engine, asked(model.begin, 400))
            await asyncio.sleep(0.01)
            os.kill(engine.pid, signal.SIGSTOP)
            began = time.monotonic()
            await heard.end()
            assert isinstance(heard.last, EngineLost)
            assert time.monotonic() - began < 5
            await again(engine)
            assert (await whole(engine, asked(model.begin, 200))).ids == model.greedy

    async def test_one_that_is_cancelled_is_not_written_any_further(self, model: Stories, engines: Path) -> None:
        async with started(model, engines) as engine:
            steps: list[Stepped] = []
            through = engine.stepped

            def spy(step: Stepped) -> None:
                steps.append(step)
                through(step)

            engine.stepped = spy  # type: ignore[method-assign]
            heard = Heard()
            heard.running = engine.generate(asked(model.begin, 450), heard.tell)
            while len(heard.ids) < 5:
                await asyncio.sleep(0.001)
            heard.running.cancel()
            count = -1
            while count != len(steps):  # those on their way come; then there are no more
                count = len(steps)
                await asyncio.sleep(0.2)
            assert sum(len(made.ids) for step in steps for made in step.made) < 300

    @pytest.mark.parametrize("busy", [False, True])
    def test_it_does_not_outlive_its_server(self, model: Stories, engines: Path, busy: bool) -> None:
        code = f"""
import asyncio, os
from fairlead.adapters.engines.openvino.engine import EmbeddedTokens
from fairlead.contracts.engine import EngineOptions
from fairlead.testing.token_engine_suite import asked, begin
async def main():
    options = {{"cache_gb": 1}}
    told = EngineOptions("s", {str(model.folder)!r}, folder={str(engines)!r}, options=options, precision="f16")
    engine = EmbeddedTokens(told)
    await engine.start()
    print(engine.pid, flush=True)
    while True:
        one = begin(engine, asked((1,), 400))
        await (one.end() if {busy} else asyncio.sleep(60))
asyncio.run(main())
"""
        server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert server.stdout is not None
        child = int(server.stdout.readline())
        time.sleep(0.2)
        server.kill()
        server.wait()
        server.stdout.close()
        end = time.monotonic() + 5
        while there(child) and time.monotonic() < end:
            time.sleep(0.02)
        assert not there(child)

    async def test_more_than_may_wait_are_refused(self, model: Stories, engines: Path) -> None:
        async with started(model, engines, parallel=2, queue=3) as engine:
            many = [begin(engine, asked(model.begin, 20)) for _ in range(9)]
            refused = [one for one in many if one.ended.is_set()]
            assert len(refused) == 4
            assert all(isinstance(one.last, QueueFull) for one in refused)
            for one in many:
                await one.end()
            assert sum(one.ids == model.greedy[:20] for one in many) == 5

    async def test_what_cannot_be_loaded_says_why(self, model: Stories, engines: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut"
        cut.mkdir()
        (cut / "openvino_model.xml").write_text("<net/>")
        (cut / "openvino_model.bin").write_bytes(b"x")
        options = model.options(engines, cache_gb=1)
        for place, kind, adapters in (
            (str(tmp_path / "nothing"), SourceNotFound, {}),
            (str(cut), BrokenModel, {}),
            (options.model, SourceNotFound, {"adapters": {"red": str(tmp_path / "red")}}),
            (str(model.folder.parent / "stories260K-f32.gguf"), BrokenModel, {}),
        ):
            engine = EmbeddedTokens(replace(options, model=place, options={**options.options, **adapters}))
            with pytest.raises(kind, match="engine: llama-server" if place.endswith(".gguf") else None):
                await engine.start()
            heard = begin(engine, asked(model.begin))
            assert isinstance(heard.last, Unavailable)
            await engine.stop()

    async def test_one_that_takes_too_long_to_load_is_given_up(self, model: Stories, engines: Path) -> None:
        engine = EmbeddedTokens(model.options(engines, cache_gb=1, load_seconds=0.1))
        with pytest.raises(Unavailable, match="load_seconds"):
            await engine.start()
        await engine.stop()

    async def test_starting_and_stopping_leaves_nothing_open(self, model: Stories, engines: Path) -> None:
        async with started(model, engines):
            pass
        before = descriptors()
        for _ in range(2):
            async with started(model, engines) as engine:
                child = engine.pid
                begin(engine, asked(model.begin, 400))
            assert not there(child)
        assert descriptors() <= before


def test_greedy_is_what_the_suite_asks_for() -> None:
    assert GREEDY.temperature == 0.0
    assert EngineOptions("x", "y").precision == ""
