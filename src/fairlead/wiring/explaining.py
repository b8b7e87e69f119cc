"""What explanations of an endpoint are held against: rows from a file, or the example that a model came with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead.contracts.errors import FairleadError, InputError, SourceNotFound, UsageError
from fairlead.contracts.types import DataType, Signature, Tensors
from fairlead.package.table import read_csv
from fairlead.serve.explain.asking import BACKGROUND_ROWS, Explainer
from fairlead.serve.explain.table import Table
from fairlead.serve.validate import validate


@dataclass(frozen=True, slots=True)
class Explained:
    """As the user asks. ``background``: CSV file; empty for the model's input example."""

    background: str = ""
    samples: int = 64
    output: str = ""
    column: int | None = None


def explainer(endpoint: str, asked: Explained, signature: Signature, example: Tensors | None) -> Explainer:
    """Raises UsageError for a file that is not there, or does not fit the endpoint."""
    if not asked.background:
        return Explainer(_fitting(example, signature), asked.samples, asked.output, asked.column)
    where = f"endpoint {endpoint!r}: explain.background {asked.background}"
    try:
        rows = _read(Path(asked.background).expanduser(), signature)
        Table.of(signature, rows)
    except (InputError, SourceNotFound) as error:
        raise UsageError(f"{where}: {error}") from None
    kept = {name: array[:BACKGROUND_ROWS] for name, array in rows.items()}
    if not all(map(len, kept.values())):
        raise UsageError(f"{where} has no rows")
    return Explainer(kept, asked.samples, asked.output, asked.column)


def _read(path: Path, signature: Signature) -> Tensors:
    """Its columns as the inputs of the same names, or side by side as the one tensor that the endpoint takes."""
    specs = signature.inputs
    columns = read_csv(path, {spec.name: spec.datatype for spec in specs if spec.datatype is DataType.BYTES})
    if len(specs) == 1 and specs[0].name not in columns:
        return validate({specs[0].name: np.concatenate([*columns.values()], axis=1)}, signature)
    flat = {spec.name for spec in specs if len(spec.shape) == 1}
    given = {name: array.reshape(-1) if name in flat else array for name, array in columns.items()}
    return validate(given, signature)


def _fitting(example: Tensors | None, signature: Signature) -> Tensors | None:
    """The example as the model takes it; None where it does not, or the model is no table."""
    try:
        if not example or not signature.batched:
            return None
        rows = validate(example, signature)
        Table.of(signature, rows)
    except FairleadError:
        return None
    return {name: array[:BACKGROUND_ROWS] for name, array in rows.items()} if all(map(len, rows.values())) else None
