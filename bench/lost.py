"""What callers see when the processes of a model are killed, and when they hang, under load.

usage: python -m bench.lost [--processes 2] [--connections 32] [--seconds 4] [--hang 1]
``held`` runs in processes of its own, 5 ms a batch; ``w1`` in the server. Connections call both as fast as they are
answered and check every answer. In the second phase one process is killed, in the third one is stopped, so that it
never answers. Prints a table; exit code 1 when a call failed or a process was not replaced.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import rig, w1
from bench.load import fetch, header, post
from bench.replicas import metrics

PHASES = ("calm", "one is killed", "one hangs")
MODEL = """
import os, time
import numpy as np

class Slow:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)),)

    def load(self, path):
        with open(os.environ["LOST_PIDS"], "a") as file:
            file.write(f"{os.getpid()}\\n")

    def predict(self, inputs):
        time.sleep(0.005)
        return {"y": inputs["x"] * 2}
"""


@dataclass
class Heard:
    """By phase: how long answers took, milliseconds, and what failed."""

    waited: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)


async def caller(port: int, requests: list[tuple[bytes, float]], heard: Heard, phase: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    while phase[0]:
        turn += 1
        request, expected = requests[turn % len(requests)]
        began = time.perf_counter()
        try:
            async with asyncio.timeout(30):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(header(head, b"content-length"))
        except (OSError, EOFError, TimeoutError) as error:
            heard.failed[type(error).__name__] += 1
            return
        heard.waited.setdefault(phase[0] or PHASES[-1], []).append((time.perf_counter() - began) * 1000)
        if not head.startswith(b"HTTP/1.1 200"):
            heard.failed[head[9:12].decode()] += 1
        elif not np.isclose(json.loads(body)["outputs"][-1]["data"][-1], expected, rtol=1e-4, atol=1e-5):
            heard.failed["wrong answer"] += 1
    writer.close()


async def run(port: int, pids: Path, ours: Heard, theirs: Heard, options: argparse.Namespace, folder: Path) -> None:
    slow = []
    for number in range(100):
        document = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [number]}]}
        slow.append((post("/v2/models/slow/infer", json.dumps(document).encode()), number * 2.0))
    expected = np.load(folder / "expected.npy")
    quick = [(one, float(row[-1])) for one, row in zip(fetch(folder / "v2.requests"), expected, strict=True)]
    phase = [PHASES[0]]
    callers = [asyncio.create_task(caller(port, slow, ours, phase)) for _ in range(options.connections)]
    callers += [asyncio.create_task(caller(port, quick, theirs, phase)) for _ in range(4)]
    for number, name in ((0, 0), (signal.SIGKILL, 1), (signal.SIGSTOP, 2)):
        phase[0] = PHASES[name]
        if number:
            os.kill(int((await asyncio.to_thread(pids.read_text)).split()[-1]), number)
        await asyncio.sleep(options.seconds)
    phase[0] = ""
    await asyncio.gather(*callers)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.lost")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--hang", type=float, default=1.0)
    options = parser.parse_args()
    ours, theirs = Heard(), Heard()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "lost_model.py").write_text(MODEL)
        (folder / "fairlead.yaml").write_text(
            f"server: {{port: {(port := rig.free_port())}}}\nrecord: false\nendpoints:\n"
            f"  w1: {{model: {w1.make(folder)}}}\n"
            f"  slow: {{model: 'lost_model:Slow', executor: process, processes: {options.processes}, "
            f"hang_seconds: {options.hang}}}\n"
        )
        pids = folder / "pids"
        command = [sys.executable, "-m", "fairlead", "up", str(folder / "fairlead.yaml"), "--log-level", "critical"]
        entry = rig.Entry([*command, "--home"], {"PYTHONPATH": f"{rig.ROOT}:{folder}", "LOST_PIDS": str(pids)})
        with rig.running(entry, lambda _: rig.readyz(port), pin=False):
            asyncio.run(run(port, pids, ours, theirs, options, folder))
            shown = metrics(port)
    rows = []
    for name, heard in (("slow, in processes", ours), ("w1, in the server", theirs)):
        for phase in PHASES:
            waited = np.array(heard.waited[phase])
            rate = f"{len(waited) / options.seconds:,.0f}"
            rows.append([name, phase, rate, f"{np.percentile(waited, 99):.1f}", f"{waited.max():.0f}"])
    print(rig.markdown(["model", "phase", "calls/s", "p99 ms", "longest ms"], rows), end="\n\n")
    replaced, failed = shown["fairlead_model_process_restarts_total"], ours.failed + theirs.failed
    print(f"failed calls: {failed.total()} {dict(failed)}; processes replaced: {replaced:.0f}")
    rig.save("lost", {"ours": ours.waited, "theirs": theirs.waited, "failed": dict(failed), "replaced": replaced})
    if failed or replaced < 2 or shown["fairlead_model_processes"] < options.processes:
        sys.exit(1)


if __name__ == "__main__":
    main()
