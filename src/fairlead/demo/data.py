"""The demo's data: a real set that scikit-learn bundles, or any CSV with a target column."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest

MISSING = "missing"
"""The category that stands for a missing string: the model is fitted with it, the manifest tells the edges."""

MANY = 20
"""A numeric target with more distinct values than this is a quantity, not a class."""

UNIQUE = 0.5
"""A text column with more distinct values than this share of the rows says who a row is, not what it is like."""

CATEGORIES = 200
"""A text column with more distinct values than this (dates, places) would be as many columns, and minutes of work."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Data:
    """``train`` and ``held_out`` have the same columns; ``numeric`` and ``text`` name them. ``dropped``: and why."""

    name: str
    train: pd.DataFrame
    held_out: pd.DataFrame
    y_train: pd.Series
    y_held_out: pd.Series
    numeric: tuple[str, ...]
    text: tuple[str, ...]
    classes: tuple[object, ...]
    dropped: dict[str, str]

    @property
    def classification(self) -> bool:
        return bool(self.classes)


def bundled() -> Data:
    """Wisconsin breast cancer: 569 patients, 30 measurements, benign or malignant."""
    loaded = load_breast_cancer(as_frame=True)
    frame = loaded.data.rename(columns=lambda name: name.replace(" ", "_"))
    diagnosis = loaded.target.map(dict(enumerate(loaded.target_names))).rename("diagnosis")
    return split("tumour-classifier", frame, diagnosis, {})


def from_csv(path: Path, target: str, identifier: str | None) -> Data:
    """Read a CSV. Raises UsageError naming what is wrong with the file or the column names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would lose cells
            frame = pd.read_csv(path, na_values=[" "], skipinitialspace=True, index_col=False)
    except FileNotFoundError:
        raise UsageError(f"--data {path}: no such file") from None
    except (ValueError, UnicodeDecodeError, pd.errors.ParserWarning) as error:
        raise UsageError(f"--data {path} does not read as CSV: {str(error).splitlines()[0]}") from None
    for option, column in (("--target", target), ("--id", identifier)):
        if column is not None and column not in frame.columns:
            raise UsageError(f"{option} {column!r} is not a column of {path}{nearest(column, list(frame.columns))}")
    if target == identifier:
        raise UsageError(f"--target and --id both name {target!r}; a row is not named by what is predicted")
    frame = frame.replace([np.inf, -np.inf], np.nan).dropna(subset=[target])  # JSON carries no infinity
    if len(frame) < 50:
        raise UsageError(f"--data {path} has {len(frame)} rows with a {target!r}; the demo needs at least 50")
    dropped = {identifier: "the identifier"} if identifier else {}
    for column in frame.columns:
        if column not in (target, identifier) and (reason := _useless(frame[column])):
            dropped[column] = reason
    features = frame.drop(columns=[target, *dropped])
    if features.shape[1] == 0:
        raise UsageError(f"--data {path} has no column to learn from beside {target!r}")
    return split(_slug(path.name.partition(".")[0]), features, frame[target], dropped)


def split(name: str, features: pd.DataFrame, target: pd.Series, dropped: dict[str, str]) -> Data:
    """Type the columns, hold out a quarter (stratified where the target is a class)."""
    columns = [str(name) for name in features.columns]
    numeric = tuple(name for name in columns if _is_number(features[name]))
    text = tuple(name for name in columns if name not in numeric)
    typed = features.copy()
    for column in columns:
        typed[column] = features[column].astype(float) if column in numeric else _strings(features[column])
    quantity = pd.api.types.is_numeric_dtype(target) and target.nunique() > MANY
    labels = target.astype(float) if quantity else target.map(_label)
    counts = labels.value_counts()
    if not quantity and (len(counts) < 2 or counts.min() < 4):
        raise UsageError(
            f"target {target.name!r} needs at least two classes with four rows each; found {_counted(counts)}"
        )
    train, held_out, y_train, y_held_out = train_test_split(
        typed, labels, test_size=0.25, random_state=0, stratify=None if quantity else labels
    )
    classes = () if quantity else tuple(sorted(counts.index))
    return Data(name, train, held_out, y_train, y_held_out, numeric, text, classes, dropped)


def _useless(column: pd.Series) -> str:
    if column.isna().all():
        return "empty"
    different = 0 if pd.api.types.is_numeric_dtype(column) else column.nunique()
    if different > max(MANY, UNIQUE * len(column)):
        return "as good as unique: it says who a row is"
    if different > CATEGORIES:
        return f"{different} different values: too many to be categories"
    return ""


def _counted(counts: pd.Series) -> str:
    """``{'a': 60, 'b': 1}``, or the first few of many."""
    shown = ", ".join(f"{label!r}: {rows}" for label, rows in counts.head(_SHOWN).items())
    return f"{{{shown}}}" + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _strings(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), MISSING).astype(str).astype(object)


def _label(value: object) -> object:
    """Labels are strings or integers: what the protocol can carry back unchanged."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_) else str(value)


def _slug(stem: str) -> str:
    kept = "".join(c.lower() if c.isascii() and c.isalnum() else "-" for c in stem).strip("-")
    return "-".join(part for part in kept.split("-") if part) or "model"
