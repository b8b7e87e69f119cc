"""The story that `fairlead demo --loop` tells: a model decays on a stream, heals itself, and two mishaps are stopped.

Everything runs as it would for a user: `fairlead up` and `fairlead retrain` are processes of their own, and the story
only sends traffic, looks at the timeline, and plays the two people who make mistakes.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.plans import Happening
from fairlead.demo import mishaps, scores
from fairlead.demo.flow import Flow
from fairlead.demo.stream import Stream
from fairlead.kit.config import Home, variables
from fairlead.monitor import timeline
from fairlead.orchestrate import commands
from fairlead.orchestrate.rollout import Phase
from fairlead.retrain import requests
from fairlead.retrain.triggers import UNDER_WAY
from fairlead.wiring import stores

Say = Callable[[str], None]

SPEC = """\
# What the demo runs; `fairlead up` serves it again.
project: demo
server: {{port: {port}}}
endpoints:
  {name}:
    model: models:/{name}@champion
    record: {{window_seconds: 1}}
    slo: {{availability: 0.999, latency_ms: 250}}
    monitor: {{window: 2, labels: {{delay: {delay}, metric: accuracy}}}}
    rollout:
      shadow: 30
      gates: [{{name: error_rate, margin: 0.02}}, {{name: latency_p90, margin: 2}}]
      min_seconds: 2
      settle_seconds: 1
      max_seconds: 90
    retrain: {{pipeline: {pipeline}, on: [performance], cooldown: 5}}
"""

RATE = 700.0
"""Rows a second."""
LABEL_SECONDS = 4.0
"""Labels come so late, and half a second more is what the spec calls their delay."""
SHARE = 0.85
"""Of the stream, before the healed model answers the rest."""
STEP, STEP_SECONDS, MOST = 0.03, 12.0, 0.97
"""Where no challenger has won by then: so much more of the stream, so often, and no further than this."""
_READY_SECONDS, _PHASE_SECONDS = 60.0, 240.0
_TRIES = 3


@dataclass(slots=True)
class Told:
    """The result, as ``--json`` prints it. ``auc``: before the drift, and after it without and with the loop."""

    name: str
    rows: int
    auc: dict[str, float | None] = field(default_factory=dict)
    champion: str = ""
    rolled_back: str = ""
    blocked: str = ""
    calls: int = 0
    failed: int = 0
    seconds: float = 0.0
    home: str = ""


class LoopStory:
    """Tells it once. ``home``: emptied first; what happened can be looked at there afterwards."""

    def __init__(self, home: Home, stream: Stream, host: str, port: int, say: Say) -> None:
        self._home, self._stream, self._say = home, stream, say
        self._host, self._port = host, port or _free_port(host)
        self._spec = home.root / "fairlead.yaml"
        self._shown = 0
        self._began = time.monotonic()
        self.told = Told(stream.name, len(stream.label), home=str(home.root))

    def tell(self, *, leave: bool, told: Callable[[], None]) -> None:
        """The whole story. ``told``: called when it has ended well.  ``leave``: do not serve on.

        Raises FairleadError where it does not go as it must.
        """
        self._prepare()
        stream, name = self._stream, self._stream.name
        self._say(f"\n  {len(stream.label)} rows in order of time; a champion is trained on the first {stream.third}.")
        self._first_champion()
        with self._up():
            flow = Flow(self._host, self._port, name, stream, delay=LABEL_SECONDS, rate=RATE)
            flow.start()
            try:
                self._decay_and_heal(flow)
                self._bad_challenger()
                self._poison(flow)
            finally:
                flow.stop()
            self._sum_up(flow)
            told()
            if not leave:
                self._say(f"\n  Serving at http://{self._host}:{self._port}/console until Ctrl-C.")
                signal.pause()

    def _prepare(self) -> None:
        root = self._home.root
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        history = self._stream.features[: self._stream.third].copy()
        history["label"] = self._stream.label[: self._stream.third]
        history["at_ms"] = range(self._stream.third)
        history.to_csv(root / "history.csv", index=False)
        pipeline = Path(__file__).with_name("pipeline.py")
        self._spec.write_text(
            SPEC.format(port=self._port, name=self._stream.name, pipeline=pipeline, delay=LABEL_SECONDS + 0.5)
        )

    def _first_champion(self) -> None:
        ran = self._run("retrain", self._stream.name, "--why", "the first version")
        if ran.returncode:
            raise FairleadError(f"the first champion could not be trained: {_last(ran.stdout + ran.stderr)}")
        self._news()

    @contextmanager
    def _up(self) -> Iterator[None]:
        with (self._home.root / "up.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [*_FAIRLEAD, "up", str(self._spec), "--home", str(self._home.root), "--beside"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
            )
            try:
                self._await_ready(process)
                yield
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + _READY_SECONDS
        while time.monotonic() < ends:
            if process.poll() is not None:
                raise FairleadError(f"the server ended: {_last((self._home.root / 'up.log').read_text())}")
            link = http.client.HTTPConnection(self._host, self._port, timeout=5)
            try:
                link.request("GET", "/readyz")
                if link.getresponse().status == http.client.OK:
                    return
            except OSError:
                pass
            finally:
                link.close()
            time.sleep(0.1)
        raise FairleadError(f"the server is not ready after {_READY_SECONDS:g} s; see {self._home.root / 'up.log'}")

    def _decay_and_heal(self, flow: Flow) -> None:
        rows = len(self._stream.label)
        known = f"; from row {self._stream.drift} on it is another world" if self._stream.drift else ""
        self._say(f"\n  The stream goes on, labels {LABEL_SECONDS:g} s behind{known}.")
        flow.go(int(rows * SHARE))
        self._until("a healed champion", lambda: self._healed(flow))
        self.told.champion = self._champion()
        self._say(f"\n  Version {self.told.champion} serves. The rest of the stream is its.")
        flow.go(rows)
        self._until("the end of the stream", lambda: flow.position >= rows and not self._busy())
        self.told.champion = self._champion()

    def _healed(self, flow: Flow) -> bool:
        """Whether another champion serves. While none does, and nothing is under way, the stream goes on a little."""
        if self._champion() not in ("", "1") and not self._rolling():
            return True
        rows = len(self._stream.label)
        if flow.rested >= STEP_SECONDS and flow.position < rows * MOST and not self._busy():
            flow.go(flow.position + int(rows * STEP))
        return False

    def _bad_challenger(self) -> None:
        made = mishaps.bad_challenger(self._home, self._stream)
        self._say(f"\n  Somebody rolls version {made} out past the gate: slow, and wrong for a slice.")
        ran = self._run("rollout", "start", self._stream.name, "--to", made, "--shadow", "0")
        if ran.returncode:
            raise FairleadError(f"the rollout did not start: {_last(ran.stdout + ran.stderr)}")
        self._until("its rollback", lambda: not self._rolling())
        last = commands.rollouts(stores.state(self._home))[0]
        if last.plan.candidate != made or last.phase is not Phase.ABORTED:
            raise FairleadError(f"version {made} was not rolled back: its rollout is {last.phase.value}")
        self.told.rolled_back = made

    def _poison(self, flow: Flow) -> None:
        self._until("the end of what is under way", lambda: not self._busy())
        flipped = mishaps.flip_labels(self._home, self._stream, flow.identities())
        self._say(f"\n  A broken join turns {flipped} labels upside down, and the nightly retraining comes.")
        before = len(self._blocked())
        for _ in range(_TRIES):
            ran = self._run("retrain", self._stream.name, "--why", "nightly")
            self._until("its end", lambda: not self._busy())  # or that of one that an alarm asked for: the same labels
            if len(self._blocked()) > before:
                self.told.blocked = self._blocked()[-1].text
                return
        raise FairleadError(f"the poisoned retraining was not blocked: {_last(ran.stdout + ran.stderr)}")

    def _blocked(self) -> list[Happening]:
        return [one for one in timeline.read(stores.state(self._home), self._stream.name) if one.what == "data"]

    def _sum_up(self, flow: Flow) -> None:
        seen, told = flow.seen, self.told
        told.calls, told.failed = seen.calls, seen.failed
        told.seconds = round(time.monotonic() - self._began, 1)
        told.auc = scores.summary(self._home, self._stream, seen.scores, seen.versions)
        if seen.failed:
            raise FairleadError(f"{seen.failed} of {seen.calls} calls failed; the first: {seen.first_failure}")
        said = {name: "-" if value is None else f"{value:.3f}" for name, value in told.auc.items()}
        self._say(
            f"\n  ROC AUC: before {said['before']}; after without the loop {said['without']}, with it {said['with']}\n"
            f"  {told.calls} calls, {told.failed} failed, {told.seconds:.0f} s\n"
            f"  fairlead timeline {told.name} --home {told.home}"
        )

    def _until(self, what: str, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + _PHASE_SECONDS
        while not done():
            self._news()
            if time.monotonic() > ends:
                raise FairleadError(
                    f"{what} did not come within {_PHASE_SECONDS:g} s; see {self._home.root / 'up.log'}"
                )
            time.sleep(0.25)
        self._news()

    def _news(self) -> None:
        """Show what was added to the timeline."""
        lines = timeline.read(stores.state(self._home), self._stream.name)
        for line in lines[self._shown :]:
            self._say(_shown(line, time.monotonic() - self._began))
        self._shown = len(lines)

    def _champion(self) -> str:
        return stores.moves(self._home).current(self._stream.name, "champion")

    def _busy(self) -> bool:
        """Whether another retraining or rollout is under way: a stream may change more than once."""
        known = requests.every(stores.state(self._home), self._stream.name)
        return self._rolling() or any(one.status in UNDER_WAY for one in known)

    def _rolling(self) -> bool:
        found = stores.state(self._home).get("rollout-of", self._stream.name)
        return bool(found and found.body.get("rollout"))

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*_FAIRLEAD, *words, "--spec", str(self._spec), "--home", str(self._home.root)]
        return subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, env=self._environment()
        )

    def _environment(self) -> dict[str, str]:
        """That of this process, without what would point the children at other stores."""
        kept = variables().items()
        return {name: value for name, value in kept if not name.startswith(("FAIRLEAD_", "MLFLOW_"))}


_FAIRLEAD = [sys.executable, "-P", "-m", "fairlead"]


def _shown(line: Happening, seconds: float) -> str:
    text = line.text if len(line.text) <= 200 else f"{line.text[:197]}..."
    return f"  {seconds:5.1f} s  {line.what:<12} {text}"


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
