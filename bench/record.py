"""What it costs the request path to keep everything: W1 with prediction events, windows and drift bins, on beside off.

Both servers hold the same registered version, on the same single core: the writer threads take their time from it, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench import beside, rig, w1
from bench.beside import Figures, Rounds
from bench.load import fetch
from bench.rig import Entry
from fairlead.kit import plugins
from fairlead.retrain.held import HeldOut
from fairlead.wiring import baselines

ON, OFF = "recorded", "not recorded"
SETTLE_SECONDS = 1.5


def run(folder: Path, connections: list[int], seconds: float, rounds: int) -> tuple[Rounds, dict[str, int]]:
    """The figures in turns, and what was kept of how many calls."""
    model = w1.make(folder)
    entries = {name: Entry(serve(flag), registered(folder, model, flag)) for name, flag in FLAGS.items()}
    runs: Rounds = {name: [] for name in FLAGS}
    sent = 0
    for number in range(rounds):
        for name in list(FLAGS)[:: 1 if number % 2 else -1]:
            found: dict[str, Figures] = {}
            with rig.running(entries[name], rig.readyz) as (port, pid, _):
                for count in connections:
                    before = rig.cpu_seconds(pid)
                    figures = rig.load(port, count, folder, entries[name], True, "--seconds", str(seconds))
                    figures["cpu_us_per_request"] = 1e6 * (rig.cpu_seconds(pid) - before) / figures["sent"]
                    sent += round(figures["sent"]) if name == ON else 0
                    found[str(count)] = figures
                    time.sleep(SETTLE_SECONDS)
            runs[name].append(found)
            print(f"record round {number + 1} {name}: {json.dumps(found)}", file=sys.stderr)
    events = plugins.load("fairlead.events", "parquet")(str(_home(folder, FLAGS[ON]) / "events"))
    state = plugins.load("fairlead.state", "sql")(f"sqlite:///{_home(folder, FLAGS[ON]) / 'state.db'}")
    windows = state.windows("w1")
    return runs, {
        "sent": sent,
        "events": int(events.query("SELECT count(*) AS n FROM events")["n"][0]),
        "calls_in_windows": sum(one.calls for one in windows),
        "windows_with_bins": sum(bool(one.reference) for one in windows),
        "windows": len(windows),
    }


FLAGS = {OFF: "--no-record", ON: "--record"}


def serve(flag: str) -> list[str]:
    return [*beside.ours("models:/w1@champion")[:-1], flag, "--port"]


def _home(folder: Path, flag: str) -> Path:
    return folder / flag.strip("-")


def registered(folder: Path, model: Path, flag: str) -> dict[str, str]:
    """A home with the version in its registry and the reference of its held-out rows; the variables that name it."""
    home = _home(folder, flag)
    command = [sys.executable, "-m", "fairlead", "models", "log", str(model), "--name", "w1"]
    command += ["--alias", "champion", "--home", str(home)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    bodies = [json.loads(one.partition(b"\r\n\r\n")[2]) for one in fetch(folder / "v2.requests")]
    rows = np.array([body["inputs"][0]["data"] for body in bodies], np.float32)
    probabilities = np.load(folder / "expected.npy")
    outputs = {"label": probabilities.argmax(axis=1), "probabilities": probabilities}
    state = plugins.load("fairlead.state", "sql")(f"sqlite:///{home / 'state.db'}")
    baselines.keep(state, "w1", "1", HeldOut({"X": rows}, outputs))
    state.close()
    return {"FAIRLEAD_HOME": str(home)}


def table(runs: Rounds, kept: dict[str, int]) -> str:
    header = [
        "W1",
        "connections",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU us a request",
        "over not recorded",
    ]
    rows = []
    for name, rounds in runs.items():
        for count in rounds[0]:
            row = [name, count, f"{beside.middle(runs, name, count, 'requests_per_second'):,.0f}"]
            row += [f"{beside.middle(runs, name, count, key):.2f}" for key in ("p50_ms", "p99_ms", "p999_ms")]
            row += [f"{beside.middle(runs, name, count, 'cpu_us_per_request'):.1f}"]
            row += [beside.ratio(runs, name, OFF, count, count)]
            rows.append(row)
    told = (
        f"{kept['events']:,} events and {kept['calls_in_windows']:,} calls in {kept['windows']:,} windows "
        f"({kept['windows_with_bins']:,} with drift bins), of {kept['sent']:,} calls sent"
    )
    return f"{rig.markdown(header, rows)}\n\n{told}"
