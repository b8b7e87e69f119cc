"""``fairlead deploy``."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.deploy_sources import Source, Wanted, gathered
from fairlead.cli.output import AsJson, HomeOption, emit, table
from fairlead.cli.render_kubernetes import Image, Insecure, Mesh, Scaler
from fairlead.cli.targets import ConfigOption, ContextOption, NamespaceOption
from fairlead.cli.times import utc
from fairlead.cli.unwinding import hearing
from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.contracts.target import Where
from fairlead.kit import ids
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate.deploy import history, planning
from fairlead.orchestrate.deploy.journal import plain
from fairlead.orchestrate.deploy.planning import Plan
from fairlead.orchestrate.deploy.run import TIMEOUT, Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.wiring import deploying
from fairlead.wiring.deploying import Deployed

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        help="A spec, files of objects, or folders of them.", show_default="fairlead.yaml if there is one, else k8s"
    ),
]
Name = Annotated[
    str, typer.Option(help="Name of the deployment.", show_default="project, or label app.kubernetes.io/part-of")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "--diff", help="Show what would change, and change nothing.")]
Timeout = Annotated[
    float, typer.Option(help="Seconds until all must be ready; then what was there is put back.", min=1, max=86_400)
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Take away what this deployment made and the files no longer have.")
]
Adopt = Annotated[
    bool, typer.Option("--adopt", help="Take over objects that this deployment did not make, and fields set by others.")
]
Rollback = Annotated[
    bool,
    typer.Option(
        "--rollback", help="Go back to the deployment before the last that was ready; undo one that was interrupted."
    ),
]
To = Annotated[int, typer.Option(min=0, help="With --rollback: the revision to go back to.", show_default="previous")]
Listed = Annotated[bool, typer.Option("--history", help="List the deployments that one can go back to.")]
TargetOption = Annotated[str, typer.Option(help="What runs the objects: kubernetes.")]


def deploy(
    files: Files = None,
    target: TargetOption = "kubernetes",
    name: Name = "",
    namespace: NamespaceOption = "",
    image: Image = "",
    scaler: Scaler = "hpa",
    mesh: Mesh = "",
    insecure: Insecure = False,
    dry_run: DryRun = False,
    timeout: Timeout = TIMEOUT,
    prune: Prune = False,
    adopt: Adopt = False,
    rollback: Rollback = False,
    to: To = 0,
    listed: Listed = False,
    kubeconfig: ConfigOption = None,
    context: ContextOption = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Apply a spec's objects in order, wait until they are ready, and put back what was there when that does not come.

    Exit code 0: all is ready (with --dry-run: it was asked). 1: it is not, or was not applied. 2: wrong use.
    """
    if to and not rollback:
        raise UsageError("--to is a revision to go back to; give --rollback")
    if listed and (rollback or dry_run or prune):
        raise UsageError("--history lists and changes nothing; leave the other flags out")
    source = gathered(files or (), Wanted(target, name, namespace, image, scaler, mesh, insecure, home))
    where = Where(source.namespace, kubeconfig, context)
    there = deploying.target(target, where)
    looks = listed or (dry_run and not rollback)
    asked = Asked(source.name, timeout, prune or rollback, adopt, _said(where), looks)
    try:
        with _stoppable() as stopped:
            around = _around(stopped, f"{source.home.user}@{socket.gethostname()}")
            one = _One(source, target, Deployment(there, asked, around), asked, dry_run, as_json)
            one.tell() if listed else one.back(to) if rollback else one.forward()
    finally:
        there.close()


@dataclass(frozen=True, slots=True)
class _One:
    """One call of the command."""

    source: Source
    target: str
    work: Deployment
    asked: Asked
    dry_run: bool
    as_json: bool

    def forward(self) -> None:
        known = Deployed("deploy", self.asked.owner, self.target, self.source.namespace)
        with self._noted(known) as note:
            self._run(self.work.plan(self.source.bodies), note)

    def back(self, to: int) -> None:
        self.work.open()
        known = Deployed("deploy.rollback", self.asked.owner, self.target, self.source.namespace)
        if not self.work.interrupted or to:
            with self._noted(known) as note:
                revision, plan = self.work.earlier(to)
                note[0] = replace(note[0], back_to=revision.number)
                self._run(plan, note, revision.number)
            return
        if self.dry_run:
            raise UsageError("a deployment was interrupted, and is undone as a whole; leave --dry-run out")
        with self._noted(replace(known, act="deploy.undo")) as note:
            back = [plain(ref) for ref in self.work.undo()]
            note[0] = replace(note[0], changed=len(back))
            done = {"deployment": self.asked.owner, "restored": back}
            emit(done, f"{self.asked.owner}: rolled back what was interrupted", self.as_json)

    def tell(self) -> None:
        found = [history.plain(one) for one in self.work.open().history.revisions]
        rows = [
            {**one, "at": utc(one["at_ms"]),
             "digest": one["digest"][:12], "back to": one["back_to"] or ""}
            for one in found
        ]  # fmt: skip
        columns = ["revision", "at", "who", "objects", "digest", "back to"]
        emit(found, table(rows, columns, f"{self.asked.owner} was not deployed here"), self.as_json)

    def _run(self, plan: Plan, note: list[Deployed], back_to: int = 0) -> None:
        prune, owner = self.asked.prune, self.asked.owner
        said = {"deployment": owner, "target": self.target, "changes": planning.document(plan, prune=prune)}
        lines = planning.lines(plan, prune=prune)
        if self.dry_run:
            emit(said, "\n".join(lines), self.as_json)
            return
        for line in lines:
            _tell(line)
        note[0] = replace(note[0], digest=history.digest(plan.bodies))
        done = self.work.run(plan, back_to)
        note[0] = replace(note[0], changed=len(done.changed), removed=len(done.pruned), revision=done.revision)
        emit({**said, **_outcome(done)}, _sentence(owner, done, back_to), self.as_json)

    @contextmanager
    def _noted(self, known: Deployed) -> Iterator[list[Deployed]]:
        """What came of it is written down, whatever that is. Yields the one entry, to be filled."""
        note = [known]
        try:
            yield note
        except FairleadError as error:
            note[0] = replace(note[0], outcome=error.code, why=str(error))
            raise
        except KeyboardInterrupt:
            note[0] = replace(note[0], outcome="interrupted", why=f"ended by hand; to undo it: {self.asked.undoing}")
            raise
        finally:
            if not self.dry_run:
                served = deploying.endpoints(self.source.bodies)
                deploying.written(self.source.home, note[0], served, _tell, self.source.apart)


def _said(where: Where) -> str:
    """As options."""
    given = {"--namespace": where.namespace, "--kubeconfig": where.config or "", "--context": where.context}
    return " ".join(f"{flag} {shlex.quote(str(value))}" for flag, value in given.items() if value)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Set by Ctrl-C, SIGTERM and SIGHUP: then what was begun is put back. The second one ends at once."""
    stopped = threading.Event()

    def stop(*_: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    with hearing(stop):
        yield stopped


def _around(stopped: threading.Event, who: str) -> Surroundings:
    holder = f"{socket.gethostname()}:{os.getpid()}:{ids.request_id()}"
    return Surroundings(SystemClock(), lambda seconds: _waited(stopped, seconds), _tell, stopped.is_set, holder, who)


def _waited(stopped: threading.Event, seconds: float) -> None:
    """Also once it is set: what is put back then is tried again at the same pace."""
    if stopped.is_set():
        time.sleep(seconds)
    else:
        stopped.wait(seconds)


def _tell(line: str) -> None:
    """Progress goes beside the answer; that nobody reads it any more (``| head``) ends no deployment half-way."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "ready": True,
        "changed": len(outcome.changed),
        "removed": [plain(ref) for ref in outcome.pruned],
        "seconds": round(outcome.seconds, 3),
        "revision": outcome.revision,
        "digest": outcome.digest,
    }


def _sentence(owner: str, outcome: Outcome, back_to: int) -> str:
    changed = f"{len(outcome.changed)} changed" if outcome.changed else "nothing changed"
    removed = f", {len(outcome.pruned)} removed" if outcome.pruned else ""
    back = f"back at revision {back_to}, " if back_to else ""
    return f"{owner}: {back}{changed}{removed}; all ready after {outcome.seconds:.1f} s (revision {outcome.revision})"
