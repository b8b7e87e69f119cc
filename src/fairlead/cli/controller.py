"""``fairlead controller``."""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli import running
from fairlead.cli.output import HomeOption, TrackingOption
from fairlead.cli.spec import asked
from fairlead.cli.targets import ConfigOption, ContextOption, NamespaceOption
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.target import Where
from fairlead.kit import ids, log
from fairlead.kit.beat import TURN, Beat
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate.routing import Routing
from fairlead.wiring import deploying
from fairlead.wiring.loop import Loop
from fairlead.wiring.runs import Runs
from fairlead.wiring.stores import events, moves, state
from fairlead.wiring.watching import has_events

TICK_SECONDS = 0.5
ASK_SECONDS = 3.0
"""For one question to the target: less than a lease."""
_log = logging.getLogger("fairlead.controller")


def controller(
    spec: Annotated[Path | None, typer.Argument(help="The spec; without one, every registered champion.")] = None,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    target: Annotated[
        str, typer.Option(help="Where routes share out the calls of rollouts: kubernetes.", show_default="nowhere")
    ] = "",
    namespace: NamespaceOption = "",
    kubeconfig: ConfigOption = None,
    context: ContextOption = "",
    lease_seconds: Annotated[
        float, typer.Option(help="Another controller takes over after so long.", min=1, max=3600)
    ] = 10.0,
    beside: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Carry rollouts on, watch endpoints, retrain when it is asked for. `fairlead up` starts one.

    Several may run on one state store, on several machines: one leads, the others wait for its lease to end.
    """
    log.configure(level=logging.INFO)
    known = asked(spec, home, tracking)
    place = known.home
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if beside:  # end with the server that started it, however that ends
        running.when_alone(stopped.set)
    there = deploying.target(target, Where(namespace, kubeconfig, context, ASK_SECONDS, 1)) if target else None
    clock = SystemClock()
    beat = Beat(place.root / TURN, clock.now)
    loop = Loop(
        state(place),
        events(place) if has_events() else None,
        known.every(),
        moves=moves(place),
        runs=Runs(functools.partial(_retrain, spec, home, tracking), place.root / "runs"),
        clock=clock,
        owner=f"{socket.gethostname()}:{os.getpid()}:{ids.request_id()}",
        lease_seconds=lease_seconds,
        routing=Routing(state(place), there, clock) if there else None,
        budgeted=known.budgeted(),
        beat=beat,
    )
    _carry_on(loop, stopped, beat)
    try:
        loop.close()
    except FairleadError as error:
        _log.warning("the lease was not given back", extra={"fields": {"error": str(error)}})


def _carry_on(loop: Loop, stopped: threading.Event, beat: Beat) -> None:
    """Turn after turn until ``stopped``; one in which a store is away is a turn, too."""
    leads, down = None, ""
    while not stopped.is_set():
        beat()
        try:
            now = loop.tick()
            if now is not leads:
                _log.info("leading" if now else "waiting for the lease of another controller")
            leads, down = now, ""
        except FairleadError as error:
            if str(error) != down:
                _log.warning("nothing is decided meanwhile", extra={"fields": {"error": str(error)}})
            down = str(error)
        stopped.wait(TICK_SECONDS)


def _retrain(spec: Path | None, home: Path | None, tracking: str | None, endpoint: str, request: str) -> list[str]:
    words = [sys.executable, "-P", "-m", "fairlead", "retrain", endpoint, "--request", request]
    for option, value in (("--spec", spec), ("--home", home), ("--tracking", tracking)):
        words += [option, str(value)] if value else []
    return words
