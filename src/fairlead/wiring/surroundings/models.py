"""Whether the models of a spec can be opened and loaded here, and what they take."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.types import TensorSpec
from fairlead.kit.config import Home
from fairlead.kit.sentences import cause, without_secrets
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.doctor import Finding, Level
from fairlead.wiring import stores
from fairlead.wiring.surroundings.reached import Check

SECONDS: Final = 600.0
"""For each to be pulled and loaded: as long as a pod has for its start (``kubernetes``)."""


def checks(file: SpecFile, home: Home) -> Iterator[Check]:
    """One for each, to be done one after the other: a model is let go of before the next is loaded."""
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.model:
            where = file.at("endpoints", name, "model")
            told = f"{where}: {without_secrets(endpoint.model)}"
            yield Check("model", told, functools.partial(_found, where, endpoint, home))


def _found(where: str, endpoint: Endpoint, home: Home) -> Iterator[Finding]:
    yield _loaded(where, endpoint, home)


def _loaded(where: str, endpoint: Endpoint, home: Home) -> Finding:
    began = time.perf_counter()
    try:
        bundle = stores.opener(home).open(endpoint.model, trust_pickle=endpoint.trust_pickle, runtime=endpoint.runtime)
        if endpoint.env == "isolated":
            told = f"{where}: {bundle.uri} is here; it is loaded with libraries of its own, which were not tried"
            return Finding(Level.WARN, "model", told)
        model = stores.load_model(bundle, endpoint.threads, endpoint.providers)
    except FairleadError as error:
        return Finding(Level.FAIL, "model", f"{where}: {error}")
    except Exception as error:  # noqa: BLE001 - a class of the user may raise anything when it loads
        return Finding(Level.FAIL, "model", f"{where}: it cannot be loaded: {cause(error)}")
    try:
        seconds = time.perf_counter() - began
        takes, gives = _listed(model.signature.inputs), _listed(model.signature.outputs)
    finally:
        model.close()
    told = f"{where}: {bundle.artefact.format}, loaded in {seconds:.1f} s; takes {takes}; gives {gives}"
    return Finding(Level.OK if model.signature.inputs else Level.WARN, "model", told)


def _listed(tensors: tuple[TensorSpec, ...]) -> str:
    shown = ", ".join(f"{one.name} {one.datatype}" for one in tensors[:4])
    return (shown + (f" and {len(tensors) - 4} more" if len(tensors) > 4 else "")) or "what it does not name"
