"""``fairlead package``: a model in another format, or as an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fairlead.cli import package_image
from fairlead.cli.output import FAILED, AsJson, HomeOption, TrackingOption, emit
from fairlead.cli.where import home_of
from fairlead.package.export import export as export_model
from fairlead.package.sources import Kind, parse
from fairlead.wiring import stores


class _Packaging(TyperGroup):
    """`fairlead package MODEL --image NAME:TAG` is `fairlead package image MODEL --image NAME:TAG`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["image", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Packaging,
    name="package",
    help="A model as an image, or in another format. `fairlead package MODEL --image NAME:TAG` is short for image.",
    no_args_is_help=True,
    add_completion=False,
)


app.command("image")(package_image.image)


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A .pt2 file, pkg.module:Class, pkg.module:Class@weights.safetensors, models:/x@y.")
    ],
    target: Annotated[str, typer.Option(help="The format: onnx.")] = "onnx",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to; without it: NAME.onnx.")] = None,
    opset: Annotated[int, typer.Option(help="Opset of ONNX; 0: the exporter's own.")] = 0,
    example: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out rows to compare on: CSV, or .npz with the inputs.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load the file given: it can run any code.")
    ] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Export a PyTorch model, and compare it with the original: exit code 1 when the two disagree."""
    runtime = "torch" if parse(model).kind is Kind.CLASS else ""
    bundle = stores.opener(home_of(home, tracking)).open(model, trust_pickle=trust_pickle, runtime=runtime)
    original = stores.load_model(bundle, threads=1)
    try:
        done = export_model(
            bundle, original, output or Path(f"{bundle.name}.{target}"), target=target, example=example, opset=opset
        )
    finally:
        original.close()
    parity = done.parity
    verdict = "agrees with" if parity.agrees else "does NOT agree with"
    lines = [f"{done.file} (opset {done.opset}) {verdict} {model} on {done.rows} rows", parity.as_table()]
    lines += [*parity.reasons, f"report: {done.report}"]
    data = {
        "file": str(done.file),
        "report": str(done.report),
        "target": target,
        "opset": done.opset,
        "rows": done.rows,
        "parity": parity.as_dict(),
    }
    emit(data, "\n".join(lines), as_json)
    if not parity.agrees:
        raise typer.Exit(FAILED)
