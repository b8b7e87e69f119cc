"""``fairlead up``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fairlead.cli import running
from fairlead.cli.companions import Command, Companions, fairlead
from fairlead.cli.output import (
    DONE,
    AccessOption,
    ArmOption,
    HomeOption,
    InsecureOption,
    LogLevelOption,
    TrackingOption,
    emit,
)
from fairlead.contracts.errors import FairleadError, MissingExtra
from fairlead.kit import log, plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Spec
from fairlead.serve.messages import Failed, raised
from fairlead.serve.server import Server
from fairlead.serve.supervisor import Endpoints, Supervisor
from fairlead.wiring import presence, serving, specs, watching


def up(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The spec file; `fairlead init` prints one.")] = Path(
        "fairlead.yaml"
    ),
    home: HomeOption = None,
    tracking: TrackingOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the spec and stop; exit code 0 when it can be served.")
    ] = False,
    access: AccessOption = None,
    insecure: InsecureOption = False,
    arm: ArmOption = "",
    controller: Annotated[
        bool, typer.Option("--controller/--no-controller", help="Keep a controller beside the server.")
    ] = True,
    log_level: LogLevelOption = "info",
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one JSON document: where is what.")
    ] = False,
    beside: Annotated[bool, typer.Option(hidden=True)] = False,
    worker_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Serve every endpoint of a spec, and keep beside the server what the spec needs. Ctrl-C or SIGTERM ends it all."""
    level = running.level_of(log_level)

    def planned(**always: str) -> tuple[SpecFile, serving.Plan]:
        file = specs.read(spec)
        if file.spec.project:
            log.configure(None, level, None, project=file.spec.project, **always)
        found = specs.plan(file.spec, specs.home(file.spec, home, tracking), file, access, insecure)
        return file, replace(found, arm=arm)

    if worker_of:
        running.work(lambda: planned(worker=worker_of.partition(":")[0])[1], level, worker_of)
        return
    log.configure(level=level)
    running.check_driver()
    if beside:  # end with the process that started it, however that ends
        running.when_alone(lambda: os.kill(os.getpid(), signal.SIGTERM))
    file, plan = planned()
    if check:
        specs.check(file)
        names = list(file.spec.endpoints)
        emit({"spec": str(spec), "endpoints": names}, f"{spec} can be served: {', '.join(names)}", as_json)
        return
    if specs.loops(file):
        _check_apart(spec, access, insecure)
    if not plan.record:
        why = "the spec says so" if file.spec.record is False else "pip install 'fairlead[events,registry]'"
        logging.getLogger("fairlead.cli").info("not recording", extra={"fields": {"why": why}})
    alone = not controller or bool(arm)  # an arm's controller knows the route in front
    alone = alone or not plan.record or not watching.has_loop()
    company = [] if alone else [_controller(spec, home, tracking)]
    company += _console(file.spec, spec, home, tracking, asks=plan.access is not None)
    cert = plan.settings.tls_cert and str(Path(plan.settings.tls_cert).absolute())
    with presence.claimed(plan.home, str(spec.absolute()), cert) as tell:
        running.run(serve(plan, company, tell, as_json))


def _console(spec: Spec, path: Path, home: Path | None, tracking: str | None, *, asks: bool) -> list[Command]:
    """The console, where it has a port of its own. Raises MissingExtra."""
    port = spec.console.port
    if port is None:
        return []
    if not plugins.installed("jinja2"):
        raise MissingExtra("console.port asks for the console, which needs jinja2: pip install 'fairlead[console]'")
    words = ["console", str(path), "--beside", "--host", spec.console.host, "--port", str(port)]
    words += ["--access"] if asks else []
    for option, value in (("--home", home), ("--tracking", tracking)):
        words += [option, str(value)] if value else []
    return [fairlead(*words)]


def _controller(spec: Path, home: Path | None, tracking: str | None) -> Command:
    words = ["controller", str(spec), "--beside"]
    for option, value in (("--home", home), ("--tracking", tracking)):
        words += [option, str(value)] if value else []
    return fairlead(*words)


def _check_apart(spec: Path, access: bool | None, insecure: bool) -> None:
    """Check what needs heavy libraries in a process that ends: the server keeps its size. Raises its error."""
    flags = [] if access is None else ["--access" if access else "--no-access"]
    flags += ["--insecure"] if insecure else []
    words = fairlead("up", str(spec), *flags, "--check", "--json").words
    ended = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    if ended.returncode == DONE:
        return
    try:
        said = msgspec.json.decode(ended.stdout, type=_Said)
    except msgspec.DecodeError:
        raise FairleadError(f"{spec} could not be checked: {ended.stderr.strip()[-300:]}") from None
    raise raised(Failed(said.code, said.error))


class _Said(msgspec.Struct):
    """The error document of a command of ours."""

    error: str
    code: str


async def serve(plan: serving.Plan, beside: Sequence[Command], tell: Callable[[str], None], as_json: bool) -> None:
    """The server, and from when it is ready its companions; to the end of both. ``tell``: gets the URL."""
    company = Companions(beside, SystemClock())

    def ready(port: int, endpoints: Endpoints) -> None:
        tell(plan.settings.url(port))
        running.announce(plan.settings, as_json, port, endpoints, console=plan.console)
        company.start()

    server: Server | Supervisor
    if plan.settings.workers > 1:
        server = serving.supervisor(plan.settings, running.worker_command("up"), ready)
    else:
        server = serving.server(plan, lambda port, catalog: ready(port, catalog.named()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.stop)  # a terminal that closes
    try:
        await server.run()
    finally:
        await company.stop()
