"""What clients see when a model is sick on purpose: each fault of ``fairlead chaos`` for some seconds, under load.

usage: python -m bench.chaos [--seconds 4] [--callers 8] [--workers 1]
The model runs in two processes of its own and a call has a second. Every answer is counted: right, wrong, an error by
its code, or none. Prints a table as Markdown. Exit code 1 when an error was not typed, when a fault outlived its time,
or when anything but a fault's own share went wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench import rig
from bench.fuzz import start

FAULTS: tuple[tuple[str, ...], ...] = (
    (),
    ("slow:200ms:10%",),
    ("error:10%",),
    ("hang:1%",),
    ("nan:10%",),
    ("shape:10%",),
    ("drop:10%",),
    ("oom",),
    ("oom:0.1%",),
    ("slow:100ms:5%", "error:5%", "drop:5%"),
)
DEADLINE_MS = 1000
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [3, 4]}]})
EXPECTED = {
    "slow": set[str](),
    "error": {"model_failed"},
    "hang": {"deadline_exceeded", "queue_full"},
    "nan": {"wrong"},
    "shape": {"model_failed"},
    "drop": {"dropped"},
    "oom": set[str](),
}
"""What each fault may do to a client."""


class Load:
    """Callers as fast as they are answered, each on a connection that it keeps."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._lock, self._enough = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def run(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)
        self._enough.set()
        for thread in self._threads:
            thread.join(30)

    def _call(self) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._enough.is_set():
            began = time.perf_counter()
            try:
                link.request("POST", "/v2/models/echo/infer", BODY, {"content-type": "application/json"})
                answer = link.getresponse()
                document = json.loads(answer.read())
                if answer.status == 200:
                    what = "right" if document["outputs"][0]["data"] == [3, 4] else "wrong"
                else:
                    what = document["code"]
            except (OSError, http.client.HTTPException):
                link.close()
                what = "dropped"
            with self._lock:
                self.seen[what] += 1
                self.seconds.append(time.perf_counter() - began)
            if what == "queue_full":
                time.sleep(0.05)
        link.close()


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request(method, path, None if body is None else json.dumps(body))
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def command(port: int, faults: tuple[str, ...], seconds: float) -> subprocess.Popen[str]:
    """``fairlead chaos``, as a user runs it."""
    words = [sys.executable, "-m", "fairlead", "chaos", "echo", "--url", f"http://127.0.0.1:{port}", "--json"]
    words += ["--for", f"{seconds:g}s"]
    for fault in faults:
        words += ["--inject", fault]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def under(port: int, faults: tuple[str, ...], options: argparse.Namespace) -> dict[str, object]:
    """What clients saw of these faults."""
    injecting = command(port, faults, options.seconds + 30) if faults else None
    ends = time.monotonic() + 60
    while injecting is not None and "faults are injected" not in ask(port, "GET", "/readyz")[1]:
        if time.monotonic() > ends or injecting.poll() is not None:
            raise SystemExit(f"nothing is injected: {faults}")
        time.sleep(0.05)
    load = Load(port, options.callers)
    load.run(options.seconds)
    calls: dict[str, int] = {}
    if injecting is not None:
        injecting.send_signal(signal.SIGINT)
        calls = json.loads(injecting.communicate(timeout=30)[0])["calls"]
    left = "faults are injected" in ask(port, "GET", "/readyz")[1]
    times = np.array(load.seconds) * 1000
    p50, p99 = (round(float(np.percentile(times, q)), 1) for q in (50, 99))
    return {"faults": list(faults), "hit": calls, "seen": dict(load.seen), "p50": p50, "p99": p99, "left": left}


def broken(one: dict[str, object]) -> list[str]:
    """The promises that were not kept."""
    faults, seen = list(one["faults"]), dict(one["seen"])  # type: ignore[call-overload]
    allowed = {"right"}.union(*(EXPECTED[fault.partition(":")[0]] for fault in faults))
    if any(fault.startswith("oom:") for fault in faults):  # processes that keep dying are started later each time
        allowed |= {"deadline_exceeded", "unavailable"}
    bad = [f"{faults or 'nothing'}: {count} {what}" for what, count in seen.items() if what not in allowed]
    return [*bad, *([f"{faults} outlived their time"] if one["left"] else [])]


def table(found: list[dict[str, object]]) -> str:
    rows = []
    for one in found:
        seen, hit = dict(one["seen"]), dict(one["hit"])  # type: ignore[call-overload]
        rows.append(
            [
                ", ".join(f"`{fault}`" for fault in one["faults"]) or "nothing",  # type: ignore[attr-defined]
                ", ".join(f"{count:,} {kind}" for kind, count in sorted(hit.items())) or "",
                f"{seen.pop('right', 0):,}",
                ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items())) or "nothing else",
                f"{one['p50']:.1f} / {one['p99']:.1f}",
            ]
        )
    return rig.markdown(["injected", "calls hit", "right answers", "what else clients saw", "p50 / p99, ms"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.chaos")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        words = ["--chaos", "--workers", str(options.workers), "--deadline-ms", str(DEADLINE_MS)]
        words += ["--executor", "process", "--processes", "2"]
        process, port, _ = start(Path(scratch), words)
        try:
            found = [under(port, faults, options) for faults in FAULTS]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(40)
    bad = [sentence for one in found for sentence in broken(one)] + ([f"exit code {code}"] if code else [])
    rig.save("chaos", {"found": found, "broken": bad})
    print(table(found))
    print("\n".join(bad) or "every promise was kept", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
