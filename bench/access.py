"""What it costs a call to show a key, to be counted against limits and to be recorded, beside W1 without all that.

usage: python -m bench.access [--rounds 3] [--seconds 3] [--connections 1,16]
The servers get the same requests, each with a key, and stand on the same core in turns; every answer is checked. Off,
the key is a header like any other; on, calls are audited too. Beside it, the gate alone: one look-up of a caller who
was there before, in process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from timeit import repeat

from bench import beside, rig, w1
from bench.beside import Figures, Rounds
from bench.load import fetch, store
from bench.rig import Entry
from fairlead.kit.clock import SystemClock
from fairlead.kit.scopes import scope
from fairlead.serve.access import keys
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing
from fairlead.serve.access.rules import Rules
from fairlead.serve.catalog import Catalog

OFF, ON, LIMITS, ALL = "no access", "key, audit", "key, audit, limits", "key, audit, limits, events"
FLAGS = {OFF: ["--no-access"], ON: ["--access"], LIMITS: ["--access"], ALL: ["--access", "--record"]}
LIMITED = {LIMITS: ["--rate", "1000000/s"], ALL: ["--rate", "1000000/s"]}
"""What a key is made with; it is never refused."""
_TURNS, _BATCHES = 2_000, 500


def run(folder: Path, connections: list[int], seconds: float, rounds: int) -> Rounds:
    """The figures, in turns."""
    model, home = w1.make(folder), folder / "home"
    env = {"FAIRLEAD_HOME": str(home)}
    entries = {name: Entry([*beside.ours(f"w1={model}")[:-1], *flags, "--port"], env) for name, flags in FLAGS.items()}
    folders = {name: _asking(folder, home, name) for name in FLAGS}
    runs: Rounds = {name: [] for name in FLAGS}
    for number in range(rounds):
        for name in list(FLAGS)[:: 1 if number % 2 else -1]:
            found: dict[str, Figures] = {}
            with rig.running(entries[name], rig.readyz) as (port, pid, _):
                for count in connections:
                    before = rig.cpu_seconds(pid)
                    figures = rig.load(port, count, folders[name], entries[name], True, "--seconds", str(seconds))
                    figures["cpu_us_per_request"] = 1e6 * (rig.cpu_seconds(pid) - before) / figures["sent"]
                    found[str(count)] = figures
                    time.sleep(0.5)
            runs[name].append(found)
            print(f"access round {number + 1} {name}: {json.dumps(found)}", file=sys.stderr)
    return runs


def alone() -> float:
    """Microseconds of the gate for a caller who was there before: the best of many short spells."""
    key, text = keys.made(Key("web", (scope("w1:predict"),), (), 0), 0)
    clock = SystemClock()
    gate, catalog = Gate(Rules(), Callers(clock, KeyRing([key]))), _Ready()
    headers = {b"host": b"bench", b"authorization": b"Bearer " + text.encode(), b"content-length": b"300"}
    asking = Visit(headers, "/v2/models/{endpoint}/infer", clock.now(), "id")
    with_gate = min(repeat(lambda: gate.enter(asking, catalog, "w1", None), number=_TURNS, repeat=_BATCHES))
    without = min(repeat(lambda: catalog.resolve("w1", None), number=_TURNS, repeat=_BATCHES))
    return (with_gate - without) / _TURNS * 1e6


class _Ready(Catalog):
    """Knows one version and looks for none."""

    def resolve(self, *_: object) -> object:  # type: ignore[override]
        return self


def table(runs: Rounds, gate_us: float) -> str:
    header = ["W1", "connections", "requests/s", "p50 ms", "p99 ms", "CPU us a request", "over no access"]
    rows = []
    for name, rounds in runs.items():
        for count in rounds[0]:
            row = [name, count, f"{beside.middle(runs, name, count, 'requests_per_second'):,.0f}"]
            row += [f"{beside.middle(runs, name, count, key):.2f}" for key in ("p50_ms", "p99_ms")]
            row += [f"{beside.middle(runs, name, count, 'cpu_us_per_request'):.1f}"]
            rows.append([*row, beside.ratio(runs, name, OFF, count, count)])
    return f"{rig.markdown(header, rows)}\n\nthe gate alone: {gate_us:.2f} us a call"


def _asking(folder: Path, home: Path, name: str) -> Path:
    """A folder with the requests of one server, each with its key."""
    line = b"\r\nauthorization: Bearer %b" % _key(home, name).encode()
    made = folder / name.replace(", ", "-").replace(" ", "-")
    made.mkdir()
    for one in folder.iterdir():
        if one.is_file():
            shutil.copy(one, made)
    store(made / "v2.requests", [_with(request, line) for request in fetch(folder / "v2.requests")])
    return made


def _key(home: Path, name: str) -> str:
    told = name.replace(", ", "-").replace(" ", "-")
    command = [sys.executable, "-m", "fairlead", "keys", "create", "--name", told, "--scope", "w1:predict"]
    command += [*LIMITED.get(name, []), "--home", str(home), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout)["key"])


def _with(request: bytes, line: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return b"%b%b\r\n\r\n%b" % (head, line, body)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.access")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="1,16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        connections = [int(part) for part in options.connections.split(",")]
        runs = run(Path(scratch), connections, options.seconds, options.rounds)
        gate_us = alone()
        rig.save("access", {"runs": runs, "gate_us": gate_us})
        print(table(runs, gate_us))


if __name__ == "__main__":
    main()
