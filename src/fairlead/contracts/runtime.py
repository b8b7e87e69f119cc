"""Plugin contract: a runtime runs one model format. Entry-point group ``fairlead.runtimes``.

A runtime is found by the name that ``package/formats.py`` gives to the format (``onnx``, ``sklearn``, ``python``,
``mlflow``, ``xgboost``, ``lightgbm``, ``litert``, ``torch``, ``tensorflow``). The entry point is a class without
constructor arguments. The
check-suite that every runtime must pass is ``fairlead.testing.runtime_suite``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fairlead.contracts.types import Parameters, Signature, Tensors


@dataclass(frozen=True, slots=True)
class Artefact:
    """What a runtime is given: verified and trusted by the time it sees it.

    ``path``: file or folder (None for a Python class).  ``target``: ``module:Class`` for a Python class.
    ``signature``: what the package says, if it says anything; the loaded model may refine it.
    ``details``: format facts, for example the ``MLmodel`` document of an MLflow folder.
    ``trusted_types``: extra types that somebody vouched for (skops).  ``trusted``: pickle and bundled code may run.
    """

    format: str
    path: Path | None = None
    target: str = ""
    signature: Signature | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = False
    trusted_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """``threads``: intra-op threads (0: the runtime decides).  ``providers``: execution providers by name."""

    threads: int = 0
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traits:
    """What the batcher and the executor need to know.

    ``releases_gil``: ``predict`` lets other Python threads run.  ``max_rows``: most rows in one ``predict`` (0: no
    limit; 1: a graph frozen to one row).  ``platform``: the OIP platform string, ``<project>_<format>``.
    """

    releases_gil: bool = False
    max_rows: int = 0
    platform: str = ""


class LoadedModel(Protocol):
    """A model in memory. ``predict`` is pure: same inputs, same outputs; inputs are never changed.

    The signature is complete (outputs too). ``predict`` raises any exception it likes: the pipeline turns it into
    ``ModelFailed`` and keeps the cause for the log. Every output of a batched model has as many rows as the inputs.
    """

    @property
    def signature(self) -> Signature: ...

    @property
    def traits(self) -> Traits: ...

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors: ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """Loads models of one format. ``load`` raises BrokenModel, Untrusted or MissingExtra, never anything else."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> LoadedModel: ...
