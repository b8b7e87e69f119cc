"""Reads a fitted estimator: skops files by an allow-list of types, pickles only when somebody vouched for them."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import joblib
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from fairlead.adapters.runtimes.sklearn.allowed import ALLOWED
from fairlead.adapters.runtimes.sklearn.audit import audit
from fairlead.contracts.errors import BrokenModel, FairleadError, MissingExtra, Untrusted
from fairlead.contracts.runtime import Artefact
from fairlead.kit.sentences import cause


def read(artefact: Artefact) -> Any:
    """The estimator in the artefact's file, or in the file that an MLflow folder names.

    A skops file is never read as anything else, and the list of types that an ``MLmodel`` says to trust is not looked
    at: the file would vouch for itself. Raises Untrusted, BrokenModel or MissingExtra.
    """
    path = _file(artefact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a version mismatch is told once, by the bundle's notes
        return _skops(path, artefact.trusted_types) if zipfile.is_zipfile(path) else _pickle(path, artefact.trusted)


def _skops(path: Path, vouched: tuple[str, ...]) -> Any:
    try:
        estimator = skops.io.load(path, trusted=[*ALLOWED, *vouched])
        audit(estimator)
    except UntrustedTypesFoundException as error:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - {*ALLOWED, *vouched})
        raise Untrusted(
            f"{path.name} holds {', '.join(unknown[:5])}, which is not on the list of harmless types"
        ) from error
    except FairleadError:
        raise
    except Exception as error:  # any file may be broken in any way
        raise BrokenModel(f"{path.name} cannot be read as a skops file: {cause(error)}") from error
    return estimator


def _pickle(path: Path, trusted: bool) -> Any:
    if not trusted:
        raise Untrusted(f"{path.name} is a pickle: loading it runs whatever code it holds")
    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{path.name} needs the library {error.name!r}, which is not installed: pip install {error.name}"
        ) from error
    except Exception as error:  # a pickle may raise anything
        raise BrokenModel(f"{path.name} cannot be unpickled: {cause(error)}") from error


def _file(artefact: Artefact) -> Path:
    path = artefact.path
    if path is None or not path.exists():
        raise BrokenModel(f"there is no model file at {path}")
    if path.is_file():
        return path
    flavor = artefact.details.get("mlmodel", {}).get("flavors", {}).get("sklearn", {})
    named = path / str(flavor.get("pickled_model", "model.skops"))
    if not named.is_file() or not named.resolve().is_relative_to(path.resolve()):
        raise BrokenModel(f"{path.name} holds no scikit-learn model at {named.name}")
    return named
