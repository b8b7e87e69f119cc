"""A scikit-learn model as it is, without ONNX: Fairlead beside MLServer and ``mlflow models serve``, the same pickle.

usage: python -m bench.native --peers DIR [--rounds 3] [--seconds 3] [--connections 1,16,64]
DIR has a virtual environment for each peer, with the scikit-learn that runs here: ``mlserver`` (mlserver,
mlserver-sklearn) and ``mlflow``. One row of 20 floats through 100 trees (HistGradientBoostingClassifier), answered with
its probabilities; every answer is checked. Servers on one core each turn, in interleaved rounds; what counts is the
ratio within a round, with its spread. Bar at 64 connections: 5 times the better peer; goal: 10 times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import mlflow.sklearn
import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from bench import rig
from bench.beside import Rounds, middle, ratio, ratios
from bench.load import fetch, post, store
from bench.rig import Entry

ROWS = 4_000
OURS = "fairlead"
_MLFLOW = ("models", "serve", "--env-manager", "local", "--host", "127.0.0.1", "--workers", "1", "--model-uri")


def make(folder: Path) -> Path:
    """The MLflow folder with the pickle; beside it requests for each server, and the probabilities to be answered."""
    x, y = make_classification(n_samples=16_000 + ROWS, n_features=20, n_informative=12, random_state=7)
    x = np.round(x, 4)
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=7).fit(x[:16_000], y[:16_000])
    rows = x[16_000:]
    np.save(folder / "expected.npy", trees.predict_proba(rows))
    path = folder / "model"
    mlflow.sklearn.save_model(trees, path, serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba")
    tensors = [{"name": "input", "shape": [1, 20], "datatype": "FP64", "data": row} for row in rows.tolist()]
    chosen = {"outputs": [{"name": "predict_proba"}]}
    store(folder / "v2.requests", [_request("/v2/models/native/infer", {"inputs": [one]}) for one in tensors])
    store(
        folder / "mlserver.requests",
        [_request("/v2/models/native/infer", {"inputs": [one], **chosen}) for one in tensors],
    )
    store(folder / "mlflow.requests", [_request("/invocations", {"inputs": [row]}) for row in rows.tolist()])
    return path


def _request(path: str, document: dict[str, object]) -> bytes:
    return post(path, json.dumps(document, separators=(",", ":")).encode())


def servers(model: Path, peers: Path) -> dict[str, Entry]:
    pickle = str(model / "model.pkl")
    start = [sys.executable, "-m", "fairlead", "serve", f"native={pickle}", "--trust-pickle", "--threads", "1"]
    start += ["--log-level", "warning", "--executor"]
    found = {}
    if (python := peers / "mlserver" / "bin" / "python").exists():
        words = [str(python), "-m", "bench.servers.mlserver_sklearn_peer"]
        for name, rows in (("mlserver, batches of 64", "64"), ("mlserver", "0")):
            env = {"BENCH_MODEL": pickle, "BENCH_BATCH": rows}
            found[name] = Entry(words, env, requests="mlserver", reader="mlserver")
    if (command := peers / "mlflow" / "bin" / "mlflow").exists():
        words = [str(command), *_MLFLOW, str(model), "--port"]
        path = {"PATH": f"{command.parent}:{os.environ['PATH']}"}
        found["mlflow models serve"] = Entry(words, path, requests="mlflow", reader="mlflow")
    found[f"{OURS}, model in the server"] = Entry([*start, "thread", "--port"])
    found[OURS] = Entry([*start, "process", "--port"])
    return found


def run(folder: Path, peers: Path, connections: list[int], seconds: float, rounds: int) -> Rounds:
    entries = servers(make(folder), peers)
    runs: Rounds = {}
    for number in range(rounds):
        for name, entry in entries.items():
            ready = (
                rig.readyz if name.startswith(OURS) else rig.answers(fetch(folder / f"{entry.requests}.requests")[0])
            )
            found = {}
            with rig.running(entry, ready, 120) as (port, pid, _):
                for count in connections:
                    before = rig.cpu_seconds(pid)
                    figures = rig.load(port, count, folder, entry, True, "--seconds", str(seconds))
                    figures["cpu_us_per_request"] = 1e6 * (rig.cpu_seconds(pid) - before) / max(1.0, figures["sent"])
                    found[str(count)] = figures
            runs.setdefault(name, []).append(found)
            print(f"round {number + 1} {name}: {json.dumps(found)}", file=sys.stderr)
    return runs


def table(runs: Rounds) -> str:
    header = ["server", "connections", "requests/s", "p50 ms", "p99 ms", "CPU us a request", "Fairlead over it"]
    rows = []
    for name, found in runs.items():
        for count in found[0]:
            row = [name, count, f"{middle(runs, name, count, 'requests_per_second'):,.0f}"]
            row += [f"{middle(runs, name, count, key):.2f}" for key in ("p50_ms", "p99_ms")]
            row += [f"{middle(runs, name, count, 'cpu_us_per_request'):.0f}", ratio(runs, OURS, name, count, count)]
            row += [f"{sum(one[count].get(key, 0) for one in found):.0f}" for key in ("wrong", "errors")]
            rows.append(row)
    return rig.markdown([*header, "wrong", "errors"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.native")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="1,16,64")
    options = parser.parse_args()
    connections = [int(one) for one in options.connections.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        runs = run(Path(scratch), options.peers, connections, options.seconds, options.rounds)
    rig.save("native", runs)
    print(table(runs))
    most = str(max(connections))
    peers = [name for name in runs if not name.startswith(OURS)]
    if peers:
        least = min(statistics.median(ratios(runs, OURS, name, most, most)) for name in peers)
        print(f"\nAt {most} connections over the better peer: {least:.1f} times (bar 5, goal 10).")


if __name__ == "__main__":
    main()
