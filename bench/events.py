"""What keeping prediction events costs: microseconds of CPU a call for ``append``, and reading them back.

usage: python -m bench.events [--calls 40000] [--features 20] [--rounds 7] [--columns 400] [--folder DIR]
One ``append`` holds a second's calls, in Columns of ``--columns`` calls, as serving hands them over. CPU is that of
the whole process (all threads), the share is that of one core when an append of this size is made each second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from fairlead.adapters.events.parquet.store import ParquetEvents
from fairlead.contracts.events import Columns

NOON_MS = 1_700_049_600_000


def batch(calls: int, each: int, features: int, start_ms: int) -> list[Columns]:
    generator = np.random.default_rng(0)
    found = []
    for first in range(0, calls, each):
        n = min(each, calls - first)
        found.append(
            Columns(
                endpoint="w1",
                version="1",
                arm="champion",
                ids=[f"0123456789ab-{first + call:x}" for call in range(n)],
                at_ms=start_ms + np.arange(first, first + n) * 1000 // calls,
                seconds=generator.random(n) / 1000,
                code=[""] * n,
                rows=np.ones(n, np.int64),
                features={f"f{k}": generator.normal(size=n).astype(np.float32) for k in range(features)},
                outputs={"y": generator.random(n).astype(np.float32)},
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--columns", type=int, default=400)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        store = ParquetEvents(folder)
        cpu, wall = [], []
        for turn in range(given.rounds + 1):
            columns = batch(given.calls, given.columns, given.features, NOON_MS + turn * 1000)
            clocks = time.process_time(), time.perf_counter()
            store.append(columns)
            if turn:  # the first one warms up
                cpu.append(time.process_time() - clocks[0])
                wall.append(time.perf_counter() - clocks[1])
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        middle = statistics.median(cpu)
        print(
            f"append, {given.calls} calls of {given.features} features: CPU {middle * 1e6 / given.calls:.2f} us a call"
        )
        print(f"  {middle * 100:.1f} % of one core when made each second (spread {min(cpu):.4f}-{max(cpu):.4f} s)")
        stored = size / given.calls / (given.rounds + 1)
        print(f"  wall {statistics.median(wall) * 1e3:.0f} ms with fsync, {stored:.0f} B a call")
        began = time.perf_counter()
        rows = len(store.frame("w1")["row"])
        print(f"frame: {rows} rows in {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        store.frame("w1", limit=2000)
        print(f"frame, the newest 2000: {time.perf_counter() - began:.3f} s")
        began = time.perf_counter()
        store.query('SELECT version, count(*), avg("in.f0") FROM events GROUP BY 1')
        print(f"query, count and mean: {time.perf_counter() - began:.3f} s")


if __name__ == "__main__":
    main()
