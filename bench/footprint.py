"""What it takes before the first answer: seconds until ready, memory with W1 loaded, size of the installation."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import rig, w1
from bench.rig import Entry


def ready(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """From the start of the process to 200 from ``/readyz``, and the memory then, for a file and for a registry."""
    model = w1.make(folder)
    home = folder / "home"
    logged = [sys.executable, "-m", "fairlead", "models", "log", str(model), "--name", "w1", "--alias", "champion"]
    subprocess.run([*logged, "--home", str(home)], check=True, capture_output=True)
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for what, uri in (("serve ./model.onnx", str(model)), ("serve models:/w1@champion", "models:/w1@champion")):
            words = ["--home", str(home), "--threads", "1", "--log-level", "warning", "--port"]
            entry = Entry([sys.executable, "-m", "fairlead", "serve", f"w1={uri}", *words])
            with rig.running(entry, rig.readyz) as (port, pid, seconds):
                rig.load(port, 16, folder, entry, True, "--seconds", "1")
                figures = {"ready_seconds": seconds, "memory_mb": rig.memory_mb(pid)}
            for key, value in figures.items():
                found.setdefault(what, {}).setdefault(key, []).append(value)
    return found


def installation() -> dict[str, float]:
    """MB (10^6 bytes) on disk of what ``pip install fairlead`` puts down, by package, with compiled files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        build += ["-c", str(rig.ROOT / "constraints.txt"), "--target", str(folder), str(rig.ROOT)]
        subprocess.run(build, check=True, capture_output=True)
        sizes = {one.name: size(one) for one in folder.iterdir()}
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:6])
    return {"all": sum(sizes.values()), **largest}


def size(path: Path) -> float:
    files = [path] if path.is_file() else [Path(at) / name for at, _, names in os.walk(path) for name in names]
    return sum(one.stat().st_blocks * 512 for one in files) / 1e6


def table(started: dict[str, dict[str, list[float]]], installed: dict[str, float]) -> str:
    rows = []
    for what, figures in started.items():
        for key, form in (("ready_seconds", "{:.2f} s"), ("memory_mb", "{:.0f} MB")):
            values = figures[key]
            told = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
            rows.append([f"{what}: {'ready' if key == 'ready_seconds' else 'memory under load'}", *told])
    if installed:
        parts = ", ".join(f"{name} {mb:.0f}" for name, mb in installed.items() if name != "all")
        rows.append([f"base installation ({parts})", f"{installed['all']:.0f} MB", "", ""])
    return rig.markdown(["footprint", "median", "least", "most"], rows)
