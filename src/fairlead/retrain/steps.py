"""A training pipeline is a plain Python file: ``load_data(ctx)``, ``train(ctx, data)`` and, if it likes, ``evaluate``.

``docs/retraining.md`` shows one. Whatever it raises becomes one PipelineFailed that names its file and line.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import FairleadError, PipelineFailed
from fairlead.contracts.events import EventStore, by_fallback
from fairlead.contracts.plans import RetrainRequest
from fairlead.contracts.state import KnownLabel, StateStore
from fairlead.kit import plugins
from fairlead.kit.sentences import cause
from fairlead.retrain import columns
from fairlead.retrain.columns import Columns

Array = np.ndarray[Any, Any]

_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Data:
    """What ``load_data`` returns. Rows are in order of time, those of ``holdout`` newer than those of ``train``.

    ``train``, ``holdout``: a pandas data frame or a mapping of column names to arrays; both have the same columns.
    ``target``: the column to predict.  ``time``: a column that orders the rows and is no feature.
    ``ignore``: columns that are no features, for slices.
    """

    train: Any
    holdout: Any
    target: str
    time: str = ""
    ignore: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a pipeline is given. ``request``: who asked, and why.  ``home``: a folder that the run may write in.

    ``previous``: the champion's version, empty when there is none.  ``seed``: for whatever draws at random.
    ``events``, ``state``: the stores of this project, None where a run has none.
    """

    endpoint: str
    model: str
    request: RetrainRequest
    home: Path
    seed: int = 0
    previous: str = ""
    events: EventStore | None = None
    state: StateStore | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def log(self, name: str, value: float) -> None:
        """A metric for the run's record."""
        self.metrics[name] = float(value)

    def frame(self, *, since_ms: int = 0, until_ms: int | None = None, version: str = "") -> Mapping[str, Array]:
        """Rows that the model predicted, oldest first, column by column (``EventStore.frame``); empty without an event
        store. What a fallback answered is left out.
        """
        if self.events is None:
            return {}
        frame = self.events.frame(self.endpoint, since_ms=since_ms, until_ms=until_ms, version=version)
        fell = by_fallback(frame)
        return {name: column[~fell] for name, column in frame.items()} if fell.any() else frame

    def labels(self, *, since_ms: int = 0, until_ms: int | None = None) -> list[KnownLabel]:
        """Labels as they are known now."""
        return [] if self.state is None else self.state.labels(self.endpoint, since_ms=since_ms, until_ms=until_ms)

    def labelled(self, *, since_ms: int = 0, until_ms: int | None = None) -> Columns:
        """Predicted rows whose label is known, oldest first: the features under their own names, ``at_ms`` and
        ``label``. Rows of one prediction, or of one call and business key, are told apart by the label's row number.
        """
        frame = self.frame(since_ms=since_ms, until_ms=until_ms)
        known = {(one.label.by_key, one.label.key, one.label.row): one.label.value for one in self.labels()}
        places = [(place, next((known[one] for one in of if one in known), None)) for place, of in _named(frame)]
        found = [(place, value) for place, value in places if value is not None]
        kept = np.array([place for place, _ in found], int)
        names = {name: name.removeprefix("in.") for name in frame if name.startswith("in.")}
        table = {plain: frame[name][kept] for name, plain in names.items()}
        if "at_ms" in frame:
            table["at_ms"] = frame["at_ms"][kept]
        return {**table, _LABEL: np.array([value for _, value in found])}


def _named(frame: Mapping[str, Array]) -> Iterator[tuple[int, list[tuple[bool, str, int]]]]:
    """Each row's place, and what a label may call it: by prediction id first, then by business key and which of its
    call's rows with that key it is."""
    ids = frame.get("prediction_id", np.zeros(0))
    keys = frame.get("entity", np.full(len(ids), None))
    arms = frame.get("arm", np.full(len(ids), ""))
    counted: Counter[tuple[str, str, str]] = Counter()
    for place, (name, row, key, arm) in enumerate(zip(ids, frame.get("row", ids), keys, arms, strict=True)):
        if arm == "shadow":  # the same call once more
            continue
        called = [(False, str(name), int(row))]
        if key is not None:
            answer = (str(name), str(arm), str(key))
            called.append((True, str(key), counted[answer]))
            counted[answer] += 1
        yield place, called


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline's functions. ``digest``: SHA-256 of the file."""

    path: Path
    digest: str
    load_data: Callable[[Context], Any]
    train: Callable[[Context, Any], Any]
    evaluate: Callable[[Context, Any, Any], Any] | None = None

    def loaded(self, ctx: Context) -> Data:
        """Call ``load_data``. Raises PipelineFailed when it raises or returns no usable Data."""
        data = self._call("load_data", self.load_data, ctx)
        if not isinstance(data, Data):
            raise PipelineFailed(
                f"{self.path}: load_data returned a {type(data).__name__}; return a retrain.steps.Data"
            )
        return data

    def trained(self, ctx: Context, data: Data) -> Any:
        """Call ``train``. Raises PipelineFailed when it raises or returns nothing."""
        model = self._call("train", self.train, ctx, data)
        if model is None:
            raise PipelineFailed(
                f"{self.path}: train returned nothing; return a fitted estimator or the path of a model"
            )
        return model

    def evaluated(self, ctx: Context, model: Any, data: Data) -> dict[str, float]:
        """Call ``evaluate`` if there is one: metric name to number. Raises PipelineFailed."""
        if self.evaluate is None:
            return {}
        found = self._call("evaluate", self.evaluate, ctx, model, data) or {}
        try:
            return {str(name): float(value) for name, value in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise PipelineFailed(
                f"{self.path}: evaluate returns a mapping of names to numbers; {cause(error)}"
            ) from error

    def _call(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        try:
            return function(*given)
        except FairleadError:
            raise
        except Exception as error:
            raise PipelineFailed(f"{name} of {_place(error, self.path)} raised {cause(error)}") from error


def pipeline(path: Path) -> Pipeline:
    """Load a pipeline by its path. Raises UsageError for no file, PipelineFailed when it raises or lacks a function."""
    try:
        module = plugins.module_from(path)
    except FairleadError:
        raise
    except SyntaxError as error:
        raise PipelineFailed(f"{path}, line {error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise PipelineFailed(f"{_place(error, path)}: {plugins.missing(error, 'the pipeline')}") from error
    except Exception as error:
        raise PipelineFailed(f"{_place(error, path)} raised {cause(error)} while it was loaded") from error
    found = {name: getattr(module, name, None) for name in ("load_data", "train", "evaluate")}
    for name in ("load_data", "train"):
        if not callable(found[name]):
            wanted = {"load_data": "load_data(ctx)", "train": "train(ctx, data)"}[name]
            raise PipelineFailed(f"{path} has no function {wanted}; define it")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pipeline(path, digest, **found)  # type: ignore[arg-type]  # callable() was asked


@dataclass(frozen=True, slots=True)
class Tables:
    """``Data`` as columns. ``features``: names, in order."""

    train: Columns
    holdout: Columns
    features: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of all rows, training and hold-out."""
        return columns.digest(self.train, self.holdout)


def tables(data: Data, path: Path) -> Tables:
    """Raises PipelineFailed when a table is none, or lacks a column that ``data`` names."""
    try:
        train, holdout = columns.columns(data.train), columns.columns(data.holdout)
    except FairleadError as error:
        raise PipelineFailed(f"load_data of {path}: {error}") from error
    for what, table in (("train", train), ("holdout", holdout)):
        for name in (data.target, *([data.time] if data.time else []), *data.ignore):
            if name not in table:
                have = ", ".join(table) or "none"
                raise PipelineFailed(f"load_data of {path}: {what} has no column {name!r}; it has {have}")
    if set(train) != set(holdout):
        other = min(set(train) ^ set(holdout))
        raise PipelineFailed(f"load_data of {path}: only one of train and holdout has the column {other!r}")
    apart = {data.target, data.time, *data.ignore}
    return Tables(train, holdout, tuple(name for name in train if name not in apart))


def commit(path: Path) -> str:
    """The git commit that is checked out where ``path`` lies, read from the files; empty when there is none."""
    for folder in path.absolute().parents:
        git = folder / ".git"
        if git.is_file():
            git = (folder / git.read_text().partition("gitdir:")[2].strip()).resolve()
        if (git / "HEAD").is_file():
            return _head(git)
    return ""


def _head(git: Path) -> str:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.partition(":")[2].strip()
    shared = git / "commondir"
    roots = [git, (git / shared.read_text().strip()).resolve()] if shared.is_file() else [git]
    for root in roots:
        if (root / name).is_file():
            return (root / name).read_text().strip()
        packed = root / "packed-refs"
        for line in packed.read_text().splitlines() if packed.is_file() else ():
            if line.endswith(f" {name}"):
                return line.partition(" ")[0]
    return ""


def _place(error: BaseException, path: Path) -> str:
    """``FILE, line N`` of the last line of the pipeline's own file in the traceback."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.absolute()
    ]
    return f"{path}, line {lines[-1]}" if lines else str(path)
