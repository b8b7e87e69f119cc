"""The embedded engine against the pipeline that it drives, in one run; a prefix that is kept; the server's event loop.

usage: python -m bench.engine [--model half|small|tiny|FOLDER] [--precision int8] [--streams 16] [--rounds 3]
       [--prompt 128] [--tokens 64] [--only rate,prefix,stall]
rate: all output tokens of so many streams over the time from the first question to the last token, ours (an engine in
its own process, asked from an event loop) and openvino-genai's pipeline driven by a loop of ``step()`` in one process,
in turns; the ratio of each pair (bar 0.92, goal 0.97). prefix: time to the first token after 1,000 tokens that all
share and 32 others, cold and kept (bar 0.08, goal 0.05). stall: the longest gap of a ticker of 1 ms in the loop that
asks, while 16 streams run and without any (bar 10 ms, goal 3 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

from bench import random_llm, rig
from fairlead.adapters.engines.openvino.convert.prepared import prepare
from fairlead.adapters.engines.openvino.engine import EmbeddedTokens
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.generation import Sampling
from fairlead.contracts.tokens import TokenGeneration, Tokens
from fairlead.testing.token_engine_suite import begin

PARTS = ("rate", "prefix", "stall")
GREEDY = Sampling(temperature=0.0, ignore_end=True)
Prompts = Sequence[Sequence[int]]


def prompts(words: int, streams: int, length: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(2, words) for _ in range(length)] for _ in range(streams)]


# The pipeline alone, in a process of its own: a line with prompts in, a line with seconds out.


def direct(folder: str) -> None:
    settings = genai.SchedulerConfig()
    settings.max_num_batched_tokens, settings.dynamic_split_fuse = 256, True
    settings.max_num_seqs, settings.cache_size, settings.enable_prefix_caching = 64, 2, True
    pipeline = genai.ContinuousBatchingPipeline(folder, settings, "CPU", {"KV_CACHE_PRECISION": "u8"})
    number = 0
    for line in sys.stdin:
        asked = json.loads(line)
        config = genai.GenerationConfig(max_new_tokens=asked["tokens"], ignore_eos=True)
        began, handles = time.perf_counter(), []
        for ids in asked["prompts"]:
            number += 1
            handles.append(pipeline.add_request(number, openvino.Tensor(np.array([ids], np.int64)), config))
        made = 0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle in handles:
                while handle.can_read():
                    made += sum(len(one.generated_ids) for one in handle.read().values())
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": made}), flush=True)


class Direct:
    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "bench.engine", "--direct", str(folder)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, asked: Prompts, tokens: int) -> float:
        """Tokens a second."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: PT018
        self._process.stdin.write(json.dumps({"prompts": asked, "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        assert found["tokens"] == len(asked) * tokens, found
        return float(found["tokens"] / found["seconds"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


async def ours(engine: EmbeddedTokens, asked: Prompts, tokens: int) -> float:
    """Tokens a second."""
    began = time.perf_counter()
    many = [begin(engine, TokenGeneration("x", ids, tokens, GREEDY)) for ids in asked]
    for one in many:
        await one.end()
    seconds = time.perf_counter() - began
    assert sum(len(one.ids) for one in many) == len(asked) * tokens, [one.last for one in many]
    return len(asked) * tokens / seconds


async def first_token(engine: EmbeddedTokens, ids: Sequence[int]) -> float:
    """Seconds until it came."""
    began, came = time.perf_counter(), [0.0]

    def at(event: object) -> None:
        if isinstance(event, Tokens) and not came[0]:
            came[0] = time.perf_counter() - began

    await begin(engine, TokenGeneration("x", ids, 1, GREEDY), at).end()
    return came[0]


class Ticker:
    """Gaps between turns of an event loop that asks to be woken every millisecond."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._last = time.perf_counter()
        self._timer = self._loop.call_later(0.001, self._tick)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last - 0.001)
        self._last = now
        self._timer = self._loop.call_later(0.001, self._tick)

    def stop(self) -> dict[str, float]:
        self._timer.cancel()
        gaps = sorted(self.gaps)
        return {"longest_ms": 1e3 * gaps[-1], "p99_ms": 1e3 * gaps[int(len(gaps) * 0.99)], "ticks": len(gaps)}


def engine_of(model: Path, home: Path, precision: str, **options: Any) -> EmbeddedTokens:
    return EmbeddedTokens(
        EngineOptions("bench", str(model), folder=str(home), options={"cache_gb": 2, **options}, precision=precision)
    )


def spent(name: str, engine: EmbeddedTokens, other: Direct) -> float:
    """Seconds of CPU so far: of the pipeline's process, or of the engine's and this one."""
    if name == "direct":
        return rig.cpu_seconds(other.pid)
    return rig.cpu_seconds(engine.pid) + time.process_time()


async def rates(options: argparse.Namespace, model: Path, home: Path, words: int) -> dict[str, list[float]]:
    """Tokens a second, and milliseconds of CPU a token: the steadier figure on a machine that does other things too."""
    found: dict[str, list[float]] = {"direct": [], "ours": [], "direct, CPU": [], "ours, CPU": []}
    engine = engine_of(model, home, options.precision, niceness=0)  # no advantage for either
    await engine.start()
    other = Direct(prepare(model, home, options.precision))
    try:
        for turn in range(options.rounds + 1):
            asked = [prompts(words, options.streams, options.prompt, 2 * turn + one) for one in range(2)]
            order = ("direct", "ours") if turn % 2 else ("ours", "direct")
            for name, ids in zip(order, asked, strict=True):
                loop = asyncio.get_running_loop()
                used = spent(name, engine, other)
                if name == "ours":
                    rate = await ours(engine, ids, options.tokens)
                else:
                    rate = await loop.run_in_executor(None, other.run, ids, options.tokens)
                if turn:  # the first is to warm up
                    found[name].append(rate)
                    each = 1e3 * (spent(name, engine, other) - used) / (options.streams * options.tokens)
                    found[f"{name}, CPU"].append(each)
                    print(f"{name}: {rate:.1f} tokens/s, {each:.2f} ms of CPU a token", file=sys.stderr)
    finally:
        other.close()
        await engine.stop()
    return found


async def prefixes(options: argparse.Namespace, model: Path, home: Path, words: int) -> dict[str, list[float]]:
    engine = engine_of(model, home, options.precision)
    await engine.start()
    found: dict[str, list[float]] = {"cold": [], "kept": []}
    try:
        for turn in range(options.rounds):
            shared = prompts(words, 1, 1000, 1000 + turn)[0]
            for name, count in (("cold", 1), ("kept", 3)):
                for more in prompts(words, count, 32, hash((turn, name)) % 9999):
                    found[name].append(1e3 * await first_token(engine, [*shared, *more]))
    finally:
        await engine.stop()
    return found


async def stalls(options: argparse.Namespace, model: Path, home: Path, words: int) -> dict[str, dict[str, float]]:
    ticker = Ticker()
    await asyncio.sleep(3)
    found = {"idle": ticker.stop()}
    for niceness in (5, 0):
        engine = engine_of(model, home, options.precision, niceness=niceness)
        await engine.start()
        await ours(engine, prompts(words, 2, 16, 1), 4)
        ticker = Ticker()
        await ours(engine, prompts(words, options.streams, options.prompt, 77), options.tokens)
        found[f"{options.streams} streams, niceness {niceness}"] = ticker.stop()
        await engine.stop()
    return found


def middle(values: Sequence[float], form: str = ".1f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def rate_table(found: dict[str, list[float]], streams: int) -> str:
    def ratio(kind: str) -> str:
        pairs = zip(found[f"ours{kind}"], found[f"direct{kind}"], strict=True)
        return middle([one / other for one, other in pairs], ".3f")

    rows = [[name, middle(found[name]), middle(found[f"{name}, CPU"], ".2f")] for name in ("direct", "ours")]
    return rig.markdown(
        [f"{streams} streams", "tokens/s", "ms of CPU a token"], [*rows, ["ratio", ratio(""), ratio(", CPU")]]
    )


async def run(options: argparse.Namespace, home: Path) -> None:
    named = options.model in random_llm.SHAPES
    model = random_llm.make(home / options.model, options.model) if named else Path(options.model)
    words = int(json.loads((model / "config.json").read_text())["vocab_size"])
    parts = options.only.split(",")
    found: dict[str, Any] = {"model": options.model, "precision": options.precision, "load": os.getloadavg()[0]}
    if "rate" in parts:
        found["rate"] = rate = await rates(options, model, home, words)
        print(rate_table(rate, options.streams), end="\n\n")
    if "prefix" in parts:
        found["prefix"] = first = await prefixes(options, model, home, words)
        share = statistics.median(first["kept"]) / statistics.median(first["cold"])
        rows = [[name, middle(values)] for name, values in first.items()]
        print(rig.markdown(["1,000 tokens shared", "first token, ms"], [*rows, ["ratio", f"{share:.3f}"]]), end="\n\n")
    if "stall" in parts:
        found["stall"] = gaps = await stalls(options, model, home, words)
        rows = [[name, *(f"{one[key]:.2f}" for key in ("longest_ms", "p99_ms"))] for name, one in gaps.items()]
        print(rig.markdown(["event loop", "longest gap ms", "p99 ms"], rows))
    rig.save("engine", found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.engine")
    parser.add_argument("--model", default="half")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--direct", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.direct:
        direct(options.direct)
        return
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as scratch:
        asyncio.run(run(options, Path(scratch)))


if __name__ == "__main__":
    main()
