"""Checks that a model, or a running endpoint, will do what its users expect. Pure: it is given all it looks at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import FairleadError, InputError
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit.sentences import cause
from fairlead.package.bundle import Bundle

_BIG_BYTES = 1 << 30
_OLD_OPSET = 9
_AGREES = 1e-4  # of the scale: one row alone against many

Measure = Callable[[Tensors], Sequence[tuple[int, float]]]
"""One row to (rows, seconds) of growing batches."""


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: a stable word.  ``message``: one sentence; what to do, unless all is well."""

    level: Level
    check: str
    message: str


def examine(bundle: Bundle, model: LoadedModel, measure: Measure) -> list[Finding]:
    """Every check on a model that was opened and loaded."""
    findings = [
        _inputs(model.signature),
        _outputs(model.signature),
        _rows(model),
        *_graph(bundle.artefact.details),
        *_files(bundle.artefact.path),
        *(Finding(Level.WARN, "versions", note) for note in bundle.notes),
        _trust(bundle),
        _package(bundle),
    ]
    if bundle.example is None:
        message = "there is no input example, so only neutral values were run; log the model with an input example"
        neutral = {spec.name: _neutral(spec) for spec in model.signature.inputs}
        return [*findings, Finding(Level.WARN, "example", message), *_latency(model, neutral, measure)]
    return [*findings, *_run(model, bundle.example), *_latency(model, bundle.example, measure)]


def examine_endpoint(
    metadata: Mapping[str, Any], ready: bool, infer: Callable[[Tensors], Mapping[str, Any]], now: Callable[[], float]
) -> list[Finding]:
    """Checks on one endpoint through its V2 metadata, readiness and inference."""
    name = metadata.get("name", "")
    specs = [
        TensorSpec(str(one["name"]), DataType(one["datatype"]), tuple(one["shape"]))
        for one in metadata.get("inputs", ())
    ]
    findings = [_ready(name, ready), _inputs(Signature(tuple(specs)))]
    if not specs or not ready:
        return findings
    row = {spec.name: _neutral(spec) for spec in specs}
    try:
        outputs = infer(row)
        started = now()
        for _ in range(10):
            infer(row)
        seconds = (now() - started) / 10
    except InputError as error:
        message = f"the endpoint refuses neutral values ({error}); send it a row of your own"
        return [*findings, Finding(Level.WARN, "answers", message)]
    except FairleadError as error:
        return [*findings, Finding(Level.FAIL, "answers", f"the endpoint fails on neutral values: {error}")]
    arrays = {output: np.asarray(array) for output, array in outputs.items()}
    answered = Finding(Level.OK, "answers", f"answers {', '.join(arrays)} in {_duration(seconds)} a call")
    return [*findings, answered, *_nan(arrays)]


def examine_other(name: str, ready: bool, said: str) -> list[Finding]:
    """Of an endpoint that takes no tensors, a language model. ``said``: by the server, of how it is called instead."""
    return [_ready(name, ready), Finding(Level.WARN, "answers", f"nothing was asked of it: {said}")]


def _ready(name: str, ready: bool) -> Finding:
    if ready:
        return Finding(Level.OK, "ready", f"{name} is ready")
    return Finding(Level.FAIL, "ready", f"{name} is not ready; see the server's log")


def _inputs(signature: Signature) -> Finding:
    if not signature.inputs:
        message = "the model names no inputs: any tensors reach it unchecked; package it with a signature"
        return Finding(Level.WARN, "signature", message)
    listed = ", ".join(f"{spec.name} {spec.datatype}" for spec in signature.inputs[:4])
    more = f" and {len(signature.inputs) - 4} more" if len(signature.inputs) > 4 else ""
    return Finding(Level.OK, "signature", f"takes {listed}{more}")


def _outputs(signature: Signature) -> Finding:
    if not signature.outputs:
        return Finding(Level.WARN, "outputs", "the model names no outputs: clients cannot know what comes back")
    return Finding(Level.OK, "outputs", "gives " + ", ".join(f"{one.name} {one.datatype}" for one in signature.outputs))


def _rows(model: LoadedModel) -> Finding:
    rows = 1 if model.traits.max_rows == 1 else _frozen(model.signature)
    if rows:
        told = "one row" if rows == 1 else f"{rows} rows"
        message = (
            f"the graph is frozen to {told}; export it with a dynamic first dimension, and calls can share a batch"
        )
        return Finding(Level.FAIL, "batch", message)
    if not model.signature.batched:
        message = "the first dimension does not count rows in every tensor, so calls are run one by one"
        return Finding(Level.WARN, "batch", message)
    limit = f", at most {model.traits.max_rows} at once" if model.traits.max_rows else ""
    return Finding(Level.OK, "batch", f"takes any number of rows{limit}")


def _frozen(signature: Signature) -> int:
    """The first dimension of every input, where it is one fixed number above 1 and nothing else; else 0."""
    firsts = {spec.shape[0] if spec.shape else 0 for spec in (*signature.inputs, *signature.outputs)}
    return max(0, *firsts) if len(firsts) == 1 and firsts != {1} else 0


def _graph(details: Mapping[str, Any]) -> Iterator[Finding]:
    opsets = details.get("opsets")
    if not opsets:
        return
    listed = ", ".join(f"{domain or 'ai.onnx'} {opset}" for domain, opset in dict(opsets).items())
    shown = f"opset {listed}; IR version {details.get('ir_version', '?')}"
    if any(domain in ("", "ai.onnx") and int(opset) < _OLD_OPSET for domain, opset in dict(opsets).items()):
        yield Finding(Level.WARN, "opset", f"{shown}: old exporters write this; export it again when you can")
    else:
        yield Finding(Level.OK, "opset", shown)


def _files(path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    size = sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())
    level = Level.WARN if size > _BIG_BYTES else Level.OK
    slow = "; loading it takes seconds and memory" if level is Level.WARN else ""
    yield Finding(level, "size", f"{_bytes(size)}{slow}")
    root = next((one for one in (path, *path.parents[:2]) if (one / "MLmodel").is_file()), None)
    if root is None or not (root / "requirements.txt").is_file():
        return
    lines = [line.strip() for line in (root / "requirements.txt").read_text().splitlines()]
    loose = [line for line in lines if line and not line.startswith(("#", "-")) and not re.search(r"===?|@", line)]
    if loose:
        yield Finding(Level.WARN, "requirements", f"not pinned: {', '.join(loose)}; write name==version")
    else:
        yield Finding(Level.OK, "requirements", "every requirement is pinned")


def _trust(bundle: Bundle) -> Finding:
    if bundle.artefact.target:
        return Finding(Level.OK, "trust", "a Python class of yours: it runs as your own code")
    if bundle.artefact.trusted:
        return Finding(Level.WARN, "trust", "the model runs code that somebody vouched for; skops or ONNX would not")
    return Finding(Level.OK, "trust", "loading the model runs no code of its own")


def _package(bundle: Bundle) -> Finding:
    made = bundle.manifest
    if bundle.artefact.target:
        return Finding(Level.OK, "package", "a class has no package")
    if made is None:
        return Finding(
            Level.WARN, "package", "there is no manifest: changed bytes go unseen; `fairlead models log` adds it"
        )
    if made.runtime != "sklearn":
        return Finding(Level.OK, "package", made.why or "the manifest names the model")
    if made.parity is None or not made.parity.get("agrees"):
        return Finding(Level.WARN, "package", made.why or "the original serves; there is no parity report")
    return Finding(Level.OK, "package", made.why)


def _run(model: LoadedModel, example: Tensors) -> Iterator[Finding]:
    try:
        outputs = model.predict(example, {})
        again = model.predict(example, {})
    except Exception as error:  # noqa: BLE001 - a model may raise anything; that it does is the finding
        yield Finding(Level.FAIL, "example", f"the model fails on its own input example: {cause(error)}")
        return
    problems = [_misfit(spec, outputs.get(spec.name)) for spec in model.signature.outputs]
    wrong = [problem for problem in problems if problem]
    if wrong:
        yield Finding(Level.FAIL, "example", wrong[0])
    else:
        yield Finding(Level.OK, "example", f"answers its input example with {', '.join(outputs)}")
    if not _close(outputs, again):
        yield Finding(Level.WARN, "repeatable", "the same rows get different answers; seed the model")
    yield from _nan(outputs)
    rows = len(next(iter(example.values()))) if model.signature.batched else 1
    if rows > 1:
        yield from _batch(model, example, outputs, rows)


def _batch(model: LoadedModel, example: Tensors, outputs: Tensors, rows: int) -> Iterator[Finding]:
    alone = model.predict({name: array[:1] for name, array in example.items()}, {})
    first = {name: array[:1] for name, array in outputs.items()}
    if not _close(first, alone):
        message = "a row gets another answer alone than in a batch: the model mixes rows; serve it with --max-rows 1"
        yield Finding(Level.FAIL, "rows", message)
    same = [name for name, array in outputs.items() if array.dtype.kind == "f" and not np.any(array != array[:1])]
    if same and rows >= 3:
        message = f"output {same[0]!r} is the same for all {rows} rows of the example"
        yield Finding(Level.WARN, "constant", message)


def _latency(model: LoadedModel, example: Tensors, measure: Measure) -> Iterator[Finding]:
    row = {name: array[:1] for name, array in example.items()} if model.signature.batched else example
    curve = measure(row) if row else ()
    if curve:
        shown = [f"{rows} {'rows' if rows > 1 else 'row'} {_duration(seconds)}" for rows, seconds in curve]
        best = max(rows / seconds for rows, seconds in curve)
        yield Finding(Level.OK, "latency", f"{', '.join(shown)}; at best {best:,.0f} rows a second")


def _nan(outputs: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[Finding]:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            yield Finding(Level.FAIL, "nan", f"output {name!r} holds NaN for an ordinary row")


def _misfit(spec: TensorSpec, array: np.ndarray[Any, Any] | None) -> str:
    if array is None:
        return f"the signature promises the output {spec.name!r}, which the model does not give"
    fits = len(spec.shape) == array.ndim and all(
        want in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.dtype != spec.datatype.numpy:
        found = f"{array.dtype} {list(array.shape)}"
        return f"output {spec.name!r}: expected {spec.datatype} {list(spec.shape)}, found {found}"
    return ""


def _close(a: Tensors, b: Tensors) -> bool:
    for name, one in a.items():
        other = b[name]
        if one.dtype.kind != "f":
            if not np.array_equal(one, other):
                return False
        elif one.shape != other.shape or not np.allclose(
            one, other, rtol=0, atol=_AGREES * float(np.nanmax(np.abs(one), initial=1e-30)), equal_nan=True
        ):
            return False
    return True


def _neutral(spec: TensorSpec) -> np.ndarray[Any, Any]:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    return np.full(shape, "" if spec.datatype is DataType.BYTES else 0, spec.datatype.numpy)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
