"""An image of a model: the model is opened and run once, its context is written, and a container tool builds it."""

from __future__ import annotations

import json
import mmap
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fairlead import __version__
from fairlead.contracts.containers import Build, ContainerTool, Image
from fairlead.contracts.errors import ContainerFailed, UsageError
from fairlead.contracts.types import Tensors
from fairlead.kit import config, plugins
from fairlead.kit.config import Home
from fairlead.kit.files import locked_folder, write_whole
from fairlead.package import image, llms, lock, pinned, sbom, sources, wheel
from fairlead.package.bundle import Bundle
from fairlead.package.environment import Run, Tools
from fairlead.package.image import Base, Facts
from fairlead.package.protobuf import external_files
from fairlead.package.sources import Found, Kind, Source
from fairlead.package.trust import TAG as TRUST_TAG
from fairlead.serve.settings import endpoint_name
from fairlead.wiring import stores

GROUP = "fairlead.containers"
_ORDER = ("podman", "docker", "buildah")


@dataclass(frozen=True, slots=True)
class Wanted:
    """``model``: URI or NAME=URI.  ``tag``: NAME:TAG.  ``base``: empty for the usual one.

    ``tool``: empty for the first that works.
    ``extras``: of Fairlead, beside what the model needs.  ``build``: None where a tool works.
    ``fresh``: nothing of earlier builds is taken.
    """

    model: str
    tag: str
    context: Path | None = None
    base: str = ""
    bake: bool = False
    cuda: str = ""
    extras: tuple[str, ...] = ()
    platform: str = "linux/amd64"
    insecure: bool = False
    trust_pickle: bool = False
    sbom: bool = True
    tool: str = ""
    build: bool | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """``image``: None where none was built.  ``why``: the sentence for that."""

    context: Path
    facts: Facts
    wheels: int
    image: Image | None
    tool: str
    why: str


def make(wanted: Wanted, home: Home, run: Run | None = None) -> Made:
    """Write the context, and build the image. ``run``: runs pip.

    Raises UsageError for what no image can have, ModelError, and ContainerFailed where it was to be built and was not.
    """
    tag = image.tagged(wanted.tag)
    _check_wishes(wanted)
    asked = image.base(wanted.base) if wanted.base else image.base(image.usual(_python()))
    name, uri = sources.split_name(wanted.model)
    source = sources.parse(uri)
    _refuse(source, wanted)
    found = pinned.bring(source, lambda: stores.registry(home), home)
    bundle = stores.opener(home).open(uri, trust_pickle=wanted.trust_pickle)
    runtime = bundle.artefact.format
    image.check_cuda(wanted.cuda, runtime, bool(wanted.base))
    _check_bytes(source, bundle, found, wanted)
    libraries = lock.asked(bundle.artefact, bundle.manifest)
    tool, why = _tool(wanted)
    facts = Facts(
        endpoint=endpoint_name(name or source.name),
        uri=_uri(source, found),
        runtime=runtime,
        fairlead=__version__,
        python=_python(),
        base=_resolved(asked, tool, wanted.platform),
        baked="weights" if wanted.bake else "",
        lineage=_lineage(source, found),
        example=_example(bundle),
        created=_created(found),
        cuda=wanted.cuda,
        access=not wanted.insecure,
        trust_pickle=wanted.trust_pickle,
    )
    if tool is not None and not facts.base.digest:
        raise ContainerFailed(f"the digest of the base {facts.base.name} is not known; give --base IMAGE@sha256:DIGEST")
    context = wanted.context or home.root / "images" / image.folder(tag)
    with locked_folder(context):  # another build into it waits until this one has read it whole
        _check_context(context)
        wheels = _write(context, facts, found, wanted, libraries, run or Tools.here().run)
        if tool is None:
            return Made(context, facts, wheels, None, "", why)
        epoch = config.build_epoch()
        asked_for = Build(
            context, tag, image.EPOCH if epoch is None else epoch, fresh=wanted.fresh, platform=wanted.platform
        )
        built = tool[1].build(asked_for)
    return Made(context, facts, wheels, built, tool[0], "")


def tool_for(name: str, *, runs: bool = False) -> tuple[str, ContainerTool]:
    """The one named, else the first that works here. ``runs``: it must run containers. Raises ContainerFailed."""
    known = plugins.names(GROUP)
    if name:
        plugins.known(GROUP, name)
    ordered = [name] if name else [one for one in _ORDER if one in known] + [one for one in known if one not in _ORDER]
    reasons = []
    for one in ordered:
        found: ContainerTool = plugins.load(GROUP, one)()
        why = found.usable() or ("" if found.runs or not runs else f"{one} runs no containers")
        if not why:
            return one, found
        reasons.append(why)
    if name:
        raise ContainerFailed(f"{reasons[0]}; or leave --tool {name} out: the first tool that works is taken")
    raise ContainerFailed(image.tools(reasons, runs=runs))


def _tool(wanted: Wanted) -> tuple[tuple[str, ContainerTool] | None, str]:
    if wanted.build is False:
        return None, "it was not to be built (--no-build)"
    try:
        return tool_for(wanted.tool), ""
    except ContainerFailed as error:
        if wanted.build or wanted.tool:
            raise
        return None, str(error)


def _resolved(asked: Base, tool: tuple[str, ContainerTool] | None, platform: str) -> Base:
    if asked.digest or tool is None:
        return asked
    try:
        return replace(asked, digest=tool[1].digest(asked.name, platform))
    except ContainerFailed as error:
        raise ContainerFailed(
            f"{error}; name a base for {platform} that is here, or in a registry that answers (--base IMAGE:TAG), or "
            "write the context alone (--no-build)"
        ) from error


def _check_wishes(wanted: Wanted) -> None:
    """Raises UsageError for what pip, or a disk, would pass over or say late."""
    lock.check_platform(wanted.platform)
    for extra in wanted.extras:
        if extra not in (known := wheel.extras()):
            raise UsageError(f"--extra is {extra!r}{config.nearest(extra, known)}; expected one of {', '.join(known)}")
    context = wanted.context
    if context is not None and context.exists() and not context.is_dir():
        raise UsageError(f"--context {context} is no folder; name one, which may be there or not")


def _refuse(source: Source, wanted: Wanted) -> None:
    if source.kind in (Kind.CLASS, Kind.UPSTREAM):
        told = (
            "a class of your own, and an image holds what was logged"
            if source.kind is Kind.CLASS
            else "on another server"
        )
        raise UsageError(
            f"{wanted.model} is {told}; log it as an MLflow model (mlflow.pyfunc.log_model with its code), "
            "and package that"
        )
    if source.path is not None and llms.looks(source.path):
        raise UsageError(
            f"{wanted.model} is a language model; run it with the image of vLLM or llama.cpp, and name that server in "
            "a spec: llm: {engine: openai, base_url: http://HOST:8000/v1}"
        )
    if source.path is not None and not source.path.exists():
        return  # fetching it says so, and what is beside it
    if source.kind is Kind.PATH and not wanted.bake:
        raise UsageError(
            f"{wanted.model} lies on this machine only, and a container could not pull it; add --bake, or log it: "
            f"fairlead models log {wanted.model} --name {source.name}"
        )


def _check_bytes(source: Source, bundle: Bundle, found: Found, wanted: Wanted) -> None:
    vouched = found.version is not None and TRUST_TAG in found.version.tags
    if wanted.bake and vouched:
        raise UsageError(
            f"{source.handle} runs code that somebody vouched for, and what is baked in asks nobody whether that still "
            "holds; leave --bake out"
        )
    path = bundle.artefact.path
    if source.kind is Kind.PATH and path is not None and path.is_file() and bundle.artefact.format == "onnx":
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            beside = sorted(external_files(data))
        if beside and found.path is not None and found.path.is_file():
            raise UsageError(
                f"{path.name} keeps weights in {beside[0]} beside it, which one file does not name; package the "
                f"folder, or log it: fairlead models log {path.name} --name {source.name}"
            )


def _check_context(context: Path) -> None:
    """Raises UsageError for a folder with files of somebody else where ours go. Ours begin with ``.dockerignore``."""
    mark, ours = context / ".dockerignore", image.ignored().encode()
    if mark.is_file() and mark.read_bytes() == ours:
        return
    first = context / "Dockerfile"
    if first.is_file() and first.read_bytes().startswith(image.HEAD.encode()):
        return
    taken = [one for one in ("Dockerfile", ".dockerignore", lock.WHEELS, "weights") if (context / one).exists()]
    if taken:
        raise UsageError(
            f"--context {context} has {', '.join(taken)} that `fairlead package image` did not write, and would be "
            "replaced; name an empty folder"
        )


def _uri(source: Source, found: Found) -> str:
    """Never an alias: the image says which version it is, and a container that starts tomorrow is the same."""
    if source.kind is Kind.PATH:
        assert found.path is not None  # noqa: S101 - a path was fetched
        return f"{image.WEIGHTS}/{found.digest}/{found.path.name}#sha256:{found.digest}"
    uri = f"models:/{source.model}/{found.version.version}" if found.version else source.uri
    return f"{uri}#sha256:{found.digest}"


def _lineage(source: Source, found: Found) -> dict[str, str]:
    version = found.version
    tags = version.tags if version else {}
    return {
        "model": source.model or source.name,
        "model.version": version.version if version else "",
        "model.digest": f"sha256:{found.digest}",
        "run": version.run_id if version else "",
        "data": tags.get("fairlead.data", ""),
        "holdout": tags.get("fairlead.holdout", ""),
        "pipeline": tags.get("fairlead.pipeline", ""),
        "revision": tags.get("fairlead.commit", "") or tags.get("mlflow.source.git.commit", ""),
        "parent": tags.get("fairlead.parent", ""),
    }


def _created(found: Found) -> str:
    if found.version is None or not found.version.created_ms:
        return ""
    return datetime.fromtimestamp(found.version.created_ms / 1000, UTC).isoformat(timespec="seconds")


def _example(bundle: Bundle) -> str:
    """One row with its answer, as tensors in JSON; empty where there is none, or it is too large for a label."""
    model = stores.load_model(bundle, threads=1)
    try:
        if bundle.example is None:
            return ""
        row = {name: array[:1] for name, array in bundle.example.items()} if model.signature.batched else bundle.example
        answer = model.predict(row, {})
        kinds = {one.name: one.datatype for one in (*model.signature.inputs, *model.signature.outputs)}
        document = {
            "inputs": [_tensor(name, array, kinds) for name, array in row.items()],
            "outputs": [_tensor(name, array, kinds) for name, array in answer.items()],
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, KeyError):  # NaN, or values that JSON does not know
        return ""
    finally:
        model.close()
    return text if len(text) <= image.LARGEST_EXAMPLE else ""


def _tensor(name: str, array: np.ndarray[Any, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "datatype": str(kinds[name]), "shape": list(array.shape), "data": array.ravel().tolist()}


def tensors(listed: Sequence[Any]) -> Tensors:
    """What ``_tensor`` wrote, as arrays."""
    found = {}
    for one in listed:
        dtype = object if one["datatype"] == "BYTES" else None
        found[str(one["name"])] = np.array(one["data"], dtype).reshape(one["shape"])
    return found


def _write(context: Path, facts: Facts, found: Found, wanted: Wanted, libraries: Sequence[str], run: Run) -> int:
    """How many wheels it has."""
    context.mkdir(parents=True, exist_ok=True)
    write_whole(context / ".dockerignore", image.ignored().encode())
    renamed = image.replaced(facts.cuda, facts.runtime)
    own = wheel.build(context, renamed=renamed)
    extras = sorted({*wanted.extras, *(["registry"] if facts.access or not facts.baked else [])})
    root = str(own.absolute()) + (f"[{','.join(extras)}]" if extras else "")
    try:
        limits = [one for one in lock.here() if one.partition("==")[0] not in renamed]
        limits += [
            f"{renamed[name]}=={one.partition('==')[2]}"
            for one in lock.here()
            if (name := one.partition("==")[0]) in renamed
        ]
        wheels = lock.fetch(context, [root, *libraries], limits, wanted.platform, run)
    finally:
        own.unlink(missing_ok=True)
    epoch = config.build_epoch()
    text = image.dockerfile(facts, image.EPOCH if epoch is None else epoch, own.name)
    write_whole(context / "Dockerfile", text.encode())
    _weights(context / "weights", found, facts)
    if wanted.sbom:
        document = sbom.document(facts, context, wheels, wanted.tag)
        write_whole(context / sbom.FILE, json.dumps(document, indent=1).encode() + b"\n")
    return len(wheels)


def _weights(folder: Path, found: Found, facts: Facts) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if not facts.baked or found.path is None:
        return
    into = folder / found.digest / found.path.name
    into.parent.mkdir(parents=True)
    if found.path.is_dir():
        shutil.copytree(found.path, into, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(found.path, into)
    if found.source.path is None:
        pinned.keep(replace(found, path=into), folder)


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
