"""Drift: speed beside Evidently, false alarms against the contract, and two public streams with known changes.

usage: python -m bench.drift [speed|alarms|streams ...] [--rows 1000000] [--peer-python PATH] [--windows 20000]
``--peer-python``: an interpreter that can import evidently; without it only our own figures are printed.
``streams`` reads drift-elec2 and drift-sea below the folder in FAIRLEAD_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fairlead.contracts.events import Columns
from fairlead.monitor.distances import psi
from fairlead.monitor.drift import Detector
from fairlead.monitor.exact import compare, compare_chunks
from fairlead.monitor.findings import Contract
from fairlead.monitor.reference import HOUR_MS, WEEK_MS, reference
from fairlead.monitor.sketches import Folder, merge

RESULTS = Path(__file__).parent / "results"
FEATURES = 30
ROWS = 200
WEEKS = 4
DAY_MS = 24 * HOUR_MS

PEER = """
import json, resource, sys, time
import numpy as np, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
rows = int(sys.argv[1])
rng = np.random.default_rng(0)
old, new = (pd.DataFrame({f"x{i}": rng.normal(size=rows) for i in range(30)}) for _ in range(2))
began = time.perf_counter()
Report([DataDriftPreset(method="psi")]).run(new, old)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
old, new = (pd.DataFrame({"x": rng.random(20_000) ** power}) for power in (1.0, 1.2))
told = Report([DataDriftPreset(method="psi")]).run(new, old).dict()["metrics"]
value = next(float(one["value"]) for one in told if "ValueDrift" in str(one))
np.save(sys.argv[2], np.stack([old["x"], new["x"]]))
print(json.dumps({"value": value, "seconds": seconds, "peak_mb": peak}))
"""


def tables(rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    old, new = ({f"x{i}": rng.normal(size=rows) for i in range(FEATURES)} for _ in range(2))
    return old, new


def speed(rows: int, peer: str) -> dict[str, object]:
    old, new = tables(rows)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        compare(old, new)
        seconds.append(time.perf_counter() - began)
    found: dict[str, object] = {"rows": rows, "columns": FEATURES, "seconds": min(seconds), "runs": seconds}
    print(f"exact PSI, KS and JS, {rows:,} x {FEATURES}: {min(seconds):.2f} s (of {[round(s, 2) for s in seconds]})")
    described = reference(old, {})
    del old, new
    found["peak_mb_by_rows"] = {}
    for many in (rows // 4, rows):
        tracemalloc.start()
        compare_chunks(described, chunks(many))
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        found["peak_mb_by_rows"][str(many)] = peak
        print(f"in chunks of 50,000, {many:,} rows: peak memory {peak:.1f} MB, the chunk itself included")
    found["fold_seconds"] = fold()
    if not peer:
        print("no --peer-python: Evidently was not run")
        return found
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "values.npy")
        command = [peer, "-W", "ignore", "-c", PEER, str(rows), str(file)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        values = np.load(file) if file.exists() else np.zeros((2, 0))
    if ran.returncode:
        print(f"Evidently could not be run: {ran.stderr.strip().splitlines()[-1:]}")
        return found
    theirs = json.loads(ran.stdout.splitlines()[-1])
    found["evidently"] = theirs
    print(f"Evidently, PSI only: {theirs['seconds']:.1f} s, peak {theirs['peak_mb']:.0f} MB; "
          f"ours {theirs['seconds'] / min(seconds):.0f} times as fast")  # fmt: skip
    # Evidently's variant: equal-width bins (Sturges) over both samples; none is empty here, so nothing is filled in.
    edges = np.histogram_bin_edges(values.ravel(), bins="sturges")
    ours = float(psi(*(np.histogram(side, edges)[0] for side in values)))
    found["difference_on_their_edges"] = abs(ours - theirs["value"])
    print(f"PSI on Evidently's edges: ours {ours:.9f}, theirs {theirs['value']:.9f}")
    return found


def fold(rows: int = 40_000, features: int = 20) -> float:
    """The best of seven: calls of 100 rows of float32 folded into a window."""
    rng = np.random.default_rng(2)
    table = {f"x{i}": rng.normal(size=(rows, 1)).astype(np.float32) for i in range(features)}
    described = reference(table, {})
    folder = Folder(described, "bench", "1", "champion", "w", 1000)
    n = rows // 100
    calls = Columns(
        "bench", "1", "champion", ["x"] * n, np.full(n, 5), np.full(n, 0.01), [""] * n, np.full(n, 100), table, {}
    )
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        folder.add(calls)
        seconds.append(time.perf_counter() - began)
    size = sum(map(len, folder.windows()[0].columns.values()))
    print(f"fold {features} float32 columns x {rows:,} rows: {1e3 * min(seconds):.1f} ms; a window is {size:,} bytes")
    return min(seconds)


def chunks(rows: int, size: int = 50_000) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    for _ in range(rows // size):
        yield {f"in.x{i}": rng.normal(size=size) for i in range(FEATURES)}


def stream(kind: str, seed: int, features: int = FEATURES, rows: int = ROWS) -> Iterator[dict[str, np.ndarray]]:
    """Hours of one stream. ``independent``; ``autocorrelated``: the hour's mean swings (AR(1), 0.8, a sixth of the
    deviation); ``seasonal``: by hour of day and day of week too, and the rows of an hour follow one another."""
    rng = np.random.default_rng(seed)
    level, phase = np.zeros(features), rng.uniform(0, 2 * np.pi, features)
    hour = 0
    while True:
        values = rng.normal(size=(rows, features))
        if kind != "independent":
            level = 0.8 * level + 0.6 * rng.normal(size=features)
            values += level / 6
        if kind == "seasonal":
            day, week = 2 * np.pi * hour / 24, 2 * np.pi * hour / 168
            values += 0.3 * np.sin(day + phase) + 0.15 * np.sin(week + phase)
            for row in range(1, rows):
                values[row] = 0.3 * values[row - 1] + 0.95 * values[row]
        hour += 1
        yield {f"x{i}": values[:, i] for i in range(features)}


def alarms(
    kind: str, windows: int, *, season: bool = False, seed: int = 0, features: int = FEATURES
) -> dict[str, float]:
    """How often a detector with the default contract alarms on a stream in which nothing happens."""
    source, described = watched(kind, season, seed, features)
    detector, hours = Detector(described), WEEKS * 168
    begun, alarmed, by_kind = 0, 0, Counter[str]()
    for hour in range(hours, hours + windows):
        findings = detector.update(merge(folded(described, next(source), hour * HOUR_MS, HOUR_MS)))
        kinds = {one.kind for one in findings if one.alarm and one.kind != "overall"}
        alarmed += bool(kinds)
        begun += any(one.kind == "overall" and one.alarm and one.since_ms == hour * HOUR_MS for one in findings)
        by_kind.update(kinds)
    periods = windows / (90 * 24)
    rates = {"alarms": begun, "per_90_days": round(begun / periods, 2)}
    return {"windows": windows, **rates, "alarming_windows": alarmed, **by_kind}


def watched(kind: str, season: bool, seed: int, features: int = FEATURES):
    """A stream and the reference of its first weeks."""
    source = stream(kind, seed, features)
    hours = WEEKS * 168
    before = [next(source) for _ in range(hours)]
    times = np.repeat(np.arange(hours) * HOUR_MS, ROWS)
    joined = {name: np.concatenate([part[name] for part in before]) for name in before[0]}
    return source, reference(joined, {}, times_ms=times, season_ms=WEEK_MS if season else None)


def power(kind: str, *, season: bool = False, seed: int = 3) -> dict[str, float]:
    """Share of single hours that alarm, by how far the mean of one of the columns moved, in deviations of its rows."""
    source, described = watched(kind, season, seed)
    detector, hour = Detector(described), WEEKS * 168
    found = {}
    for shift in (0.3, 0.5, 0.8, 1.2, 2.0):
        hits = 0
        for _ in range(24):
            rows = next(source)
            findings = detector.measure(
                merge(folded(described, {**rows, "x3": rows["x3"] + shift}, hour * HOUR_MS, HOUR_MS))
            )
            hits += any(one.alarm and one.column == "in.x3" for one in findings)
            hour += 1
        found[str(shift)] = round(hits / 24, 2)
    return found


def folded(described, features: dict[str, np.ndarray], at_ms: int, length_ms: int):
    rows = len(next(iter(features.values())))
    folder = Folder(described, "bench", "1", "champion", "w", length_ms)
    calls = Columns(
        "bench", "1", "champion", ["x"], np.array([at_ms]), np.array([0.01]), [""], np.array([rows]), features, {}
    )
    folder.add(calls)
    return folder.windows()


def read(name: str) -> dict[str, np.ndarray]:
    folder = os.environ.get("FAIRLEAD_DATA", "")
    found = sorted(Path(folder, name).glob("*.csv.gz")) if folder else []
    if not found:
        raise SystemExit(f"{name} is not there; set FAIRLEAD_DATA to the folder that has it")
    with gzip.open(found[0], "rt") as lines:
        head = lines.readline().strip().split(",")
        rows = [line.strip().split(",") for line in lines]
    return {column: np.array([row[i] for row in rows]) for i, column in enumerate(head)}


def elec2(length: int = 48) -> dict[str, object]:
    """A day is a window; the first third is the reference."""
    data = read("drift-elec2")
    names = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
    columns = {name: data[name].astype(np.float64) for name in names}
    found = walk(columns, len(data["class"]) // 3 // length * length, length)
    change = 17_424 // length
    vic = {name: first(found, f"in.{name}", change) for name in ("vicprice", "vicdemand", "transfer")}
    later = {name: None if at is None else at - change for name, at in vic.items()}
    print(f"drift-elec2, windows from row 17,424 to the first alarm (0: the one it is in): {later}")
    rates = {}
    for name in names:
        before = [alarm for window, alarm in found[f"in.{name}"].items() if window < change]
        after = [alarm for window, alarm in found[f"in.{name}"].items() if window >= change]
        rates[name] = (float(np.mean(before)), float(np.mean(after)))
        print(f"  {name:10} alarm rate before {rates[name][0]:.3f}, after {rates[name][1]:.3f}")
    return {"windows_to_alarm": later, "rates": rates}


def sea(length: int = 500) -> dict[str, object]:
    data = read("drift-sea")
    columns = {name: data[name].astype(np.float64) for name in ("x1", "x2", "x3")}
    found = walk(columns, 10_000, length)
    hits = sum(any(alarms[window] for alarms in found.values()) for window in next(iter(found.values())))
    count = len(next(iter(found.values())))
    print(f"drift-sea, windows of {length} rows: {hits} of {count} alarm (P(y|x) moves, P(x) does not)")
    return {"alarms": hits, "windows": count}


def walk(columns: dict[str, np.ndarray], known: int, length: int) -> dict[str, dict[int, bool]]:
    """Column to window number to whether it alarmed. A window is a day."""
    at = np.arange(known) // length * DAY_MS
    described = reference({k: v[:known] for k, v in columns.items()}, {}, times_ms=at, window_ms=DAY_MS)
    detector = Detector(described, Contract(window_ms=DAY_MS, least_rows=min(48, length)))
    found: dict[str, dict[int, bool]] = {name: {} for name in described.columns}
    for start in range(known, len(next(iter(columns.values()))) - length + 1, length):
        window = start // length
        rows = {name: values[start : start + length] for name, values in columns.items()}
        findings = detector.update(merge(folded(described, rows, window * DAY_MS, DAY_MS)))
        alarming = {one.column for one in findings if one.alarm}
        for name, seen in found.items():
            seen[window] = name in alarming
    return found


def first(found: dict[str, dict[int, bool]], name: str, since: int) -> int | None:
    return next((window for window, alarm in sorted(found[name].items()) if alarm and window >= since), None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.drift")
    parser.add_argument("what", nargs="*", default=["speed", "alarms", "streams"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--windows", type=int, default=20_000)
    options = parser.parse_args()
    results: dict[str, object] = {}
    if "speed" in options.what:
        results["speed"] = speed(options.rows, options.peer_python)
    if "alarms" in options.what:
        for kind, season in (
            ("independent", False),
            ("autocorrelated", False),
            ("seasonal", False),
            ("seasonal", True),
        ):
            name = f"{kind}, {'seasonal' if season else 'plain'} reference"
            results[name] = found = alarms(kind, options.windows, season=season)
            print(f"{name}: {json.dumps(found)} (contract: at most 1 in 90 days)", flush=True)
            results[f"{name}, power"] = found = power(kind, season=season)
            print(f"  of single hours with one column moved by so many deviations, these alarm: {found}", flush=True)
    if "streams" in options.what:
        results["elec2"], results["sea"] = elec2(), sea()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "drift.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
