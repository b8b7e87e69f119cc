"""``fairlead package image``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, TrackingOption, emit
from fairlead.cli.unwinding import unwound
from fairlead.cli.where import home_of
from fairlead.kit.machine import PLATFORM
from fairlead.package import image as images
from fairlead.package import lock
from fairlead.wiring.images import Made, Wanted, make


def image(
    model: Annotated[
        str, typer.Argument(help="URI or NAME=URI: models:/churn@champion, models:/churn/3, ./model.onnx.")
    ],
    name: Annotated[
        str, typer.Option("--image", "--tag", "-t", metavar="NAME:TAG", help="What it is called; never `latest`.")
    ],
    context: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the Dockerfile and what it needs go.", show_default="in --home"),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            metavar="IMAGE",
            help="What it stands on, IMAGE@sha256:DIGEST or IMAGE:TAG.",
            show_default="Debian 12 with Python",
        ),
    ] = "",
    bake: Annotated[bool, typer.Option("--bake", help="Put the weights into the image: for tiny models.")] = False,
    cuda: Annotated[str, typer.Option(metavar="VERSION", help="CUDA of a model that runs on a GPU, as 12.4.")] = "",
    extra: Annotated[
        list[str] | None, typer.Option(help="Extra of Fairlead that it needs too, as postgres; again for more.")
    ] = None,
    machine: Annotated[str, typer.Option("--platform", help=f"{' or '.join(lock.platforms())}.")] = PLATFORM,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="It asks callers for no key: something in front of it does.")
    ] = False,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Unpickle the file given: it can run any code.")
    ] = False,
    sbom: Annotated[bool, typer.Option("--sbom/--no-sbom", help="Write a bill of materials (CycloneDX).")] = True,
    tool: Annotated[str, typer.Option(help="podman, docker or buildah.", show_default="the first that works")] = "",
    build: Annotated[
        bool | None,
        typer.Option(
            "--build/--no-build", help="Build it, or only write the context.", show_default="where a tool works"
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Take nothing from earlier builds.")] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Make an image that serves a model: Dockerfile and context, and the image where a container tool works here."""
    wanted = Wanted(
        model, name, context, base, bake, cuda, tuple(extra or ()), machine, insecure, trust_pickle, sbom, tool, build,
        no_cache,
    )  # fmt: skip
    where = home_of(home, tracking)
    with unwound():
        made = make(wanted, where)
    emit(_document(made, name), _text(made, name, machine, where.tracking), as_json)


def _document(made: Made, name: str) -> dict[str, Any]:
    built = made.image
    return {
        "image": name if built else "",
        "context": str(made.context),
        "base": str(made.facts.base),
        "endpoint": made.facts.endpoint,
        "model": made.facts.uri,
        "wheels": made.wheels,
        "labels": images.labels(made.facts),
        "tool": made.tool,
        "id": built.id if built else "",
        "layers": list(built.layers) if built else [],
        "why_not": made.why,
    }


def _text(made: Made, name: str, machine: str, tracking: str) -> str:
    lines = [f"{made.facts.uri} with {made.wheels} wheels on {made.facts.base}", f"context: {made.context}"]
    if not made.facts.baked and tracking.startswith("sqlite:"):
        lines.append(
            "it pulls its weights when it starts, and this registry is SQLite, a file that no container reaches: give "
            "it FAIRLEAD_TRACKING with the address of a server that has the model, or make it with --bake"
        )
    if made.image is None:
        command = images.by_hand(made.facts, str(made.context), name, machine)
        return "\n".join([*lines, made.why, f"by hand: {command}"])
    lines.append(f"{name} built by {made.tool}: {made.image.id[:12]}, {len(made.image.layers)} layers")
    pulls = "" if made.facts.baked else " --env FAIRLEAD_TRACKING=URI"
    return "\n".join([*lines, f"check it: fairlead doctor --image {name}{pulls}"])
