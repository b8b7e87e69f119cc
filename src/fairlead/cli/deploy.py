"""``fairlead deploy``."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, emit
from fairlead.cli.targets import ConfigOption, ContextOption, NamespaceOption
from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Where
from fairlead.kit import ids
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate.deploy import objects, planning
from fairlead.orchestrate.deploy.journal import plain
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome, Surroundings
from fairlead.wiring import deploying


def deploy(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of objects, or folders of them.", show_default="k8s")
    ] = None,
    target: Annotated[str, typer.Option(help="What runs the objects: kubernetes.")] = "kubernetes",
    name: Annotated[
        str, typer.Option(help="Name of the deployment.", show_default="label app.kubernetes.io/part-of")
    ] = "",
    namespace: NamespaceOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds until all must be ready; then what was there is put back.", min=1, max=86_400)
    ] = 300.0,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take away what this deployment made and the files no longer have.")
    ] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over objects that this deployment did not make.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put back what was there before a deployment that was interrupted.")
    ] = False,
    kubeconfig: ConfigOption = None,
    context: ContextOption = "",
    as_json: AsJson = False,
) -> None:
    """Apply objects in order, wait until they are ready, and put back what was there when that does not come.

    Exit code 0: all is ready (with --dry-run: it was asked). 1: it is not, or was not applied. 2: wrong use.
    """
    if rollback and (files or dry_run or not name):
        raise UsageError("--rollback goes by --name alone; leave files and --dry-run out")
    bodies = [] if rollback else objects.read(files or [Path("k8s")])
    asked = Asked(name if rollback else deploying.owner(name, bodies), timeout, prune, adopt)
    there = deploying.target(target, Where(namespace, kubeconfig, context))
    with _stoppable() as stopped:
        work = Deployment(there, asked, _around(stopped))
        if rollback:
            back = work.rollback()
            emit(
                {"deployment": asked.owner, "restored": [plain(ref) for ref in back]},
                f"{asked.owner}: rolled back",
                as_json,
            )
            return
        plan = work.plan(bodies)
        said = {"deployment": asked.owner, "target": target, "changes": planning.document(plan, prune=prune)}
        if dry_run:
            emit(said, "\n".join(planning.lines(plan, prune=prune)), as_json)
            return
        for line in planning.lines(plan, prune=prune):
            _tell(line)
        outcome = work.run(plan)
    emit({**said, **_outcome(outcome)}, _sentence(asked.owner, outcome), as_json)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM: then what was begun is put back."""
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _around(stopped: threading.Event) -> Surroundings:
    holder = f"{socket.gethostname()}:{os.getpid()}:{ids.request_id()}"
    return Surroundings(SystemClock(), lambda seconds: _waited(stopped, seconds), _tell, stopped.is_set, holder)


def _waited(stopped: threading.Event, seconds: float) -> None:
    stopped.wait(seconds)


def _tell(line: str) -> None:
    """Progress goes beside the answer."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "ready": True,
        "changed": len(outcome.changed),
        "removed": [plain(ref) for ref in outcome.pruned],
        "seconds": round(outcome.seconds, 3),
    }


def _sentence(owner: str, outcome: Outcome) -> str:
    changed = f"{len(outcome.changed)} changed" if outcome.changed else "nothing changed"
    removed = f", {len(outcome.pruned)} removed" if outcome.pruned else ""
    return f"{owner}: {changed}{removed}; all ready after {outcome.seconds:.1f} s"
