"""What of a spec this machine must have: secrets, certificates, ports, room, libraries, a GPU, a container tool."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import ContainerFailed, FairleadError, UsageError
from fairlead.kit import config, cuda, plugins, secrets
from fairlead.kit.config import Home
from fairlead.kit.spec.read import SpecFile
from fairlead.package.doctor import Finding, Level
from fairlead.serve import tls
from fairlead.serve.certificate import validity
from fairlead.serve.renewal import ending
from fairlead.wiring import images, mentions, presence, specs_server, watching
from fairlead.wiring.llm import engines

_DAY: Final = 86_400.0
_LEAST: Final = 256 * 2**20
_LITTLE: Final = 2 * 2**30
"""Bytes that are free: below the first stores soon cannot write, below the second a download may not fit."""
_INSIDE: Final = re.compile(r"\$\{([^{}]*)\}")
_GPU: Final = frozenset({"cuda", "tensorrt"})


def references(file: SpecFile) -> Iterator[Finding]:
    """Every secret that the spec refers to, once. What it is, is never told."""
    seen: dict[str, str] = {}
    for path, text in mentions.texts(file.spec.model_dump(mode="json", exclude_unset=True)):
        whole = [text] if not mentions.fits(path, mentions.MODEL) and _refers(text) else []
        for reference in (*whole, *_INSIDE.findall(text)):
            seen.setdefault(reference, file.at(*path))
    for reference, where in seen.items():
        try:
            secrets.secret(reference)
        except FairleadError as error:
            yield Finding(Level.FAIL, "secret", f"{where}: {error}")
        else:
            yield Finding(Level.OK, "secret", f"{where}: {reference} is there")


def _refers(text: str) -> bool:
    try:
        secrets.split(text)
    except UsageError:
        return False
    return True


def certificate(file: SpecFile) -> Iterator[Finding]:
    settings = specs_server.server(file.spec, insecure=True)
    if not settings.tls_cert:
        return
    where = file.at("server", "tls")
    try:
        tls.options(settings)
        for path in filter(None, (settings.tls_cert, settings.tls_client_ca)):
            yield _valid(f"{where}: {path}", path, time.time())
    except (UsageError, ValueError, OSError) as error:
        yield Finding(Level.FAIL, "certificate", f"{where}: {error}")


def _valid(told: str, path: str, now: float) -> Finding:
    found = validity(path)
    if found.since > now:
        hours = (found.since - now) / 3600
        return Finding(
            Level.FAIL, "certificate", f"{told} holds only in {hours:.1f} hours; set the clock, or wait with it"
        )
    if said := ending(found, now):
        return Finding(Level.FAIL if found.until <= now else Level.WARN, "certificate", f"{told}: {said}")
    return Finding(Level.OK, "certificate", f"{told} holds for {(found.until - now) / _DAY:.0f} days more")


def ports(file: SpecFile, home: Home) -> Iterator[Finding]:
    server, console = file.spec.server, file.spec.console
    asked = [(("server", "port"), server.host, server.port), (("server", "grpc_port"), server.host, server.grpc_port)]
    asked.append((("console", "port"), console.host, console.port))
    for path, host, port in asked:
        if port is not None:
            yield _port(file.at(*path), host, port, home)


def _port(where: str, host: str, port: int, home: Home) -> Finding:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        running = presence.found(home) if error.errno == errno.EADDRINUSE else None
        if running is not None:
            return Finding(
                Level.WARN, "port", f"{where}: {host}:{port} is in use, maybe by process {running.pid}, which serves "
                f"{running.spec} on this home"
            )  # fmt: skip
        why = error.strerror or str(error)
        remedy = {
            errno.EADDRINUSE: "stop what listens there, or name another port",
            errno.EACCES: "name one above 1023",
            errno.EADDRNOTAVAIL: "name an address of this machine",
        }.get(error.errno or 0, "name an address of this machine, or 0.0.0.0")
        return Finding(Level.FAIL, "port", f"{where}: {host}:{port} cannot be had: {why}; {remedy}")
    return Finding(Level.OK, "port", f"{where}: {host}:{port} is free")


def room(home: Home) -> Iterator[Finding]:
    """Whether the folders that are written to can be, and how much is free."""
    events = [] if "://" in home.events or Path(home.events).is_relative_to(home.root) else [Path(home.events)]
    for folder in (home.root, *events):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        try:
            with tempfile.TemporaryFile(dir=there) as tried:
                tried.write(b"\0" * 4096)
            free = shutil.disk_usage(there).free
        except OSError as error:
            told = f"{folder} cannot be written to: {error.strerror}; free some space, or name another folder"
            yield Finding(Level.FAIL, "disk", told)
            continue
        level = Level.FAIL if free < _LEAST else Level.WARN if free < _LITTLE else Level.OK
        remedy = "" if level is Level.OK else "; free some space, or name another folder with --home"
        yield Finding(level, "disk", f"{folder}: {free / 2**30:.1f} GiB are free{remedy}")


def libraries(file: SpecFile) -> Iterator[Finding]:
    """Those that only some specs need. What is missing is told with the extra that brings it."""
    spec = file.spec
    for name, endpoint in spec.endpoints.items():
        if endpoint.llm is not None:
            group = engines.ENGINES if endpoint.llm.engine in plugins.names(engines.ENGINES) else engines.TOKEN_ENGINES
            yield _loads(file.at("endpoints", name, "llm", "engine"), group, endpoint.llm.engine)
        if endpoint.runtime:
            yield _loads(file.at("endpoints", name, "runtime"), "fairlead.runtimes", endpoint.runtime)
    if spec.redis:
        yield _loads(file.at("redis"), "fairlead.limits", spec.redis.partition("://")[0])
    if spec.record is not False and not (watching.has_state() and watching.has_events()):
        told = "calls are not recorded, or not whole; pip install 'fairlead[events,registry]', or say record: false"
        yield Finding(Level.WARN, "library", told)
    looped = [name for name, one in spec.endpoints.items() if {"rollout", "retrain"} & one.model_fields_set]
    if looped and not watching.has_loop():
        told = "no controller runs beside the server; pip install 'fairlead[registry,monitor,retrain]'"
        yield Finding(Level.FAIL, "library", f"{file.at('endpoints', looped[0])} needs one, and {told}")


def _loads(where: str, group: str, name: str) -> Finding:
    try:
        plugins.load(group, name)
    except FairleadError as error:
        return Finding(Level.FAIL, "library", f"{where}: {error}")
    return Finding(Level.OK, "library", f"{where}: {name} is installed")


def gpu(file: SpecFile) -> Iterator[Finding]:
    """Where the spec, or the image that this runs in, asks for one."""
    asked = [name for name, one in file.spec.endpoints.items() if _GPU & set(one.providers)]
    wanted, driver = config.cuda(), cuda.driver()
    try:
        cuda.check(wanted, driver)
    except FairleadError as error:
        yield Finding(Level.FAIL, "gpu", str(error))
        return
    if asked and driver is None:
        where = file.at("endpoints", asked[0], "providers")
        told = f"{where} asks for a GPU, and there is no NVIDIA driver here; install it, or leave providers out"
        yield Finding(Level.FAIL, "gpu", told)
    elif asked and driver is not None:
        yield Finding(Level.OK, "gpu", f"the driver runs CUDA up to {driver[0]}.{driver[1]}")


def containers() -> Iterator[Finding]:
    try:
        name, _ = images.tool_for("")
    except ContainerFailed as error:
        yield Finding(Level.WARN, "containers", f"images cannot be built here: {error}")
    else:
        yield Finding(Level.OK, "containers", f"{name} builds images")
