"""What `fairlead deploy` deploys: a spec, which is rendered as `fairlead render kubernetes` does, or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlead.cli.render_kubernetes import rendering
from fairlead.cli.where import USUAL, home_of
from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Body
from fairlead.kit.config import Home
from fairlead.kit.config import home as read_home
from fairlead.kit.spec.read import SpecFile
from fairlead.orchestrate.deploy import objects
from fairlead.wiring import deploying, specs
from fairlead.wiring.kubernetes import objects as rendered

FOLDER = Path("k8s")


@dataclass(frozen=True, slots=True)
class Source:
    """``bodies``: in the order to make them in.  ``name``, ``namespace``: of the deployment.  ``home``: where what was
    done is written down.  ``apart``: why that is not where the spec's own state is; empty: it is."""

    bodies: list[Body]
    name: str
    namespace: str
    home: Home
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options. ``name``, ``namespace``: empty: as the objects say."""

    target: str
    name: str
    namespace: str
    image: str
    scaler: str
    mesh: str
    insecure: bool
    home: Path | None


def gathered(files: Sequence[Path], wanted: Wanted) -> Source:
    """Every object of some files and folders, one of which may be a spec. Raises UsageError, with the line of a spec
    for what a cluster cannot honour."""
    paths = list(files) or [USUAL if USUAL.is_file() else FOLDER]
    found = [path for path in paths if _is_spec(path)]
    if len(found) > 1:
        raise UsageError(f"{found[0]} and {found[1]} are two specs; deploy each by itself")
    bodies = objects.read([path for path in paths if path not in found]) if len(paths) > len(found) else []
    apart = ""
    if not found:
        _no_flags(wanted)
        name, home = deploying.owner(wanted.name, bodies), home_of(wanted.home)
    else:
        if wanted.target != "kubernetes":
            raise UsageError(f"{found[0]} is a spec, and objects are made of it for kubernetes, not {wanted.target}")
        file = specs.read(found[0])
        how = rendering(file, wanted.image, wanted.scaler, wanted.mesh, insecure=wanted.insecure)
        bodies = objects.ordered([*rendered.plain(rendered.objects(file, how))["items"], *bodies])
        if not wanted.name and not file.spec.project:
            raise UsageError(
                f"{file.name}: project is empty, and all specs without one would be one deployment; say project: NAME, "
                "or give --name"
            )
        name = deploying.owner(wanted.name or rendered.part_of(file), bodies)
        home, apart = _home(file, wanted)
        if wanted.namespace and file.spec.deploy.namespace not in ("", wanted.namespace):
            where = file.at("deploy", "namespace")
            raise UsageError(f"{where} is {file.spec.deploy.namespace}, and --namespace {wanted.namespace}; leave one")
    return Source(bodies, name, wanted.namespace or deploying.namespace(bodies), home, apart)


def _home(file: SpecFile, wanted: Wanted) -> tuple[Home, str]:
    """That of the spec; the one of this machine where a secret of the cluster is needed for it, and why."""
    try:
        return specs.home(file.spec, wanted.home), ""
    except UsageError as error:
        return read_home(wanted.home), str(error)


def _no_flags(wanted: Wanted) -> None:
    scaler = wanted.scaler if wanted.scaler != "hpa" else ""  # what it is unless somebody says otherwise
    given = {"--image": wanted.image, "--scaler": scaler, "--mesh": wanted.mesh, "--insecure": wanted.insecure}
    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} is for a spec, and these are objects that were rendered already; leave it out")


def _is_spec(path: Path) -> bool:
    """One document that is a mapping and no object; what cannot be read is left to those who say why."""
    if not path.is_file() or path.stat().st_size > objects.LARGEST:
        return False
    try:
        documents: list[Any] = list(yaml.safe_load_all(path.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError):
        return path.name == USUAL.name
    return (
        len(documents) == 1
        and isinstance(documents[0], dict)
        and not {"kind", "apiVersion", "metadata"} & documents[0].keys()
    )
