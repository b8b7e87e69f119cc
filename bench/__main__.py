"""W1 beside the floor and plain FastAPI, in one run: server on one core, load on another, every answer checked.

usage: python -m bench [--seconds 4] [--rounds 3] [--connections 1,16,64]
The rounds are interleaved (floor, FastAPI, Fairlead, floor, ...), so a drift of the machine hurts all alike; what
counts is the ratio within a round, with its spread.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import w1

RESULTS = Path(__file__).parent / "results"


def servers(model: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name to command (the port comes last) and environment."""
    uvicorn = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--http", "httptools"]
    uvicorn += ["--loop", "uvloop", "--port"]
    found = {
        "floor": ([*uvicorn[:3], "bench.servers.floor:app", *uvicorn[3:]], {}),
        "fairlead": ([sys.executable, "-m", "fairlead", "serve", f"w1={model}", "--threads", "1", "--port"], {}),
    }
    try:
        import fastapi  # noqa: F401, PLC0415 - only to see whether it is there
    except ModuleNotFoundError:
        return found
    plain = [*uvicorn[:3], "bench.servers.plain_fastapi:app", *uvicorn[3:]]
    return {"floor": found["floor"], "fastapi": (plain, {"BENCH_MODEL": str(model)}), "fairlead": found["fairlead"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(command: list[str], core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)]), *command]


def measure(command: list[str], env: dict[str, str], connections: list[int], seconds: float, folder: Path, check: bool):
    """One server, started, loaded and stopped; connections to figures, plus cold start and memory."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        pinned([*command, str(port)], 0), env={**os.environ, **env, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    try:
        wait(port, process)
        found: dict[str, object] = {"start_seconds": time.perf_counter() - began}
        for count in connections:
            before = cpu_seconds(process.pid)
            load = [
                sys.executable,
                "-m",
                "bench.load",
                str(port),
                str(count),
                str(seconds),
                str(folder),
                str(int(check)),
            ]
            figures = json.loads(subprocess.run(pinned(load, 1), capture_output=True, text=True, check=True).stdout)
            answered = figures["requests_per_second"] * (seconds + min(1.0, seconds / 3))
            figures["cpu_us_per_request"] = 1e6 * (cpu_seconds(process.pid) - before) / max(1.0, answered)
            found[str(count)] = figures
        status = Path(f"/proc/{process.pid}/status").read_text()
        found["memory_mb"] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        return found
    finally:
        process.terminate()
        process.wait(10)


def wait(port: int, process: subprocess.Popen[bytes]) -> None:
    probe = b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode} before it was ready")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
                link.sendall(probe)
                if not link.recv(64).startswith(b"HTTP/1.1 503"):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"nothing answers on port {port}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    options = parser.parse_args()
    connections = [int(part) for part in options.connections.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, bodies, expected = w1.make(folder)
        (folder / "bodies").write_bytes(b"\n".join(bodies))
        np.save(folder / "expected.npy", expected)
        runs: dict[str, list[dict[str, object]]] = {}
        for number in range(options.rounds):
            for name, (command, env) in servers(model).items():
                found = measure(command, env, connections, options.seconds, folder, check=name != "floor")
                runs.setdefault(name, []).append(found)
                print(f"round {number + 1} {name}: {json.dumps(found)}", file=sys.stderr)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "w1.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(table(runs, connections))


HEADER = ("W1", "connections", "requests/s", "p50 ms", "p99 ms", "CPU us a request", "ours over it", "wrong", "errors")


def table(runs: dict[str, list[dict[str, object]]], connections: list[int]) -> str:
    """Markdown: medians over the rounds, and the ratio of each round with its spread."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for name, rounds in runs.items():
        for count in connections:
            cells = [one[str(count)] for one in rounds]
            ours = [one[str(count)]["requests_per_second"] for one in runs["fairlead"]]
            ratios = [mine / cell["requests_per_second"] for mine, cell in zip(ours, cells, strict=True)]
            middle = {key: statistics.median(cell[key] for cell in cells) for key in cells[0]}
            row = [name, str(count), f"{middle['requests_per_second']:,.0f}"]
            row += [f"{middle['p50_ms']:.2f}", f"{middle['p99_ms']:.2f}", f"{middle['cpu_us_per_request']:.0f}"]
            row += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"]
            row += [str(sum(cell[key] for cell in cells)) for key in ("wrong", "errors")]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
