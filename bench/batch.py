"""Batch: a Parquet file through `fairlead batch`, beside onnxruntime in process, 64 rows at a time, on one core.

usage: python -m bench.batch [--rows 2000000] [--rounds 3] [--workers 1] [--linear]

The model is W1, 100 gradient-boosted trees over 20 float32 features; with ``--linear`` a logistic regression of as
many, which is so cheap that reading and writing are what is measured.

In every round: the floor, a job of a tenth of the
rows, a job of all. "floor" and "scored" are rows over seconds of processor time, since a machine that is shared says
little by the clock; "scored" leaves out the start of the processes (it is the difference of the two jobs). "whole" is
all rows over the wall time of the whole command, by workers.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from bench import w1
from bench.rig import SERVER_CORE, pinned, save

FEATURES, GROUP = 20, 100_000

FLOOR = """
import sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows = np.random.default_rng(0).normal(size=(64, 20)).astype(np.float32)
for _ in range(2000):
    session.run(None, {"X": rows})
began = time.process_time()
for _ in range(20000):
    session.run(None, {"X": rows})
print(20000 * 64 / (time.process_time() - began))
"""


def make(folder: Path, rows: int, linear: bool) -> None:
    if linear:
        x, y = make_classification(n_samples=4_000, n_features=FEATURES, random_state=7)
        x = x.astype(np.float32)
        graph = to_onnx(LogisticRegression(max_iter=1000).fit(x, y), x[:1], options={"zipmap": False})
        (folder / "w1.onnx").write_bytes(graph.SerializeToString())
    else:
        shutil.copyfile(w1.make(folder), folder / "w1.onnx")
    for name, count in (("few", rows // 10), ("all", rows)):
        rng = np.random.default_rng(1)
        schema = pa.schema([(f"f{at}", pa.float32()) for at in range(FEATURES)])
        with pq.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
            for start in range(0, count, GROUP):
                size = min(GROUP, count - start)
                values = rng.normal(size=(FEATURES, size)).astype(np.float32).round(2)
                writer.write_table(pa.table(list(values), schema=schema))


def floor(folder: Path) -> float:
    command = pinned([sys.executable, "-c", FLOOR, str(folder / "w1.onnx")], SERVER_CORE)
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def job(folder: Path, name: str, workers: int) -> tuple[float, float]:
    """Seconds of the whole command, by the clock and of processor time with those of its workers."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "fairlead", "batch", str(folder / "w1.onnx"), "--json", "--workers", str(workers)]
    command += ["--input", str(folder / f"{name}.parquet"), "--output", str(out)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        pinned(command, SERVER_CORE) if workers == 1 else command, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    assert json.loads(ran.stdout)["rejected"] == 0
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def check(folder: Path) -> float:
    """The largest difference between what the job wrote and what onnxruntime answers, over the first shard."""
    session = onnxruntime.InferenceSession(folder / "w1.onnx", providers=["CPUExecutionProvider"])
    with pq.ParquetFile(folder / "all.parquet") as source:
        table = source.read_row_group(0)
    x = np.column_stack([column.to_numpy() for column in table.columns])
    expected = session.run(None, {"X": x})[1]
    found = pq.read_table(folder / "out" / "part-00000.parquet")["probabilities"].combine_chunks().flatten().to_numpy()
    return float(np.abs(found.reshape(-1, 2)[: len(x)] - expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--linear", action="store_true")
    asked = parser.parse_args()
    found: dict[str, list[float]] = {"floor": [], "scored": [], "whole": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, asked.rows, asked.linear)
        for _ in range(asked.rounds):
            found["floor"].append(floor(folder))
            few, every = job(folder, "few", asked.workers), job(folder, "all", asked.workers)
            found["scored"].append(0.9 * asked.rows / max(every[1] - few[1], 1e-9))
            found["whole"].append(asked.rows / every[0] / asked.workers)
        difference = check(folder)
    print(f"{asked.rows:,} rows x {FEATURES} float32, {asked.workers} worker(s), {asked.rounds} rounds; per core:")
    for name, rates in found.items():
        print(f"  {name:7} {statistics.median(rates):12,.0f} rows/s   ({min(rates):,.0f} to {max(rates):,.0f})")
    ratios = {
        name: [rate / base for rate, base in zip(found[name], found["floor"], strict=True)]
        for name in ("scored", "whole")
    }
    for name, values in ratios.items():
        print(f"  {name} / floor {statistics.median(values):.2f}   ({min(values):.2f} to {max(values):.2f})")
    print(f"  largest difference from onnxruntime: {difference:.1e}")
    save(
        "batch",
        {"linear": asked.linear, "rows": asked.rows, "workers": asked.workers, "per_core": found, "ratios": ratios},
    )


if __name__ == "__main__":
    main()
