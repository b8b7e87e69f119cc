"""``fairlead console``."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
import typer

from fairlead.cli import running
from fairlead.cli.output import AccessOption, HomeOption, LogLevelOption, TrackingOption, emit
from fairlead.cli.where import spec_path
from fairlead.contracts.errors import AddressInUse, MissingExtra, UsageError
from fairlead.kit import log, plugins
from fairlead.kit.config import Home
from fairlead.kit.config import home as read_home
from fairlead.kit.hosts import loopback
from fairlead.kit.spec import read as files
from fairlead.wiring import specs, specs_ledger
from fairlead.wiring.console.hosting import serve
from fairlead.wiring.console.kept import Kept, warm
from fairlead.wiring.consoling import Wanted

PORT: Final = 8082
OPENING: Final = "fairlead.wiring.console.opening:application"
"""Loaded when it is known that its libraries are there: it stands on jinja2, and pages on scipy."""
_log = logging.getLogger("fairlead.console")


def console(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help="The spec file; without it, fairlead.yaml if there is one.")
    ] = None,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    state: Annotated[str | None, typer.Option(help="URL of the state store.", show_default="SQLite in --home")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = PORT,
    server: Annotated[
        str, typer.Option(help="URL of the server on which models are tried.", show_default="the one that runs here")
    ] = "",
    access: AccessOption = None,
    log_level: LogLevelOption = "info",
    as_json: Annotated[bool, typer.Option("--json", help="When ready, print one JSON document: where it is.")] = False,
    beside: Annotated[bool, typer.Option(hidden=True)] = False,
    socket_path: Annotated[str, typer.Option("--socket", hidden=True)] = "",
) -> None:
    """Show the stores in a browser: endpoints, drift, rollouts, timeline, language models, access."""
    log.configure(level=running.level_of(log_level))
    if not plugins.installed("jinja2"):
        raise MissingExtra("the console needs jinja2: pip install 'fairlead[console]'")
    if socket_path:
        kept, asks = _told(sys.stdin.buffer.readline())
    else:
        kept, asks = _kept(spec, home, tracking, state, server), access or not loopback(host)
        if access is False and asks:
            raise UsageError(f"other machines reach host {host}, so visitors must show a key; leave --no-access out")
    if beside or socket_path:  # end with the server that started it, however that ends
        running.when_alone(lambda: os.kill(os.getpid(), signal.SIGTERM))
    app = plugins.attribute(OPENING)(kept, asks=asks)
    listener = _listener(host, port, socket_path)
    warm(kept)
    running.run(serve(app, listener, functools.partial(_announce, host, as_json)))


def _told(line: bytes) -> tuple[Kept, bool]:
    """What the server says that started this process."""
    wanted = msgspec.json.decode(line, type=Wanted)
    home = Home(Path(wanted.root), wanted.tracking, wanted.state, wanted.user, wanted.events)
    more = (wanted.chats, wanted.budgets, wanted.audit_key)
    return Kept(home, wanted.names, wanted.server, wanted.cert, *more), wanted.asks


def _announce(host: str, as_json: bool, port: int) -> None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/console"
    _log.info("ready", extra={"fields": {"url": url}})
    if as_json:
        emit({"url": url}, "", as_json)
    elif sys.stderr.isatty():
        sys.stderr.write(f"\n  {url}    Ctrl-C stops\n\n")


def _kept(spec: Path | None, home: Path | None, tracking: str | None, state: str | None, server: str) -> Kept:
    if server and not _is_url(server):
        raise UsageError(f"--server is {server[:200]!r}; expected the URL of a server, as http://127.0.0.1:8080")
    path = spec_path(spec)
    asked = files.read(path).spec if path else None
    where = specs.home(asked, home, tracking) if asked else read_home(home, tracking)
    if state:
        where = Home(where.root, where.tracking, state, where.user, where.events)
    if asked is None:
        return Kept(where, (), server)
    chats = any(one.speaks for one in asked.endpoints.values())
    budgets = specs_ledger.ledgering(asked).budgets
    return Kept(where, tuple(asked.endpoints), server, "", chats, budgets, asked.audit.key)


def _is_url(text: str) -> bool:
    try:
        found = urlsplit(text)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        return False


def _listener(host: str, port: int, path: str) -> socket.socket:
    """A bound socket: TCP, or a file that the user of this process alone can open. Raises AddressInUse."""
    if path:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        before = os.umask(0o177)
        try:
            made.bind(path)
        finally:
            os.umask(before)
        return made
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise AddressInUse(f"{host}:{port} cannot be taken ({error.strerror}); choose another with --port") from None
    return made
