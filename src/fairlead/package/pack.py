"""Turn a fitted model into a packaged folder: an MLflow model with a manifest and, where it agrees, an ONNX twin.

The public signature is that of the original. Which runtime serves is decided here, once, and told in one sentence.
"""

from __future__ import annotations

import mmap
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel, MissingExtra, UsageError
from fairlead.contracts.runtime import Artefact, LoadedModel, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit import plugins
from fairlead.kit.clock import Clock, SystemClock
from fairlead.package import manifest, probe, table, versions
from fairlead.package.formats import sniff
from fairlead.package.manifest import Manifest
from fairlead.package.parity import Limits, ParityReport, compare
from fairlead.package.protobuf import external_files

_LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops", "onnxruntime", "skl2onnx", "onnx")
_AS_IT_IS = {
    "xgboost": ("XGBoost", ("xgboost",)),
    "lightgbm": ("LightGBM", ("lightgbm",)),
    "litert": ("LiteRT", ("ai-edge-litert",)),
    "torch": ("PyTorch", ("torch",)),
}
"""Runtimes whose files are packaged without a conversion: the format in words, and what runs it beside numpy."""
_EXAMPLE_ROWS = 5
_HELD_OUT_ROWS = 10_000
_SKOPS = "model.skops"
_ONNX = "fairlead/model.onnx"


@dataclass(frozen=True, slots=True)
class Packed:
    """``report``: of the conversion to ONNX, None where there was none to compare."""

    folder: Path
    manifest: Manifest
    report: ParityReport | None


def pack(
    estimator: Any,
    into: Path,
    *,
    name: str,
    rows: Tensors,
    signature: Signature | None = None,
    missing_token: Mapping[str, str] | str | None = None,
    trusted_types: tuple[str, ...] = (),
    limits: Limits | None = None,
    clock: Clock | None = None,
) -> Packed:
    """Package a fitted scikit-learn estimator.

    ``rows``: held-out rows (name to array, rows on axis 0), in the types the estimator was fitted on; the first five
    become the input example, all are used to compare the conversion.  ``signature``: of the inputs (default: one column
    for each array of ``rows``).  ``missing_token``: what the caller puts in place of a missing string, for all columns
    or by name.  ``trusted_types``: types beyond the shipped list that the caller vouches for.
    Raises BrokenModel or Untrusted when the estimator cannot be saved, or cannot be loaded again.
    """
    _refuse_full(into)
    rows = {column: array[:_HELD_OUT_ROWS] for column, array in rows.items()}
    to_mlflow = plugins.load("fairlead.converters", "sklearn-mlflow")()
    with tempfile.TemporaryDirectory() as draft:
        asked = signature or Signature(table.specs(rows))
        folder = to_mlflow.convert(estimator, asked, Path(draft) / "model")
        complete = _load("sklearn", folder / _SKOPS, asked, trusted_types)
        public = probe.missing_values(lambda some: complete.predict(some, {}), complete.signature, rows, missing_token)
    sent = probe.as_edges_send(rows, public)
    to_mlflow.convert(estimator, public, into, {column: array[:_EXAMPLE_ROWS] for column, array in sent.items()})
    original = _load("sklearn", into / _SKOPS, public, trusted_types)
    report, why = _twin(estimator, original, probe.cases(public, rows), into, limits)
    agrees = report is not None and report.agrees
    runtime, artefact = ("onnx", _ONNX) if agrees else ("sklearn", _SKOPS)
    return _written(into, name, public, runtime, artefact, why, report, clock)


def pack_file(
    path: Path,
    into: Path,
    *,
    name: str,
    example: Path | None = None,
    missing_token: Mapping[str, str] | str | None = None,
    trusted: bool = False,
    trusted_types: tuple[str, ...] = (),
    clock: Clock | None = None,
) -> Packed:
    """Package an ``.onnx``, skops, XGBoost, LightGBM or ``.tflite`` file, or a pickle that is ``trusted``.

    ``example``: a CSV file of held-out rows; columns that the model does not take are left out. Without one there is
    nothing to compare a conversion with, and the original serves.
    Raises UnknownFormat, BrokenModel, Untrusted, or MalformedBody for the example.
    """
    _refuse_full(into)
    found = sniff(path)
    runtime, details = found.runtime, {**found.details, "content": found.name}
    if found.name == "mar":
        raise UsageError(f"{path} is a TorchServe archive; unpack it and log {found.details['member']}")
    if runtime == "tensorflow":
        raise UsageError(f"{path} is {found.title}; serve it as it is, or log it with mlflow.tensorflow.log_model")
    if runtime == "mlflow":
        raise UsageError(f"{path} is an MLflow model folder already; log it as it is")
    loaded = plugins.load("fairlead.runtimes", runtime)().load(
        Artefact(runtime, path, details=details, trusted=trusted, trusted_types=trusted_types),
        RuntimeOptions(threads=1),
    )
    if example is not None and not loaded.signature.inputs:
        loaded = _load(runtime, path, _one_matrix(example), trusted_types, trusted=trusted)
    rows = None if example is None else matching(example, loaded.signature)
    if runtime == "onnx":
        return _pack_onnx(path, into, name, loaded, rows, clock)
    if runtime in _AS_IT_IS:
        return _pack_as_it_is(path, into, name, runtime, loaded.signature, rows, clock)
    signature = loaded.signature if rows is None or not loaded.signature.tabular else None
    if rows is not None:
        return pack(
            loaded.estimator,
            into,
            name=name,
            rows=rows,
            signature=signature,
            missing_token=missing_token,
            trusted_types=trusted_types,
            clock=clock,
        )
    plugins.load("fairlead.converters", "sklearn-mlflow")().convert(loaded.estimator, loaded.signature, into)
    why = "The original serves: without example rows there is nothing to compare a conversion with."
    return _written(into, name, loaded.signature, "sklearn", _SKOPS, why, None, clock)


def _pack_onnx(
    path: Path, into: Path, name: str, loaded: LoadedModel, rows: Tensors | None, clock: Clock | None
) -> Packed:
    public = loaded.signature
    if rows is not None and set(rows) != {spec.name for spec in public.inputs}:
        public = _load("onnx", path, Signature(table.specs(rows))).signature
    example = None if rows is None else {column: array[:_EXAMPLE_ROWS] for column, array in rows.items()}
    plugins.load("fairlead.converters", "onnx-mlflow")().convert(path, public, into, example)
    _copy_weights(path, into)
    return _written(into, name, public, "onnx", "model.onnx", "The model is ONNX as it came.", None, clock)


def _pack_as_it_is(
    path: Path, into: Path, name: str, runtime: str, public: Signature, rows: Tensors | None, clock: Clock | None
) -> Packed:
    title, libraries = _AS_IT_IS[runtime]
    example = None if rows is None else {column: array[:_EXAMPLE_ROWS] for column, array in rows.items()}
    plugins.load("fairlead.converters", f"{runtime}-mlflow")().convert(path, public, into, example)
    artefact = next(into.glob("model.*")).name
    why = f"The model is {title} as it came."
    return _written(into, name, public, runtime, artefact, why, None, clock, (*libraries, "numpy"))


def _copy_weights(graph: Path, into: Path) -> None:
    """What the graph keeps in files beside it. onnxruntime loaded it from there, so they are inside its folder."""
    with graph.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = sorted(external_files(data))
    for name in names:
        source, target = manifest.inside(graph.parent, name), manifest.inside(into, name)
        if target.exists():
            raise BrokenModel(f"{graph} keeps weights in {name!r}, a name that the package needs; rename that file")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _twin(
    estimator: Any, original: LoadedModel, cases: Mapping[str, Tensors], into: Path, limits: Limits | None
) -> tuple[ParityReport | None, str]:
    """Convert to ONNX and compare; what does not agree is deleted. Returns the report and the sentence."""
    folder = (into / _ONNX).parent
    try:
        path = plugins.load("fairlead.converters", "sklearn-onnx")().convert(estimator, original.signature, folder)
        twin = _load("onnx", path, original.signature)
    except (BrokenModel, MissingExtra) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return None, f"The original serves: {error}."
    report = compare(lambda rows: original.predict(rows, {}), lambda rows: twin.predict(rows, {}), cases, limits)
    twin.close()
    if report.agrees:
        compared = sum(len(next(iter(rows.values()))) for rows in cases.values())
        worst = max((one.largest for one in report.differences), default=0.0)
        return report, f"ONNX serves: it agrees with the original on {compared} rows (largest error {worst:.1e})."
    shutil.rmtree(folder, ignore_errors=True)
    more = f" (and {len(report.reasons) - 1} more)" if len(report.reasons) > 1 else ""
    return report, f"The original serves, because its ONNX conversion does not agree: {report.reasons[0]}{more}."


def _load(
    runtime: str,
    path: Path,
    signature: Signature | None = None,
    trusted_types: tuple[str, ...] = (),
    *,
    trusted: bool = False,
) -> LoadedModel:
    artefact = Artefact(runtime, path, signature=signature, trusted=trusted, trusted_types=trusted_types)
    model: LoadedModel = plugins.load("fairlead.runtimes", runtime)().load(artefact, RuntimeOptions(threads=1))
    return model


def _one_matrix(example: Path) -> Signature:
    """For a program that does not say what it takes: the example's columns side by side, as FP32."""
    columns = table.read_csv(example, {})
    return Signature((TensorSpec("input", DataType.FP32, (-1, len(columns))),))


def matching(example: Path, signature: Signature) -> Tensors:
    """The example's columns that the model takes, or all of them side by side for a model of one matrix.

    Whole numbers become floats where the model takes floats: a sample without blanks does not say there are none.
    """
    texts = {spec.name: spec.datatype for spec in signature.inputs if spec.datatype is DataType.BYTES}
    columns = table.read_csv(example, texts)
    names = [spec.name for spec in signature.inputs]
    if set(names) <= set(columns):
        return {spec.name: _widened(columns[spec.name], spec.datatype) for spec in signature.inputs}
    if len(names) == 1 and len(signature.inputs[0].shape) == 2 and all(a.dtype.kind != "O" for a in columns.values()):
        matrix = np.concatenate(list(columns.values()), axis=1).astype(signature.inputs[0].datatype.numpy)
        return {names[0]: matrix}
    absent = next(column for column in names if column not in columns)
    raise UsageError(f"{example} has no column {absent!r}, which the model takes")


def _widened(array: np.ndarray[Any, Any], datatype: DataType) -> np.ndarray[Any, Any]:
    return array.astype(datatype.numpy) if array.dtype.kind == "i" and datatype.is_float else array


def _written(
    into: Path,
    name: str,
    signature: Signature,
    runtime: str,
    artefact: str,
    why: str,
    report: ParityReport | None,
    clock: Clock | None,
    libraries: tuple[str, ...] = _LIBRARIES,
) -> Packed:
    """The manifest, last: it has the hash of every other file."""
    parity = None if report is None else report.as_dict()
    python = platform.python_version()
    now = (clock or SystemClock()).wall_ms()
    draft = Manifest(name, signature, runtime, artefact, why, parity, {}, python, _versions(libraries), now)
    return Packed(into, manifest.write(into, draft), report)


def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    return {library: found for library in libraries if (found := versions.installed(library))}


def _refuse_full(into: Path) -> None:
    if into.exists() and any(into.iterdir()):
        raise UsageError(f"{into} is not empty; give a new folder for the packaged model")
