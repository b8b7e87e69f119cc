"""What an image must do before it is let out: the infra test's verdicts. Pure: it is given all that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.contracts.containers import Image, State
from fairlead.contracts.types import Tensors
from fairlead.package.doctor import Finding, Level
from fairlead.package.image import LABEL

_TOLERANCE = 1e-4
"""Relative, of the answer now to the one that was recorded: other CPUs sum in another order."""
_KILLED = 137


@dataclass(frozen=True, slots=True)
class Budget:
    """``ready``: seconds from the start.  ``latency``: seconds of the 99th percentile, 0: no limit.  ``memory``: bytes,
    0: no limit."""

    ready: float = 60.0
    latency: float = 0.0
    memory: int = 0


def of_image(image: Image) -> list[Finding]:
    """Who it runs as, and whether it says what it is."""
    user = image.user.partition(":")[0]
    if user in ("", "0", "root"):
        first = Finding(Level.FAIL, "user", f"it runs as {user or 'root'}; give it a USER that is a number above 0")
    else:
        first = Finding(Level.OK, "user", f"runs as {user}, not root")
    model = image.labels.get(f"{LABEL}model", "")
    if not model:
        return [
            first,
            Finding(Level.WARN, "lineage", "no label says which model is in it; fairlead package writes them"),
        ]
    version = image.labels.get(f"{LABEL}model.version", "")
    told = f"{model} version {version}" if version else model
    return [first, Finding(Level.OK, "lineage", f"{told}, {image.labels.get(f'{LABEL}model.digest', '')[:19]}")]


def of_start(seconds: float | None, state: State, logs: str, budget: Budget) -> Finding:
    """``seconds``: from the start until it was ready; None: it never was."""
    if seconds is not None:
        return Finding(Level.OK, "ready", f"ready {seconds:.2f} s after its start")
    last = " | ".join(line.strip()[:300] for line in logs.splitlines()[-3:]) or "nothing"
    if not state.running:
        why = "killed: over its memory" if state.exit_code == _KILLED else f"ended with {state.exit_code}"
        return Finding(Level.FAIL, "ready", f"{why}, and said: {last}")
    return Finding(Level.FAIL, "ready", f"not ready after {budget.ready:g} s; it said: {last}")


def of_answer(wanted: Tensors, found: Tensors) -> Finding:
    """The answer to the example, against the one that was recorded when the image was packaged."""
    for name, one in wanted.items():
        if name not in found:
            return Finding(Level.FAIL, "answer", f"the answer has no {name!r}; it has {', '.join(found) or 'nothing'}")
        other = np.asarray(found[name]).reshape(-1)
        flat = one.reshape(-1)
        if flat.shape != other.shape or not _same(flat, other):
            return Finding(
                Level.FAIL, "answer", f"{name!r} is {_shown(other)}, and {_shown(flat)} was recorded for this input"
            )
    return Finding(Level.OK, "answer", f"its example gets the recorded answer ({', '.join(wanted)})")


def of_latency(seconds: Sequence[float], budget: Budget) -> Finding:
    """``seconds``: of calls one after another."""
    median, late = np.quantile(seconds, 0.5), np.quantile(seconds, 0.99)
    told = f"{len(seconds)} calls one after another: p50 {median * 1e3:.1f} ms, p99 {late * 1e3:.1f} ms"
    if budget.latency and late > budget.latency:
        return Finding(Level.FAIL, "latency", f"{told}; the budget is {budget.latency * 1e3:g} ms")
    return Finding(Level.OK, "latency", told)


def of_memory(state: State, budget: Budget) -> Finding:
    if not state.running:
        why = "over its memory" if state.exit_code == _KILLED else f"exit code {state.exit_code}"
        return Finding(Level.FAIL, "memory", f"it did not live through the calls: {why}")
    if not state.memory:
        return Finding(Level.WARN, "memory", "the tool does not say how much memory it uses")
    told = f"{state.memory / 2**20:.0f} MiB in use"
    if budget.memory and state.memory > budget.memory:
        return Finding(Level.FAIL, "memory", f"{told}; the budget is {budget.memory / 2**20:.0f} MiB")
    return Finding(Level.OK, "memory", f"{told} of {budget.memory / 2**20:.0f} MiB" if budget.memory else told)


def of_end(exit_code: int, seconds: float) -> Finding:
    if exit_code == 0:
        return Finding(Level.OK, "stop", f"stopped {seconds:.1f} s after SIGTERM")
    return Finding(Level.FAIL, "stop", f"exit code {exit_code} after SIGTERM; a clean stop is 0")


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.dtype.kind in "fc" or other.dtype.kind in "fc":
        try:
            return bool(np.allclose(one.astype(float), other.astype(float), rtol=_TOLERANCE, atol=1e-6))
        except (ValueError, TypeError):  # text where a number is
            return False
    return [str(value) for value in one.tolist()] == [str(value) for value in other.tolist()]


def _shown(array: np.ndarray[Any, Any]) -> str:
    return str([f"{value:.6g}" if isinstance(value, float) else value for value in array[:4].tolist()])
