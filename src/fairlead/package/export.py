"""A model in another format, beside the proof that it answers the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel, MalformedBody, UsageError
from fairlead.contracts.runtime import Artefact, LoadedModel, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit import plugins
from fairlead.kit.files import write_whole
from fairlead.kit.sentences import cause
from fairlead.package.bundle import Bundle
from fairlead.package.formats import identify
from fairlead.package.pack import matching
from fairlead.package.parity import ParityReport, compare

_MADE_UP_ROWS = 16
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Exported:
    """``file``: the model in its new format.  ``report``: where the comparison is kept.  ``rows``: compared."""

    file: Path
    report: Path
    parity: ParityReport
    rows: int
    opset: int


def export(
    bundle: Bundle, original: Any, output: Path, *, target: str = "onnx", example: Path | None = None, opset: int = 0
) -> Exported:
    """Convert a loaded PyTorch model, write ``output`` and, beside it, the report of both on the same rows.

    ``original``: the model that the bundle's runtime loaded.  ``example``: held-out rows, a CSV file, or an ``.npz``
    file with an array for each input; compared too are the rows that the model keeps, and made-up ones.
    ``opset``: of ONNX; 0 takes the exporter's own.  The files are written whether the two agree or not.

    Raises UsageError for a model of another kind, or an output that is there already; BrokenModel for one that does
    not say what it takes, takes a fixed number of rows, or has a part that cannot be converted.
    """
    report = output.with_suffix(".parity.json")
    taken = next((path for path in (output, report) if path.exists()), None)
    if taken:
        raise UsageError(f"{taken} is there already; name another file with --output, or take it away")
    _refuse(bundle, original, target)
    convert = plugins.load("fairlead.converters", f"torch-{target}")().convert
    cases = _cases(bundle, original, example)
    with tempfile.TemporaryDirectory() as scratch:
        rows = next(iter(cases.values()))
        made = convert(original.source, original.signature, Path(scratch), rows, opset=opset)
        written = identify(made).details.get("opsets", {}).get("ai.onnx", 0)
        if opset and written != opset:
            raise BrokenModel(
                f"{bundle.uri} is exported with opset {written} and cannot be turned into {opset}; name another --opset"
            )
        parity = _compared(original, made, cases)
        _moved(made, output)
    count = sum(len(next(iter(one.values()))) for one in cases.values())
    done = Exported(output, report, parity, count, written)
    document = {"model": bundle.uri, "digest": bundle.digest, "target": target, "opset": done.opset, "rows": done.rows}
    write_whole(report, json.dumps({**document, "parity": parity.as_dict()}, indent=1).encode() + b"\n")
    return done


def _refuse(bundle: Bundle, original: LoadedModel, target: str) -> None:
    if bundle.artefact.format != "torch":
        raise UsageError(
            f"{bundle.uri} is run by {bundle.artefact.format!r}; exported to {target} are PyTorch models "
            "(scikit-learn ones are converted by `fairlead models log`)"
        )
    if not original.signature.inputs:
        raise BrokenModel(f"{bundle.uri} does not say what it takes; declare `inputs` on the class, or export a .pt2")
    if not original.signature.batched or original.traits.max_rows == 1:
        told = "one row" if original.traits.max_rows == 1 else "a number of rows that is fixed, or mixes its rows"
        raise BrokenModel(
            f"{bundle.uri} takes {told}; export it with a dynamic first dimension (torch.export.Dim) first"
        )


def _compared(original: LoadedModel, made: Path, cases: dict[str, Tensors]) -> ParityReport:
    artefact = Artefact("onnx", made, signature=original.signature)
    twin: LoadedModel = plugins.load("fairlead.runtimes", "onnx")().load(artefact, RuntimeOptions(threads=1))
    try:
        return compare(lambda rows: original.predict(rows, {}), lambda rows: twin.predict(rows, {}), cases)
    finally:
        twin.close()


def _cases(bundle: Bundle, original: Any, example: Path | None) -> dict[str, Tensors]:
    """Named rows, at most as many as the model takes at once."""
    signature: Signature = original.signature
    most = original.traits.max_rows or _MOST_ROWS
    found = {
        "example": _read(example, signature) if example else bundle.example,
        "kept": original.example,
    }
    known = {name: rows for name, rows in found.items() if rows}
    sizes: Tensors = next(iter(known.values()), {})
    known["made-up"] = {spec.name: _made_up(spec, sizes.get(spec.name)) for spec in signature.inputs}
    return {name: {column: array[:most] for column, array in rows.items()} for name, rows in known.items()}


def _read(example: Path, signature: Signature) -> Tensors:
    if example.suffix != ".npz":
        return {
            name: array.astype(_spec(signature, name).datatype.numpy)
            for name, array in matching(example, signature).items()
        }
    try:
        with np.load(example, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError) as error:
        raise MalformedBody(f"{example} is no .npz file that can be read: {cause(error)}") from error
    absent = [spec.name for spec in signature.inputs if spec.name not in arrays]
    if absent:
        raise UsageError(f"{example} has no array {absent[0]!r}, which the model takes")
    return {spec.name: arrays[spec.name].astype(spec.datatype.numpy) for spec in signature.inputs}


def _spec(signature: Signature, name: str) -> TensorSpec:
    return next(spec for spec in signature.inputs if spec.name == name)


def _made_up(spec: TensorSpec, like: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """Noise for floats, zeros and ones for others. ``like``: an array whose sizes are known to work."""
    behind = spec.shape[1:] if like is None else like.shape[1:]
    shape = (_MADE_UP_ROWS, *(2 if size < 0 else size for size in behind))
    random = np.random.default_rng(0)
    values = random.normal(size=shape) if spec.datatype.is_float else random.integers(0, 2, shape)
    return values.astype(np.float32 if spec.datatype is DataType.BF16 else spec.datatype.numpy)


def _moved(made: Path, output: Path) -> None:
    """The model under its new name; weights that lie beside it keep the name that the model knows them by."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = [path for path in made.parent.iterdir() if path != made]
    taken = next((output.parent / path.name for path in beside if (output.parent / path.name).exists()), None)
    if taken:
        raise UsageError(f"{taken} is there already, and the weights need that name; name a file in another folder")
    for path in beside:
        shutil.move(path, output.parent / path.name)
    shutil.move(made, output)
