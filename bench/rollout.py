"""A rollout under traffic as clients see it: the split beside the one asked for, failed calls, what is kept.

usage: python -m bench.rollout [--rate 500] [--hold 30] [--steps 5,25,50,100] [--kill] [--outage 30 --state URL]
``fairlead up`` with one endpoint of two versions; 8 connections call at a steady rate, check every answer and tell
labels. Version 2 is rolled out through all steps, then version 1 again to 50 %, where it is aborted.

``--kill``: the controller gets ``kill -9`` as soon as each step is seen. ``--outage``: so many seconds in the second
step during which nobody reaches the state store (PostgreSQL under ``--state``, a database that is empty).
Exit code 1 when a call failed, a share is further than 4 standard errors from the one asked for, a rollout did not end
as it should, or events, windows or acknowledged labels are not what clients saw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench import rig, w1
from bench.callers import Callers
from bench.load import fetch
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.state import StateStore
from fairlead.kit import plugins
from fairlead.kit.codec.records import from_body
from fairlead.orchestrate.rollout import ENDED, Phase, Rollout
from fairlead.testing.wire import Wire

SPEC = """\
state: {state}
server: {{port: 0, workers: {workers}}}
endpoints:
  w1:
    model: models:/w1@champion
    threads: 1
    record: {{window_seconds: 1}}
    rollout:
      steps: [{steps}]
      gates: [{{name: error_rate, margin: 0.01}}, {{name: latency_p90, margin: 2}}, prediction_drift]
      min_seconds: {hold}
      settle_seconds: 2
      keep_seconds: 3
"""
REACH_SECONDS = 1.0
"""A split is with every worker after this time at the latest."""
MOST_SECONDS = 900.0


@dataclass
class Step:
    """A stretch with one split. ``at``: Unix seconds when it was set."""

    phase: Phase
    candidate: str
    percent: float
    at: float


@dataclass
class Seen:
    """What the state store said, in order."""

    steps: list[Step] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    killed: int = 0
    silent: float = 0.0
    """Seconds of the outage."""


class Up:
    """``fairlead up``, and its log."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "log"
        with self._log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "fairlead", "up"], stderr=out, cwd=folder)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [one for line in lines if line.startswith("{") and (one := json.loads(line))["event"] == name]

    async def port(self) -> int:
        ends = time.monotonic() + 60
        while not (found := self.events("ready")):
            if self.process.poll() is not None or time.monotonic() > ends:
                raise SystemExit(f"not ready: {self._log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)
        return int(str(found[0]["url"]).rpartition(":")[2])

    def kill_controller(self) -> bool:
        started = self.events("companion started")
        try:
            os.kill(int(started[-1]["pid"]), signal.SIGKILL)
        except (IndexError, ProcessLookupError):  # dead already: it waits for its next start
            return False
        return True

    async def fairlead(self, *words: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fairlead", *words), cwd=self._folder, stdout=subprocess.DEVNULL
        )
        if await process.wait():
            raise SystemExit(f"fairlead {' '.join(words)} failed")


class Watch:
    """Follows the rollouts in the state store, and makes the mishaps that were asked for."""

    def __init__(self, state: StateStore, up: Up, wire: Wire | None, options: argparse.Namespace) -> None:
        self.seen = Seen()
        self._state, self._up, self._wire, self._options = state, up, wire, options
        self._revision = (0, "")

    async def until(self, *, ended: bool = False, percent: float = -1.0) -> Rollout:
        """The newest rollout, once it has ended, or its split was that of ``percent`` for as long as a step is held."""
        ends = time.monotonic() + MOST_SECONDS
        while time.monotonic() < ends:
            rollout = await asyncio.to_thread(self._newest)
            await self._note(rollout)
            if rollout.ended:
                return rollout
            held = time.time() - rollout.entered_ms / 1000 > self._options.hold + REACH_SECONDS
            if not ended and rollout.weight == percent and not rollout.pending and held:
                return rollout
            await asyncio.sleep(0.05)
        raise SystemExit("the rollout did not end")

    def _newest(self) -> Rollout:
        return max((from_body(Rollout, one.body) for one in self._state.all("rollout")), key=lambda one: one.started_ms)

    async def _note(self, rollout: Rollout) -> None:
        if rollout.pending or self._revision == (rollout.revision, rollout.id):
            return
        self._revision = (rollout.revision, rollout.id)
        plan, over = rollout.plan, rollout.phase in ENDED
        percent = (100.0 if rollout.phase is Phase.DONE else 0.0) if over else rollout.weight
        self.seen.steps.append(Step(rollout.phase, plan.candidate, percent, rollout.entered_ms / 1000))
        if over:
            self.seen.ended[plan.candidate] = f"{rollout.phase}: {rollout.reason}".rstrip(": ")
        if self._options.kill and not over:
            self.seen.killed += self._up.kill_controller()
        if self._wire and rollout.phase is Phase.CANARY and rollout.step == 1 and not self.seen.silent:
            await asyncio.sleep(3)
            began = time.monotonic()
            await asyncio.to_thread(self._wire.cut)
            await asyncio.sleep(self._options.outage)
            await asyncio.to_thread(self._wire.mend)
            self.seen.silent = time.monotonic() - began


async def story(up: Up, callers: Callers, watch: Watch) -> int:
    """Both rollouts under traffic; the exit code of the server."""
    calling = asyncio.create_task(callers.run())
    await asyncio.sleep(3)
    await up.fairlead("rollout", "start", "w1", "--to", "2")
    first = await watch.until(ended=True)
    if first.phase is Phase.DONE:
        await up.fairlead("rollout", "start", "w1", "--to", "1", "--steps", "50,100", "--min-seconds", "600")
        await watch.until(percent=50.0)
        await up.fairlead("rollout", "abort", "w1", "--why", "the bench says so")
        await watch.until(ended=True)
    await asyncio.sleep(3)
    callers.stop()
    await calling
    up.process.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(up.process.wait, 40)


def shares(seen: Seen, answers: list[tuple[float, str]]) -> list[dict[str, Any]]:
    """For each step between two splits: what was asked for, what clients saw, and how long the former one lasted."""
    at = np.array([one for one, _ in answers])
    versions = np.array([version for _, version in answers])
    splits = [one for place, one in enumerate(seen.steps) if place == 0 or _new(one, seen.steps[place - 1])]
    found = []
    for place, step in enumerate(splits):
        until = splits[place + 1].at if place + 1 < len(splits) else float("inf")
        here = versions[(at > step.at + REACH_SECONDS) & (at < until)]
        if not len(here):
            continue
        asked, share = step.percent, 100 * float(np.mean(here == step.candidate))
        error = 100 * float(np.sqrt(asked / 100 * (1 - asked / 100) / len(here)))
        strangers = versions != step.candidate if asked == 100 else versions == step.candidate
        last = at[strangers & (at > step.at) & (at < until)] if asked in (0.0, 100.0) else at[:0]
        found.append(
            {
                "to": step.candidate,
                "phase": step.phase.value,
                "asked": asked,
                "seen": share,
                "calls": len(here),
                "error": error,
                "lasted_s": max(0.0, float(last.max()) - step.at) if len(last) else 0.0,
            }
        )
    return found


def _new(step: Step, before: Step) -> bool:
    return (step.candidate, step.percent) != (before.candidate, before.percent)


def kept(home: Path, state: StateStore, callers: Callers) -> dict[str, int]:
    """What the stores hold, beside what clients heard."""
    frame = plugins.load("fairlead.events", "parquet")(str(home / "events")).frame("w1")
    ids = set(frame["prediction_id"])
    windows = [one for one in state.windows("w1") if one.arm != "shadow"]
    labels = {one.label.key for one in state.labels("w1")}
    heard = callers.heard
    return {
        "calls": len(heard.ids),
        "events": len(ids),
        "events_of_no_call": len(ids - set(heard.ids)),
        "calls_in_windows": sum(one.calls for one in windows),
        "labels_acknowledged": len(heard.acknowledged),
        "acknowledged_labels_lost": len(heard.acknowledged - labels),
    }


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    bad = [f"{count} calls failed: {what}" for what, count in found["failed"].items()]
    bad += [
        f"{one['asked']:g} % asked for, {one['seen']:.2f} % seen"
        for one in found["shares"]
        if abs(one["seen"] - one["asked"]) > 4 * one["error"]
    ]
    ended = found["ended"]
    bad += [f"rollout of 2: {ended.get('2')}"] if not ended.get("2", "").startswith("done") else []
    bad += [f"rollout of 1: {ended.get('1')}"] if not ended.get("1", "").startswith("aborted") else []
    stored = found["kept"]
    bad += [
        f"{stored[name]} {name} of {stored['calls']} calls"
        for name in ("events", "calls_in_windows")
        if stored[name] != stored["calls"]
    ]
    bad += [f"{stored['acknowledged_labels_lost']} acknowledged labels lost"] * bool(stored["acknowledged_labels_lost"])
    return [*bad, *([f"exit code {found['exit_code']}"] * bool(found["exit_code"]))]


@contextmanager
def served(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Up, StateStore, Wire | None]]:
    """Two versions in a registry, and ``fairlead up`` on them."""
    home = folder / ".fairlead"
    url = options.state or f"sqlite:///{home / 'state.db'}"
    wire = None
    reached = url
    if options.outage:
        parts = urlsplit(url)
        wire = Wire(parts.hostname or "127.0.0.1", parts.port or 5432)
        login = parts.netloc.rpartition("@")[0]
        reached = parts._replace(netloc=f"{login}{'@' * bool(login)}127.0.0.1:{wire.port}").geturl()
    model = w1.make(folder)
    for words in (["--alias", "champion"], []):
        command = [sys.executable, "-m", "fairlead", "models", "log", str(model), "--name", "w1", *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    spec = SPEC.format(state=reached, workers=options.workers, steps=options.steps, hold=options.hold)
    (folder / "fairlead.yaml").write_text(spec)
    up = Up(folder)
    try:
        yield up, plugins.load("fairlead.state", "sql")(url), wire
    finally:
        if up.process.poll() is None:
            up.process.kill()
        if wire:
            wire.cut()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--hold", type=float, default=30.0)
    parser.add_argument("--steps", default="5,25,50,100")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--outage", type=float, default=0.0)
    parser.add_argument("--state", default="")
    options = parser.parse_args()
    if options.outage and not options.state.startswith("postgresql"):
        parser.error("--outage needs --state postgresql://...")
    with tempfile.TemporaryDirectory() as scratch, served(options, Path(scratch)) as (up, state, wire):
        found = measured(options, Path(scratch), up, state, wire)
    found["broken"] = broken(found)
    rig.save(f"rollout{'-kill' * options.kill}{'-outage' * bool(options.outage)}", found)
    print(json.dumps({name: value for name, value in found.items() if name != "shares"}, indent=1))
    print(table(found))
    return int(bool(found["broken"]))


def measured(options: argparse.Namespace, folder: Path, up: Up, state: StateStore, wire: Wire | None) -> dict[str, Any]:
    """The whole story, and what came of it."""

    async def told() -> tuple[Callers, Watch, int]:
        callers = Callers(
            await up.port(),
            fetch(folder / "v2.requests"),
            np.load(folder / "expected.npy"),
            rate=options.rate,
            connections=options.connections,
            label_every=5,
        )
        watch = Watch(state, up, wire, options)
        return callers, watch, await story(up, callers, watch)

    callers, watch, code = asyncio.run(told())
    heard, seen = callers.heard, watch.seen
    at = [one for one, _ in heard.answers]
    try:
        stored = kept(folder / ".fairlead", state, callers)
    except FairleadError as error:
        raise SystemExit(f"the stores cannot be read: {error}") from error
    return {
        "calls_a_second": round(len(at) / (max(at) - min(at)), 1),
        "failed": dict(heard.failed),
        "latency_ms": {f"p{q}": round(float(np.percentile(heard.late_ms, q)), 2) for q in (50, 99, 99.9)},
        "controllers_killed": seen.killed,
        "seconds_without_state": round(seen.silent, 1),
        "labels_refused": dict(heard.refused),
        "ended": seen.ended,
        "exit_code": code,
        "kept": stored,
        "shares": shares(seen, heard.answers),
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        [
            one["to"],
            one["phase"],
            f"{one['asked']:g} %",
            f"{one['seen']:.2f} %",
            f"{one['error']:.2f}",
            f"{one['calls']:,}",
            f"{one['lasted_s']:.2f} s" if one["asked"] in (0.0, 100.0) else "",
        ]
        for one in found["shares"]
    ]
    return rig.markdown(["version", "phase", "asked", "seen", "standard error", "calls", "others answered for"], rows)


if __name__ == "__main__":
    sys.exit(main())
