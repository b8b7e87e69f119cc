"""A Triton model repository: which models it holds, and what ``config.pbtxt`` says of one.

::

    model_repository/
        NAME/config.pbtxt
        NAME/1/model.onnx            or model.pt, or the folder model.savedmodel; the newest version is served

Read are ``max_batch_size``, the tensors' names, datatypes and dims, the version policy and the model's file name.
Scheduling (``dynamic_batching``, ``instance_group``) is Fairlead's own business and left aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, UnknownFormat
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.package import pbtxt

CONFIG = "config.pbtxt"
_FILES = {"onnxruntime": "model.onnx", "pytorch": "model.pt", "tensorflow": "model.savedmodel"}
"""Backends whose models are served here, and what their file or folder is called by custom."""
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
}
_TYPES = {f"TYPE_{one}": one for one in DataType if one is not DataType.BYTES} | {"TYPE_STRING": DataType.BYTES}
_KNOWING = ("onnxruntime", "tensorflow")
"""Backends whose models know their own shapes better."""
_UNKEPT = ("ensemble_scheduling", "sequence_batching")
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """``file``: of the version that is served.  ``max_rows``: ``max_batch_size``; 0 where it is not told.

    ``signature``: as the config says; None where it leaves that to the model.
    """

    name: str
    version: str
    file: Path
    signature: Signature | None = None
    max_rows: int = 0


def is_model(folder: Path) -> bool:
    """A folder with a config, or with a numbered folder that holds a model by its usual name."""
    try:
        if (folder / CONFIG).is_file():
            return True
        versions = _versions(folder)
        return any((folder / str(one) / name).exists() for one in versions for name in _FILES.values())
    except OSError:
        return False


def models(folder: Path) -> list[str]:
    """Names of the models in a repository, in order; empty for any other folder."""
    return sorted(one.name for one in folder.iterdir() if is_model(one))


def repository(path: Path) -> list[str]:
    """Names of the models where ``path`` is a model repository; empty where it is a model itself, or anything else."""
    try:
        return models(path) if path.is_dir() and not is_model(path) and not (path / "MLmodel").exists() else []
    except OSError:
        return []


def read(folder: Path) -> Model:
    """Raises BrokenModel for a config that does not parse or fit, UnknownFormat for a backend that is not here."""
    config = _config(folder / CONFIG)
    backend = _backend(folder, config)
    versions = _chosen(folder, config)
    if not versions:
        raise BrokenModel(f"{folder} has no numbered folder with a version in it; make {folder.name}/1")
    newest = versions[-1]
    names = [str(_one(config, "default_model_filename", ""))] if config.get("default_model_filename") else []
    names = names or ([_FILES[backend]] if backend else [*_FILES.values()])
    file = next((found for name in names if (found := _inside(folder / str(newest), name)).exists()), None)
    if file is None:
        raise BrokenModel(f"{folder}: version {newest} has no {' and no '.join(names)}")
    rows = _whole(config, "max_batch_size", folder)
    inputs, outputs = _specs(folder, config, "input", rows), _specs(folder, config, "output", rows)
    told = bool(inputs) and (rows > 0 or backend not in _KNOWING)
    signature = Signature(inputs, outputs, batched=rows > 0) if told else None
    return Model(folder.name, str(newest), file, signature, max(rows, 0))


def _config(path: Path) -> pbtxt.Message:
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _LARGEST:
            raise BrokenModel(f"{path} has over {_LARGEST} bytes, which no configuration needs")
        return pbtxt.parse(path.read_text())
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{path} cannot be read: {error}") from error


def _backend(folder: Path, config: pbtxt.Message) -> str:
    """The backend, in Triton's words; empty where the config leaves it to the file."""
    platform = str(_one(config, "platform", ""))
    backend = str(_one(config, "backend", "")) or _PLATFORMS.get(platform, platform)
    unkept = next((one for one in _UNKEPT if one in config), "")
    if unkept or (backend and backend not in _FILES):
        what = f"has {unkept}" if unkept else f"is for the backend {backend!r}"
        raise UnknownFormat(
            f"{folder.name} in the Triton repository {what}, which is not run here "
            "(onnxruntime, pytorch and tensorflow are); "
            f"give the folders of the other models one by one, or take {folder.name} out"
        )
    return backend


def _versions(folder: Path) -> list[int]:
    return sorted(int(one.name) for one in folder.iterdir() if one.name.isascii() and one.name.isdigit())


def _chosen(folder: Path, config: pbtxt.Message) -> list[int]:
    """Versions that may be served, oldest first: all that are there, or those that the policy names."""
    there = _versions(folder)
    policy = _one(config, "version_policy", {})
    specific = _one(policy, "specific", {}) if isinstance(policy, Mapping) else {}
    named = specific.get("versions", []) if isinstance(specific, Mapping) else []
    return [one for one in there if one in named] if named else there


def _specs(folder: Path, config: pbtxt.Message, field: str, rows: int) -> tuple[TensorSpec, ...]:
    found = []
    for entry in config.get(field, []):
        if not isinstance(entry, Mapping) or not entry.get("name"):
            raise BrokenModel(f"{folder / CONFIG}: an {field} has no name")
        name, kind = str(entry["name"][0]), str(_one(entry, "data_type", ""))
        if kind not in _TYPES:
            raise BrokenModel(f"{folder / CONFIG}: the {field} {name!r} has the data_type {kind or 'of nobody'!r}")
        if "reshape" in entry:
            raise UnknownFormat(f"{folder / CONFIG}: the {field} {name!r} is reshaped, which is not done here")
        dims = entry.get("dims", [])
        if not all(isinstance(size, int) and size >= -1 for size in dims):
            raise BrokenModel(f"{folder / CONFIG}: the dims of {name!r} are {dims}; whole numbers were expected")
        found.append(TensorSpec(name, _TYPES[kind], (*((-1,) if rows > 0 else ()), *dims)))
    return tuple(found)


def _whole(config: pbtxt.Message, field: str, folder: Path) -> int:
    value = _one(config, field, 0)
    if not isinstance(value, int):
        raise BrokenModel(f"{folder / CONFIG}: {field} is {value!r}; a whole number was expected")
    return value


def _one(message: Mapping[str, list[Any]], field: str, default: Any) -> Any:
    """The last value of a field, as protobuf reads one that stands twice."""
    return (message.get(field) or [default])[-1]


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name:
        raise BrokenModel(f"{folder.parent / CONFIG}: default_model_filename {name!r} is no name of a file")
    return path
