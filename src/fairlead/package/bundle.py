"""Bundles: a model that was found, verified and allowed to load. Nothing here loads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, DigestMismatch, UnknownFormat, Untrusted
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.stores import Registry
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.config import Home
from fairlead.package import examples, manifest, pinned, risks, signature, triton, versions
from fairlead.package.formats import Format, identify, sniff
from fairlead.package.manifest import Manifest
from fairlead.package.risks import Risk
from fairlead.package.sources import Found, Kind, fetch, forget, parse
from fairlead.package.trust import TAG as TRUST_TAG
from fairlead.package.trust import TrustBook

_READS = {
    "onnx": ("onnx",),
    "sklearn": ("skops", "pickle"),
    "mlflow": ("mlflow",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "litert": ("tflite",),
    "torch": ("torchscript", "pt2", "mar"),
    "tensorflow": ("savedmodel",),
}
"""Which formats our own runtimes read; a runtime that somebody else wrote reads what it likes."""

_BOOSTERS = ("xgboost", "lightgbm")
"""Runtimes that read the native file in an MLflow folder of their flavor, when asked for by name. Else pyfunc does, and
a client gets what MLflow answers."""
_LEANS = {
    "sklearn": ("scikit-learn", "numpy", "scipy"),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "litert": ("ai-edge-litert",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
}
"""Libraries whose version may change what a runtime answers; not named: all that the package records."""
_NO_PYTHON = ("skops", "xgboost", "lightgbm", "tflite", "torchscript", "pt2", "savedmodel")
"""Formats that are read alike under every version of Python."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """``name``: default endpoint name.  ``version``: the registry's; ``1`` for a file or a class.

    ``digest``: SHA-256 over the bytes (empty for a class).  ``notes``: sentences that a user must be told.
    ``example``: the input example, rows on axis 0, for warm-up; None without one.
    ``runs_code``: loading it runs code that came with it and that somebody vouched for: a pickle, a folder's code.
    ``max_rows``: the most rows that the package allows in a batch; 0 when it says nothing.
    """

    name: str
    version: str
    uri: str
    artefact: Artefact
    digest: str
    notes: tuple[str, ...] = ()
    manifest: Manifest | None = None
    example: Tensors | None = None
    runs_code: bool = False
    max_rows: int = 0


@dataclass(frozen=True, slots=True)
class _Choice:
    """What will be loaded by which runtime. ``format``: what the bytes at ``path`` are."""

    runtime: str
    path: Path
    format: Format
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Package:
    """A fetched file or folder with what it says about itself."""

    path: Path
    manifest: Manifest | None = None
    mlmodel: Mapping[str, Any] = field(default_factory=dict)
    triton: triton.Model | None = None

    @property
    def signature(self) -> Signature | None:
        if self.triton is not None:
            return self.triton.signature
        return self.manifest.signature if self.manifest else signature.from_mlmodel(self.mlmodel)


class Opener:
    """Resolve, verify, apply the trust policy. ``registry`` is asked for only when a source needs it."""

    def __init__(self, home: Home, registry: Callable[[], Registry], trust: TrustBook) -> None:
        self._home = home
        self._registry = registry
        self._trust = trust

    @staticmethod
    def default_name(uri: str) -> str:
        """What an endpoint is called when nobody chose a name. Raises UsageError for what is no model URI."""
        return parse(uri).name

    def open(self, uri: str, *, trust_pickle: bool = False, runtime: str = "") -> Bundle:
        """Find the model, verify its bytes and decide whether it may load.

        ``trust_pickle`` vouches for this one time, and only for what is not a registered version: those have
        ``fairlead models trust``. ``runtime`` overrides the choice. Raises ModelError, RegistryError or UsageError.
        """
        source = parse(uri)
        if source.kind is Kind.CLASS:
            return _of_class(fetch(source, self._registry, self._home), runtime)
        found = pinned.bring(source, self._registry, self._home)
        try:
            package = _verified(found)
            choice = _choose(package, runtime)
            dangers = _risks(package, choice)
            decision = None if trust_pickle and not source.registered else self._trust.admit(found, dangers)
        except (DigestMismatch, Untrusted) as error:
            if isinstance(error, DigestMismatch) or (found.version and TRUST_TAG in found.version.tags):
                forget(found, self._home)  # the registry may have the right bytes again by the next start
            raise
        vouched = bool(decision) or (trust_pickle and not source.registered)
        skops = choice.format.name == "skops"
        return Bundle(
            name=source.name,
            version=found.version.version if found.version else package.triton.version if package.triton else "1",
            uri=uri,
            artefact=Artefact(
                choice.runtime,
                path=choice.path,
                signature=package.signature,
                details={**choice.format.details, "content": choice.format.name, "mlmodel": package.mlmodel},
                trusted=vouched,
                trusted_types=risks.skops_types(choice.path) if vouched and skops else (),
            ),
            digest=found.digest,
            notes=_notes(package, choice),
            manifest=package.manifest,
            example=_example(package),
            runs_code=bool(dangers),
            max_rows=package.triton.max_rows if package.triton else 0,
        )


def _of_class(found: Found, runtime: str) -> Bundle:
    """A class of the user's own, which needs no trust. With safetensors weights it builds a PyTorch module."""
    source = found.source
    weights = found.path is not None and identify(found.path).name == "safetensors"
    artefact = Artefact(runtime or ("torch" if weights else "python"), found.path, source.target, trusted=True)
    return Bundle(source.name, "1", source.uri, artefact, found.digest)


def _verified(found: Found) -> _Package:
    """Read the manifest and compare every byte with it, and the manifest with the registry's tag."""
    path = found.path
    if path is None:
        raise UnknownFormat(f"{found.source.uri} has no files")
    tag = found.version.tags.get(manifest.TAG) if found.version else None
    packaged = manifest.read(path) if path.is_dir() else None
    if tag and (packaged is None or manifest.file_digest(path / manifest.PATH) != tag):
        state = "missing" if packaged is None else "not the one that was registered"
        raise DigestMismatch(f"{found.source.handle}: its {manifest.PATH} is {state}; log the model again")
    if packaged:
        manifest.verify(path, packaged)
    if not path.is_dir():
        return _Package(path)
    format_ = identify(path)
    if format_.name == "triton":
        return _Package(path, triton=triton.read(path))
    mlmodel = format_.details.get("mlmodel", {})
    risks.check_paths(path, mlmodel)
    return _Package(path, packaged, mlmodel)


def _choose(package: _Package, runtime: str) -> _Choice:
    """Runtime and file: what the user said, else the manifest, else the format and the MLmodel's flavors."""
    packaged = package.manifest
    if package.triton is not None:
        format_ = sniff(package.triton.file)
        return _agreeing(_Choice(runtime or format_.runtime, package.triton.file, format_))
    if packaged and runtime in ("", packaged.runtime):
        path = package.path if packaged.artefact == "." else manifest.inside(package.path, packaged.artefact)
        return _agreeing(_Choice(packaged.runtime, path, identify(path), packaged.why))
    if package.path.is_dir():
        chosen = _from_flavors(package, runtime)
        return _agreeing(chosen) if chosen.runtime in _READS else chosen
    format_ = identify(package.path) if runtime else sniff(package.path)
    return _agreeing(_Choice(runtime or format_.runtime, package.path, format_))


def _from_flavors(package: _Package, runtime: str) -> _Choice:
    """scikit-learn and ONNX have runtimes of their own, that need no pandas and check types; pyfunc reads the rest."""
    folder, flavors = package.path, package.mlmodel.get("flavors", {})
    if not flavors:
        format_ = identify(folder) if runtime else sniff(folder)
        return _Choice(runtime or format_.runtime, folder, format_)
    sklearn, onnx = flavors.get("sklearn"), flavors.get("onnx")
    if sklearn is not None and runtime in ("", "sklearn") and not sklearn.get("code"):
        path = manifest.inside(folder, str(sklearn.get("pickled_model", "model.pkl")))
        return _Choice("sklearn", path, identify(path))
    if onnx is not None and runtime in ("", "onnx"):
        path = manifest.inside(folder, str(onnx.get("data", "model.onnx")))
        return _Choice("onnx", path, identify(path))
    saved = str(flavors.get("tensorflow", {}).get("saved_model_dir", ""))
    if saved and runtime in ("", "tensorflow") and not flavors["tensorflow"].get("code"):
        path = manifest.inside(folder, saved)
        return _Choice("tensorflow", path, identify(path))
    if runtime in _BOOSTERS and "data" in flavors.get(runtime, {}):
        path = manifest.inside(folder, str(flavors[runtime]["data"]))
        return _Choice(runtime, path, identify(path))
    if runtime in ("sklearn", "onnx", "tensorflow", *_BOOSTERS) or (not runtime and "python_function" not in flavors):
        names = ", ".join(sorted(map(str, flavors)))
        wanted = f"the runtime {runtime!r}" if runtime else "any runtime here"
        raise UnknownFormat(f"{folder} has the flavors {names}, and none of them is for {wanted}; log it with pyfunc")
    return _Choice(runtime or "mlflow", folder, identify(folder))


def _agreeing(choice: _Choice) -> _Choice:
    """Refuse a file that is not what its runtime reads, whoever claimed that it was."""
    reads = _READS.get(choice.runtime)
    if choice.runtime == "python":
        raise BrokenModel(f"{choice.path}: the python runtime serves classes; give package.module:ClassName")
    if reads and choice.format.name not in reads:
        error = Untrusted if choice.format.name in ("pickle", "torch") else BrokenModel
        raise error(
            f"{choice.path} is {choice.format.title}, and the runtime {choice.runtime!r} chosen for it reads "
            f"{' or '.join(reads)}; package the model again"
        )
    return choice


def _risks(package: _Package, choice: _Choice) -> list[Risk]:
    """Only what the chosen runtime reads can run: a pickle beside the ONNX file that serves is left alone."""
    if choice.runtime == "onnx":
        return []
    if choice.format.name == "savedmodel":
        return risks.of_saved_model(choice.path)
    if choice.path.is_dir():
        return risks.of_folder(choice.path, package.mlmodel)
    return risks.of_file(choice.path)


def _notes(package: _Package, choice: _Choice) -> tuple[str, ...]:
    """Why the original serves, and whose versions differ. An ONNX graph needs no library of those that made it."""
    if choice.runtime == "onnx" or not package.path.is_dir():
        return ()
    libraries, python = versions.recorded(package.path, package.mlmodel, package.manifest)
    if choice.runtime in _LEANS:
        libraries = {name: made for name, made in libraries.items() if name in _LEANS[choice.runtime]}
    differing = versions.notes(libraries, "" if choice.format.name in _NO_PYTHON else python)
    return (choice.why, *differing) if choice.why and choice.runtime == "sklearn" else differing


def _example(package: _Package) -> Tensors | None:
    described = package.signature
    return examples.read(package.path, package.mlmodel, described) if described and package.path.is_dir() else None
