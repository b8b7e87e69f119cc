"""A home as 50 endpoints leave it after 30 days: windows of a minute, splits, what monitors remember, the timeline.

One day of windows is put by the store itself; SQLite copies it, in the order of time, to the other days.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fairlead.contracts.events import Columns, Window
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import home
from fairlead.monitor import timeline
from fairlead.monitor.latency import Latency
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import Folder
from fairlead.wiring import stores

MINUTE, DAY_MINUTES = 60_000, 1440
DAY = DAY_MINUTES * MINUTE
EVENTS = 10_000_000
"""Calls of ``endpoint-00`` in a day."""
ROWS, FEATURES = 600, 12
"""Of every other endpoint in a minute; and what ``endpoint-01`` is watched by, against a reference."""
LINES = 40


def fill(root: Path, endpoints: int, days: int) -> int:
    """Up to the present minute; how many windows that are."""
    state = stores.state(home(root))
    until = int(time.time() * 1000) // MINUTE * MINUTE
    rng = np.random.default_rng(7)
    names = [f"endpoint-{number:02d}" for number in range(endpoints)]
    hot, common = _latencies(rng, EVENTS // DAY_MINUTES), _latencies(rng, ROWS)
    watched = _watched(state, rng)
    for place, name in enumerate(names):
        calls, latencies = (EVENTS // DAY_MINUTES, hot) if place == 0 else (ROWS, common)
        some = []
        for minute in range(DAY_MINUTES):
            like = watched[minute % len(watched)] if place == 1 else None
            columns, of = (like.columns, like.reference) if like else ({}, "")
            start = until - DAY + minute * MINUTE
            codes = {"": calls - 1, "deadline_exceeded": 1}
            latency = latencies[minute % len(latencies)]
            some.append(
                Window(name, "1", "champion", "w", start, MINUTE, calls, calls, codes, latency, columns, {}, of)
            )
        state.put_windows(some)
        state.put("split", name, to_body(TrafficSplit(name, "churn", (Share("1", "champion", 100),))), 0)
        body = {"version": "1", "seen_ms": until, "labelled_ms": until, "detector": {"rows": 1}, "standings": {}}
        state.put("monitor", name, body, 0)
        for number in range(LINES):
            at = until - DAY + number * DAY // LINES
            line = timeline.Happening(name, "deploy", f"version 1 is served by worker {number}", at, {})
            state.append(timeline.KIND, name, asdict(line))
    state.close()
    stores.registry(home(root)).models()  # its database is made the first time, which takes seconds
    _copied(root / "state.db", days)
    return endpoints * days * DAY_MINUTES


def _latencies(rng: np.random.Generator, calls: int) -> list[bytes]:
    return [Latency.of(0.004 * np.exp(rng.normal(0, 0.6, calls))).to_bytes() for _ in range(64)]


def _watched(state: object, rng: np.random.Generator) -> list[Window]:
    """Windows with histograms of ``FEATURES`` features and a score, on the bins of a reference that is kept."""
    names = [f"f{number}" for number in range(FEATURES)]

    def rows(count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return {name: rng.normal(size=count) for name in names}, {"score": rng.random(count)}

    kept = reference(*rows(20_000), model="churn", version="1")
    state.put("reference", "churn/1", to_body(kept), 0)  # type: ignore[attr-defined]
    state.put("watch", "endpoint-01", {"version": "1"}, 0)  # type: ignore[attr-defined]
    found = []
    for number in range(16):
        folder = Folder(kept, "endpoint-01", "1", "champion", "w", MINUTE)
        inputs, outputs = rows(ROWS)
        ids, codes = [f"{number}-{row}" for row in range(ROWS)], [""] * ROWS
        at, ones = np.zeros(ROWS, np.int64), np.ones(ROWS, np.int64)
        folder.add(Columns("endpoint-01", "1", "champion", ids, at, np.full(ROWS, 0.004), codes, ones, inputs, outputs))
        found += folder.windows()
    return found


def _copied(path: Path, days: int) -> None:
    """The day before, and the one before that, and so on."""
    link = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
        link.execute(f"PRAGMA {pragma}")
    ((index,),) = link.execute("SELECT sql FROM sqlite_master WHERE name = 'state_windows_by_start'").fetchall()
    link.execute("DROP INDEX state_windows_by_start")
    columns = [row[1] for row in link.execute("PRAGMA table_info(state_windows)")]
    read = ", ".join(f"start_ms - {{}} * {DAY}" if name == "start_ms" else f'"{name}"' for name in columns)
    link.execute("CREATE TEMP TABLE day AS SELECT * FROM state_windows")
    link.execute("DELETE FROM state_windows")
    link.execute("BEGIN")
    for ago in reversed(range(days)):
        link.execute(f"INSERT INTO state_windows SELECT {read.format(ago)} FROM day ORDER BY start_ms, endpoint")
    link.execute("COMMIT")
    link.execute(index)
    link.execute("PRAGMA journal_mode=WAL")
    link.close()
