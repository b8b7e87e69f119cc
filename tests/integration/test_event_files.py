"""Event files under several processes, kill -9 among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fairlead.adapters.events.parquet.store import ParquetEvents
from fairlead.kit.clock import SystemClock

WRITER = """
import sys, time
import numpy as np
from fairlead.adapters.events.parquet import store as parquet
from fairlead.testing.event_suite import calls, NOON_MS

root, writer, turns, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
parquet.MERGE_EVERY, parquet.LEAST, parquet.GRACE_MS = every, 4, 3_000
store = parquet.ParquetEvents(root)
print("ready", flush=True)
for turn in range(turns):
    same = np.full(7, turn, np.int64)
    ids = [f"{writer}-{turn}-{n}" for n in range(7)]
    store.append([calls(7, NOON_MS + turn, version=str(writer), features={"turn": same}, ids=ids)])
    print(turn, flush=True)
"""


def start(root: Path, writer: int, turns: int, every: int = 8) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), str(writer), str(turns), str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_turn(output: str) -> int:
    """What the writer said that it had kept."""
    whole = output[: output.rfind("\n") + 1].split()
    return int(whole[-1]) if whole and whole[-1] != "ready" else -1


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_kept_and_leaves_nothing_broken(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    kept: dict[str, int] = {}
    for writer in range(6):
        process = start(tmp_path, writer, 100_000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(float(generator.uniform(0.05, 0.7)))
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
        kept[str(writer)] = last_turn("ready\n" + output)
    assert max(kept.values()) > 3
    found = ParquetEvents(str(tmp_path)).frame("churn")
    ids = found["prediction_id"].tolist()
    assert len(ids) == len(set(ids)), "no row twice"
    for writer, turn in kept.items():
        turns = found["in.turn"][found["version"] == writer]
        counts = np.bincount(turns.astype(int)) if len(turns) else np.array([], int)
        assert (counts == 7).all(), "every batch is whole"
        assert len(counts) in (turn + 1, turn + 2), "all that was kept, and at most the one under way"
    store = ParquetEvents(str(tmp_path), AheadClock())
    store.prune("churn", 0)
    store.prune("churn", 0)
    assert not list(tmp_path.rglob("*.part"))
    assert sorted(store.frame("churn")["prediction_id"].tolist()) == sorted(ids), "tidying up changes no row"


class AheadClock:
    now = staticmethod(SystemClock.now)

    def wall_ms(self) -> int:
        return SystemClock.wall_ms() + 7_200_000


@pytest.mark.slow
def test_several_writers_at_once_beside_readers(tmp_path: Path) -> None:
    turns = 60
    store = ParquetEvents(str(tmp_path))
    processes = [start(tmp_path, writer, turns) for writer in range(4)]
    before = 0
    looks = 0
    while any(process.poll() is None for process in processes):
        found = store.frame("churn")
        ids = found["prediction_id"]
        assert len(ids) == len(set(ids.tolist())), "no row twice while files are merged"
        assert len(ids) >= before, "no row goes missing while files are merged"
        assert len(ids) % 7 == 0, "every batch is whole"
        before = len(ids)
        if looks % 4 == 0:
            store.prune("churn", 0)
            assert store.query("SELECT count(*) AS n FROM events")["n"][0] >= before
        looks += 1
    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    assert looks > 3
    found = store.frame("churn")
    assert len(found["row"]) == 4 * turns * 7
    assert {(v, c) for v, c in zip(*np.unique(found["version"].astype(str), return_counts=True), strict=True)} == {
        (str(writer), turns * 7) for writer in range(4)
    }
