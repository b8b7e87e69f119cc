"""What a run leaves behind: the package, its lineage, the run in tracking, and what the next run tests data against."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import PipelineFailed, SourceNotFound
from fairlead.contracts.plans import RetrainRequest, RunLineage, Verdict
from fairlead.contracts.stores import Registry, Tracker, Version
from fairlead.kit.clock import Clock
from fairlead.kit.codec.records import from_body, to_body
from fairlead.package.pack import pack, pack_file
from fairlead.retrain import columns, steps
from fairlead.retrain.columns import TEXT, TIME, kind_of
from fairlead.retrain.profile import Profile
from fairlead.retrain.steps import Data, Pipeline, Tables

TAG = "fairlead."
"""Prefix of the tags of runs and versions."""
_FOLDER, _PROFILE, _SCHEMA = "data", "profile.json", "schema"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from. ``data``, ``holdout``, ``pipeline``: SHA-256 (hex).  ``parent``: the champion.

    ``trained_until``: newest time of the training rows, None without a time column.
    """

    request: str
    trigger: str
    data: str
    holdout: str
    pipeline: str
    commit: str
    parent: str
    trained_until: float | None = None

    def tags(self) -> dict[str, str]:
        found = {
            "request": self.request,
            "trigger": self.trigger,
            "data": self.data,
            "holdout": self.holdout,
            "pipeline": self.pipeline,
            "commit": self.commit,
            "parent": self.parent,
            "trained-until": "" if self.trained_until is None else repr(self.trained_until),
        }
        return {f"{TAG}{name}": value for name, value in found.items() if value}


def lineage(
    pipeline: Pipeline, data: Data, tables: Tables, request: RetrainRequest, champion: Version | None
) -> Lineage:
    times = columns.numbers(tables.train[data.time]) if data.time else np.zeros(0)
    return Lineage(
        request=request.id,
        trigger=request.trigger,
        data=columns.digest(tables.train),
        holdout=columns.digest(tables.holdout),
        pipeline=pipeline.digest,
        commit=steps.commit(pipeline.path),
        parent=champion.version if champion else "",
        trained_until=float(np.nanmax(times)) if len(times) else None,
    )


def told(model: str, origin: Lineage, data: Data, tables: Tables) -> RunLineage:
    """The lineage as the request keeps it, without the run."""
    times = columns.clock_ms(columns.joined(tables.train, tables.holdout)[data.time]) if data.time else None
    return RunLineage(
        model,
        origin.parent,
        columns.rows_of(tables.train),
        columns.rows_of(tables.holdout),
        None if times is None else int(times.min()),
        None if times is None else int(times.max()),
        origin.data,
        origin.holdout,
        origin.pipeline,
        origin.commit,
    )


def fresher(mine: Lineage, champion: Version) -> tuple[bool, str]:
    """Whether a challenger saw newer data than the champion, and how that is known."""
    until = champion.tags.get(f"{TAG}trained-until")
    if until is not None and mine.trained_until is not None:
        return mine.trained_until > float(until), f"trained until {mine.trained_until:g}, the champion until {until}"
    theirs = champion.tags.get(f"{TAG}data")
    if theirs is not None:
        return theirs != mine.data, "the digests of the training data were compared"
    return True, "the champion does not say what it was trained on"


@dataclass(frozen=True, slots=True)
class Previous:
    """What the champion's run kept of its training data; None for what it did not."""

    profile: Profile | None = None
    schema: bytes | None = None


def previous(registry: Registry, champion: Version | None, into: Path) -> Previous:
    """Fetch it. A champion without a run, or whose run kept nothing, has none. Raises RegistryError, StateError."""
    if champion is None or not champion.run_id:
        return Previous()
    into.mkdir(parents=True)
    try:
        folder = registry.download(f"runs:/{champion.run_id}/{_FOLDER}", into)
    except SourceNotFound:
        return Previous()
    profile, schema = folder / _PROFILE, folder / _SCHEMA
    return Previous(
        from_body(Profile, json.loads(profile.read_bytes())) if profile.is_file() else None,
        schema.read_bytes() if schema.is_file() else None,
    )


@dataclass(frozen=True, slots=True)
class Package:
    """``agrees``: what the parity report says, None when nothing was converted.  ``size``: bytes of all files."""

    folder: Path
    agrees: bool | None
    size: int


def package(
    model: Any, tables: Tables, into: Path, *, name: str, token: str | None, trusted: tuple[str, ...], clock: Clock
) -> Package:
    """Pack a fitted estimator, or the file that ``train`` returned the path of.

    Raises PipelineFailed for a feature that no model takes, and what ``package.pack`` raises.
    """
    if isinstance(model, str | Path):
        packed = pack_file(Path(model), into, name=name, trusted_types=trusted, clock=clock)
    else:
        rows = {feature: _input(feature, tables.holdout[feature]) for feature in tables.features}
        packed = pack(model, into, name=name, rows=rows, missing_token=token, trusted_types=trusted, clock=clock)
    size = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    return Package(packed.folder, None if packed.report is None else packed.report.agrees, size)


def _input(name: str, array: columns.Array) -> columns.Array:
    """Rows as an endpoint would send them: a column has shape [rows, 1]."""
    kind = kind_of(array)
    if kind == TIME:
        raise PipelineFailed(
            f"feature {name!r} holds times, which no model takes; make numbers of it, or name it in Data.time or ignore"
        )
    values = array
    if kind == TEXT:
        values = array.astype(object)
    elif array.dtype.kind == "O":
        values = columns.numbers(array)
    return values.reshape(-1, 1) if values.ndim == 1 else values


def keep(
    tracker: Tracker,
    experiment: str,
    origin: Lineage,
    verdict: Verdict,
    *,
    params: Mapping[str, str | int | float | bool],
    metrics: Mapping[str, float],
    profile: Profile | None,
    schema: bytes | None,
    pipeline: Path,
    work: Path,
) -> str:
    """Keep the run with its lineage, the verdict and what the next data tests need; its id."""
    work.mkdir(parents=True)
    files = {"verdict.json": json.dumps(to_body(verdict), indent=1).encode()}
    if profile is not None:
        files[f"{_FOLDER}/{_PROFILE}"] = json.dumps(to_body(profile)).encode()
    if schema is not None:
        files[f"{_FOLDER}/{_SCHEMA}"] = schema
    written: dict[str, Path] = {f"pipeline/{pipeline.name}": pipeline}
    for place, content in files.items():
        written[place] = work / place.replace("/", "-")
        written[place].write_bytes(content)
    tags = {**origin.tags(), f"{TAG}verdict": verdict.answer.value, f"{TAG}verdict-id": verdict.id}
    if origin.commit:
        tags["mlflow.source.git.commit"] = origin.commit
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    name = f"retrain-{origin.request}"
    return tracker.run(experiment, name, params=params, metrics=finite, tags=tags, files=written)


def numbers_of(verdict: Verdict) -> dict[str, float]:
    """The gate's metric of both models, and the lift, for the run's metrics."""
    found: dict[str, float] = {}
    for check in verdict.checks:
        if check.evidence.get("method"):
            prefix = "calibration" if check.name == "calibration" else "gate"
            for key in ("first", "second", "estimate", "lower"):
                label = {"first": "challenger", "second": "champion", "estimate": "lift", "lower": "lift_lower"}[key]
                found[f"{prefix}.{label}"] = float(check.evidence[key])
    return found
