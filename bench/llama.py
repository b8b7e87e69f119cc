"""The embedded engine through the API, the pipeline that it drives, and llama-server, on one model in one run.

usage: python -m bench.llama [--peers DIR] [--precisions int8,int4] [--streams 1,4,16] [--rounds 2] [--prompt 64]
       [--tokens 64] [--model half|small|tiny]
A model of random numbers; greedy, no end. Every server has both cores, and only one is at work. Tokens a second: all
that were made over the time from the first question to the last token. DIR holds a virtual environment ``llamacpp``
with `xllamacpp` (llama.cpp's server) and `gguf`, which gets the same numbers as Q8_0 beside int8 and Q4_0 beside int4.
For one stream also the share of the roofline: bytes of the weights over the bandwidth of memory, over the time a token.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import random_llm, rig
from bench.engine import Direct, middle, prompts
from bench.rig import Entry
from fairlead.adapters.engines.openvino.convert.prepared import prepare

KINDS = {"int8": "Q8_0", "int4": "Q4_0"}
PIPELINE, OURS, LLAMA = "pipeline", "fairlead, HTTP", "llama-server, HTTP"
BARS = {PIPELINE: 0.92, LLAMA: 1.5}
"""Ours over theirs, at 16 streams and, for the second, at 4."""
ROOF = 0.30


@dataclass(frozen=True)
class Seen:
    """``rate``: tokens a second of all streams.  ``each``: seconds between tokens of the first stream."""

    rate: float
    each: float


async def one(port: int, key: str, body: dict[str, object]) -> tuple[int, float, float]:
    """Tokens, and when the first and the last came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    )
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(sent) + sent)
    said, first, last = bytearray(), 0.0, 0.0
    while b"data: [DONE]" not in said[-200:]:
        data = await reader.read(65536)
        if not data:
            raise SystemExit(f"the answer ended early: {bytes(said[-500:])!r}")
        last = time.perf_counter()
        if b"data:" in data and not first:
            first = last
        said += data
    writer.close()
    used = said.rpartition(b'"completion_tokens":')[2]
    return int(used[:12].split(b",")[0].split(b"}")[0]), first, last


async def asked(port: int, key: str, bodies: Sequence[dict[str, object]], tokens: int) -> Seen:
    began = time.perf_counter()
    found = await asyncio.gather(*(one(port, key, body) for body in bodies))
    if any(count != tokens for count, _, _ in found):
        raise SystemExit(f"asked for {tokens} tokens, got {[count for count, _, _ in found]}")
    over = max(last for _, _, last in found)
    _, first, last = found[0]
    return Seen(len(bodies) * tokens / (over - began), (last - first) / (tokens - 1))


class Http:
    """A server of OpenAI's API; ``words``: whether it reads texts, where the other reads ids."""

    def __init__(self, port: int, name: str, key: str, words: bool) -> None:
        self._port, self._name, self._key, self._words = port, name, key, words

    def run(self, ids: Sequence[Sequence[int]], tokens: int) -> Seen:
        return asyncio.run(asked(self._port, self._key, [self._body(each, tokens) for each in ids], tokens))

    def _body(self, ids: Sequence[int], tokens: int) -> dict[str, object]:
        prompt = " ".join(f"w{one}" for one in ids) if self._words else list(ids)
        options: dict[str, object] = {"include_usage": True}
        return {
            "model": self._name, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
            "stream": True, "stream_options": options,
        }  # fmt: skip


class Pipeline:
    def __init__(self, folder: Path) -> None:
        self._direct = Direct(folder)

    def run(self, ids: Sequence[Sequence[int]], tokens: int) -> Seen:
        """The time a token is that of all of one stream, its prompt within."""
        rate = self._direct.run(ids, tokens)
        return Seen(rate, len(ids) / rate)

    def close(self) -> None:
        self._direct.close()


def bandwidth(megabytes: int = 512, seconds: float = 2.0) -> float:
    """Bytes a second that all cores read at once, the best of many reads: `memchr` for what is not there."""
    library = ctypes.CDLL(None)
    library.memchr.argtypes, library.memchr.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    cores = len(os.sched_getaffinity(0))
    size = megabytes << 20
    parts = [ctypes.create_string_buffer(b"\x01" * size, size) for _ in range(cores)]
    over, best = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < over:
        threads = [threading.Thread(target=library.memchr, args=(part, 0, size)) for part in parts]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, cores * size / (time.perf_counter() - began))
    return best


@contextmanager
def fairlead(model: Path, home: Path, precision: str) -> Iterator[Http]:
    words = ["-m", "fairlead", "serve", f"half={model}", "--precision", precision, "--home", str(home)]
    entry = Entry([sys.executable, *words, "--log-level", "warning", "--port"])
    with rig.running(entry, rig.readyz, 300, pin=False) as (port, _, _):
        yield Http(port, "half", "", words=True)


@contextmanager
def llama(python: Path, file: Path) -> Iterator[Http]:
    context = str(64 * 1024)
    words = [str(rig.ROOT / "tests" / "llama_server.py"), "-m", str(file), "--host", "127.0.0.1", "--alias", "half"]
    words += ["-np", "16", "-c", context, "-t", str(len(os.sched_getaffinity(0))), "--port"]
    entry = Entry([str(python), *words], {"LLAMA_API_KEY": "bench", "OMP_NUM_THREADS": "2"})
    with rig.running(entry, rig.answers(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"), 120, pin=False) as (port, _, _):
        yield Http(port, "half", "bench", words=False)


def gguf(python: Path, model: Path, kind: str) -> Path:
    """The same numbers, for llama.cpp."""
    file = model.parent / f"{kind}.gguf"
    words = [str(python), "-m", "bench.servers.gguf_of", str(model), str(file), kind]
    subprocess.run(words, cwd=rig.ROOT, check=True)
    return file


Rounds = dict[int, list[Seen]]


def loaded(server: Http | Pipeline, options: argparse.Namespace, vocabulary: int) -> Rounds:
    found: Rounds = {}
    for count in options.counts:
        for turn in range(options.rounds + 1):
            ids = prompts(vocabulary, count, options.prompt, 1000 * count + turn)
            seen = server.run(ids, options.tokens)
            if turn:  # the first is to warm up
                found.setdefault(count, []).append(seen)
    return found


def measured(options: argparse.Namespace, home: Path, precision: str) -> dict[str, Rounds]:
    model = home / options.model
    vocabulary = random_llm.SHAPES[options.model]["words"]
    found: dict[str, Rounds] = {}
    python = options.peers / "llamacpp" / "bin" / "python" if options.peers else None
    if python is not None and python.exists() and precision in KINDS:
        with llama(python, gguf(python, model, KINDS[precision])) as server:
            found[LLAMA] = loaded(server, options, vocabulary)
    with fairlead(model, home, precision) as server:
        found[OURS] = loaded(server, options, vocabulary)
    pipeline = Pipeline(prepare(model, home, precision))
    try:
        found[PIPELINE] = loaded(pipeline, options, vocabulary)
    finally:
        pipeline.close()
    return found


def table(found: dict[str, dict[str, Rounds]]) -> str:
    rows = []
    for precision, servers in found.items():
        for name, counts in servers.items():
            for count, seen in counts.items():
                mine = [one.rate for one in servers[OURS][count]]
                ratio = [one / other.rate for one, other in zip(mine, seen, strict=True)] if name != OURS else []
                row = [precision, name, str(count), middle([one.rate for one in seen])]
                each = [1e3 * one.each for one in seen]
                rows.append([*row, middle(each) if count == 1 else "", middle(ratio, ".2f") if ratio else ""])
    return rig.markdown(["", "server", "streams", "tokens/s", "ms a token", "ours over it"], rows)


def median(seen: Sequence[Seen]) -> float:
    return statistics.median(one.rate for one in seen)


def held(found: dict[str, dict[str, Rounds]]) -> bool:
    """Whether each bar is, as far as it was measured."""
    good = True
    for servers in found.values():
        for name, bar in BARS.items():
            for count in (16,) if name == PIPELINE else (4, 16):
                theirs, mine = servers.get(name, {}).get(count), servers[OURS].get(count)
                good &= not theirs or not mine or median(mine) >= bar * median(theirs)
    return good


def roofs(home: Path, model: Path, found: dict[str, dict[str, Rounds]], speed: float) -> str:
    """Of one stream: what the weights alone would take, over what a token took."""
    rows = []
    for precision, servers in found.items():
        for name, counts in servers.items():
            if 1 not in counts or name == PIPELINE:
                continue
            file = (
                home / f"{KINDS[precision]}.gguf"
                if name == LLAMA
                else prepare(model, home, precision) / "openvino_model.bin"
            )
            size = file.stat().st_size
            shares = [size / speed / one.each for one in counts[1]]
            rows.append([precision, name, f"{size / 1e6:,.0f}", f"{1e3 * size / speed:.1f}", middle(shares, ".2f")])
    return rig.markdown([f"one stream; memory {speed / 1e9:.1f} GB/s", "server", "MB", "roofline ms", "share"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.llama")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--model", default="half", choices=sorted(random_llm.SHAPES))
    parser.add_argument("--precisions", default="int8,int4")
    parser.add_argument("--streams", default="1,4,16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    options.counts = [int(part) for part in options.streams.split(",")]
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as scratch:
        home = Path(scratch)
        model = random_llm.make(home / options.model, options.model)
        random_llm.add_words(model)
        speed = bandwidth()
        found = {precision: measured(options, home, precision) for precision in options.precisions.split(",")}
        print(table(found), end="\n\n")
        print(roofs(home, model, found, max(speed, bandwidth())))
    told = {one: {name: {count: [(s.rate, s.each) for s in seen] for count, seen in counts.items()}
                  for name, counts in servers.items()} for one, servers in found.items()}  # fmt: skip
    rig.save("llama", {"bandwidth": speed, "runs": told})
    return int(not held(found))


if __name__ == "__main__":
    sys.exit(main())
