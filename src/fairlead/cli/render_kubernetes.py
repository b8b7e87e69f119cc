"""``fairlead render kubernetes`` and ``fairlead render kserve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, deliver, emit
from fairlead.contracts.errors import UsageError
from fairlead.kit import files
from fairlead.kit.config import nearest
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring import specs
from fairlead.wiring.kubernetes import asked, objects
from fairlead.wiring.kubernetes import kserve as inference
from fairlead.wiring.kubernetes.asked import Rendering
from fairlead.wiring.prometheus import rules

Image = Annotated[
    str, typer.Option(metavar="NAME:TAG", help="Image of the pods, by tag or digest.", show_default="deploy.image")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Callers show no key: something in front asks who calls.")]
Scaler = Annotated[str, typer.Option(help="Who scales pods by calls in flight: hpa or keda.")]
Mesh = Annotated[
    str, typer.Option(help="What shares out calls: gateway-api or istio.", show_default="the servers themselves")
]
Spec = Annotated[Path, typer.Argument(help="The spec file.")]


def kubernetes(
    spec: Spec = Path("fairlead.yaml"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write.", show_default="print")
    ] = None,
    image: Image = "",
    scaler: Scaler = "hpa",
    mesh: Mesh = "",
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """The spec as objects of Kubernetes, a file for each group of pods. What a cluster cannot honour is an error."""
    file = specs.read(spec)
    how = rendering(file, image, scaler, mesh, insecure=insecure)
    texts = objects.render(file, how)
    if output is None:
        emit(objects.plain(objects.objects(file, how)), "---\n".join(texts.values()), as_json)
        return
    written = _write(output, texts)
    emit({"output": str(output), "files": written}, f"wrote {len(written)} files; kubectl diff -f {output}", as_json)


def rendering(file: SpecFile, image: str, scaler: str, mesh: str, *, insecure: bool) -> Rendering:
    """Of these options. Raises UsageError for a word that none has."""
    for flag, value, known in (("--scaler", scaler, asked.SCALERS), ("--mesh", mesh, ("", *asked.MESHES))):
        if value not in known:
            expected = " or ".join(one for one in known if one)
            raise UsageError(f"{flag} is {value!r}{nearest(value, [one for one in known if one])}; expected {expected}")
    return Rendering(image, scaler, mesh, insecure, rules.groups(file))


def kserve(
    spec: Spec = Path("fairlead.yaml"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="print")] = None,
    image: Image = "",
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """The spec as objects of KServe: a ServingRuntime and an InferenceService for each group of endpoints."""
    file = specs.read(spec)
    how = Rendering(image, insecure=insecure)
    made = inference.plain(file, how)
    deliver(made, inference.render(file, how), output, as_json, f"kubectl diff -f {output}")


def _write(folder: Path, texts: dict[str, str]) -> list[str]:
    """Every file, and none of ours beside them that is no longer rendered. Raises UsageError for somebody else's."""
    folder.mkdir(parents=True, exist_ok=True)
    there = [path for path in sorted(folder.glob("*.yaml")) if path.is_file()]
    ours = [path for path in there if objects.MARK in path.read_text(errors="replace").partition("\n")[0]]
    for path in there:
        if path.name in texts and path not in ours:
            raise UsageError(f"{path} is there and was not rendered; move it, or name another folder")
    for name, text in texts.items():
        files.write_whole(folder / name, text.encode())
    for path in ours:
        if path.name not in texts:
            path.unlink()
    return sorted(texts)
