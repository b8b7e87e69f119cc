"""OpenAI's API over an engine that says what it was asked: requests and streamed chunks a second on one core.

usage: python -m bench.gateway [--peers DIR] [--rounds 3] [--seconds 4] [--connections 1,16] [--words 200]
A key with a rate, limits of tokens and requests, a price and a budget are on. Server on one core, load on the other,
servers in interleaved rounds; every answer is checked.
DIR holds a virtual environment ``litellm`` with LiteLLM's proxy, whose model answers by itself (``mock_response``), so
it asks nobody: it gets the same requests and answers. Whole answers have eight words, streams ``--words``, one event
a word. Exit code 1 under 3,000 requests or 20,000 chunks a second of ours, at the most connections.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import rig
from bench.load import post
from bench.rig import Entry

REQUESTS, CHUNKS = 3_000, 20_000
OURS, LITELLM = "fairlead", "LiteLLM proxy"
MASTER = "sk-bench"
SPEC = """\
access: {required: true}
record: false
prices: [{model: echo, input: 0.15, output: 0.6}]
budgets: [{amount: 1000000 USD, per: month}]
endpoints:
  echo:
    llm: {engine: echo, options: {context: 100000}}
    limits: {tokens_per_minute: 100000000k, requests_per_minute: 10000000}
"""
SHORT = "the quick brown fox jumps over the dog"
Found = dict[str, Any]


def ours(folder: Path) -> tuple[Entry, str]:
    """The server, and a key for it."""
    home = folder / "home"
    words = ["keys", "create", "--name", "bench", "--scope", "echo:generate", "--rate", "1000000/s"]
    command = [sys.executable, "-m", "fairlead", *words, "--home", str(home), "--json"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    spec = folder / "gateway.yaml"
    spec.write_text(SPEC)
    return Entry([sys.executable, "-m", "bench.servers.gateway", str(spec), str(home)]), json.loads(made.stdout)["key"]


def litellm(peers: Path, folder: Path, answers: dict[str, str]) -> Entry | None:
    program = peers / "litellm" / "bin" / "litellm"
    if not program.exists():
        return None
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/none", "api_key": "none", "mock_response": text}}
        for name, text in answers.items()
    ]
    config = folder / "litellm.json"  # which is YAML too
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": MASTER}}))
    return Entry([str(program), "--config", str(config), "--port"], {"LITELLM_LOG": "ERROR", "NO_DOCS": "true"})


def request(model: str, text: str, key: str, stream: bool) -> bytes:
    body: Found = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        body["stream"] = True
    return post("/v1/chat/completions", json.dumps(body).encode(), b"authorization: Bearer " + key.encode())


def once(
    port: int, pid: int, connections: int, folder: Path, sent: bytes, answer: str, seconds: float, stream: bool
) -> Found:
    (folder / "request").write_bytes(sent)
    (folder / "answer").write_text(answer)
    command = [sys.executable, "-m", "bench.talkers", str(port), str(connections)]
    command += [str(folder / "request"), str(folder / "answer"), "--seconds", str(seconds), *(["--stream"] * stream)]
    before = rig.cpu_seconds(pid)
    done = subprocess.run(rig.pinned(command, rig.LOAD_CORE), capture_output=True, text=True, check=False, cwd=rig.ROOT)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr[-2000:]}")
    found: Found = json.loads(done.stdout)
    found["cpu_us"] = 1e6 * (rig.cpu_seconds(pid) - before) / found["sent"]
    return found


def middle(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def table(runs: dict[str, dict[str, list[Found]]]) -> str:
    rows = []
    for name, loads in runs.items():
        for load, found in loads.items():
            what = "chunks_per_second" if load.startswith("stream") else "requests_per_second"
            rates = [one[what] for one in found]
            row = [name, load, middle(rates, ",.0f"), *(middle([one[key] for one in found], ".2f") for key in MS)]
            base = runs.get(LITELLM, {}).get(load)
            row.append(middle([one["cpu_us"] for one in found], ",.0f"))
            ratios = [] if base is None else [rate / one[what] for rate, one in zip(rates, base, strict=True)]
            rows.append([*row, middle(ratios, ".1f") if ratios and name == OURS else ""])
    return rig.markdown(
        ["server", "load", "requests or chunks/s", "p50 ms", "p99 ms", "first p50 ms", "CPU us a request", "times"],
        rows,
    )


MS = ("p50_ms", "p99_ms", "first_p50_ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.gateway")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", default="1,16")
    parser.add_argument("--words", type=int, default=200)
    options = parser.parse_args()
    counts = [int(part) for part in options.connections.split(",")]
    long = " ".join(f"word{at}" for at in range(options.words))
    runs: dict[str, dict[str, list[Found]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        entry, key = ours(folder)
        servers = {OURS: (entry, {"short": "echo", "long": "echo"}, key)}
        peer = options.peers and litellm(options.peers.resolve(), folder, {"short": SHORT, "long": long})
        if peer:
            servers[LITELLM] = (peer, {"short": "short", "long": "long"}, MASTER)
        for number in range(options.rounds):
            for name in list(servers)[:: 1 if number % 2 else -1]:
                made, models, shown = servers[name]
                kinds = ((False, "short", SHORT), (True, "long", long))
                asked = {kind: request(models[which], text, shown, kind) for kind, which, text in kinds}
                ready = rig.readyz if name == OURS else rig.answers(asked[False])
                with rig.running(made, ready, 120) as (port, pid, _):
                    for stream, _, text in kinds:
                        for count in counts:
                            load = f"{'stream' if stream else 'whole'}, {count} connections"
                            found = once(port, pid, count, folder, asked[stream], text, options.seconds, stream)
                            runs.setdefault(name, {}).setdefault(load, []).append(found)
                            print(f"gateway round {number + 1} {name} {load}: {json.dumps(found)}", file=sys.stderr)
    rig.save("gateway", runs)
    print(table(runs))
    most = max(counts)
    whole, streamed = (runs[OURS][f"{kind}, {most} connections"] for kind in ("whole", "stream"))
    slow = statistics.median(one["requests_per_second"] for one in whole) < REQUESTS
    return int(slow or statistics.median(one["chunks_per_second"] for one in streamed) < CHUNKS)


if __name__ == "__main__":
    sys.exit(main())
