"""What a file or folder is, by its content and never by its name."""

from __future__ import annotations

import mmap
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat
from fairlead.package import llms, torchserve, triton
from fairlead.package.pickles import is_pickle
from fairlead.package.protobuf import onnx_header

_HEAD = 4096
_LARGEST_MLMODEL = 16 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """``name``: ours.  ``runtime``: the plugin that reads it, empty when none here does.  ``title``: for sentences.

    ``details``: facts found on the way: ``opsets``, ``ir_version`` and ``producer`` of an ONNX file, ``mlmodel`` (the
    document, whose flavors are dictionaries) of an MLflow folder.
    """

    name: str
    runtime: str
    title: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def _foreign(name: str, title: str, remedy: str) -> Format:
    return Format(name, "", title, remedy)


_SKOPS = Format("skops", "sklearn", "a skops file")
_PICKLE = Format("pickle", "sklearn", "a pickle")
_XGBOOST = Format("xgboost", "xgboost", "an XGBoost model")
_LIGHTGBM = Format("lightgbm", "lightgbm", "a LightGBM text model")
_TFLITE = Format("tflite", "litert", "a LiteRT (TensorFlow Lite) model")
_TO_ONNX = "export it to ONNX, or log it with MLflow and serve the MLflow folder"
_CLASS = "wrap it in a class with load and predict, and serve package.module:ThatClass"
_EXPORT = (
    "load it in Keras and give the folder that model.export(folder) writes (with TensorFlow before 2.16: "
    f"model.save(folder)), or {_CLASS}"
)
_SAFETENSORS = _foreign(
    "safetensors",
    "safetensors weights",
    f"weights alone have no code to run: name the PyTorch class too, package.module:Class@FILE, or {_TO_ONNX}",
)
_AS_LLM = "`fairlead serve PATH` serves it, or an endpoint with `llm: {model: PATH}` in the spec"
_GGUF = _foreign("gguf", "a GGUF language model", _AS_LLM)
_TORCHSCRIPT = Format("torchscript", "torch", "a TorchScript program")
_PT2 = Format("pt2", "torch", "a PyTorch 2 export archive (.pt2)")
_TORCH = _foreign(
    "torch",
    "a pickled PyTorch checkpoint",
    "save the module with torch.export.save, or its weights with safetensors.torch.save_model and serve "
    "package.module:Class@FILE",
)
_KERAS = _foreign("keras", "a Keras archive", _EXPORT)
_ORT = _foreign("ort", "an ONNX Runtime .ort file", "serve the .onnx file that it was made from")
_CATBOOST = _foreign("catboost", "a CatBoost model", "export it with save_model(format='onnx') and serve that")
_HDF5 = _foreign("hdf5", "an HDF5 file (older Keras)", _EXPORT)
_OPENVINO = _foreign("openvino", "an OpenVINO IR model", f"serve the ONNX file that it was made from, or {_CLASS}")
_SAVED_MODEL = Format("savedmodel", "tensorflow", "a TensorFlow SavedModel folder")
_COREML = _foreign("coreml", "a Core ML package", f"serve the model that it was made from, or {_CLASS}")
_TRANSFORMERS = _foreign("transformers", "a Hugging Face model folder", _TO_ONNX)
_NUMPY = _foreign("numpy", "a numpy array", "an array is no model: give the file of the model itself")
_ZIP = _foreign("zip", "a zip archive that holds no model known here", "unpack it and give the model inside")
_HTML = _foreign("html", "an HTML page, not a model", "the download saved a login or error page: fetch it again")
_LFS = _foreign("git-lfs", "a Git LFS pointer, not the model", "run `git lfs pull` in its repository")
_JSON = _foreign("json", "a JSON text that is no model known here", "give the file of the model itself")
_TEXT = _foreign("text", "a text, not a model", "give the file of the model itself")
_PYTHON = _foreign(
    "python", "Python source", "to serve a class in it, give package.module:ClassName instead of the file"
)

_MAGIC: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"GGUF", _GGUF),
    (4, b"TFL3", _TFLITE),
    (4, b"ORTM", _ORT),
    (0, b"CBM1", _CATBOOST),
    (0, b"\x89HDF\r\n\x1a\n", _HDF5),
    (0, b"\x93NUMPY", _NUMPY),
    (0, b"version https://git-lfs.github.com/spec/", _LFS),
)


def sniff(path: Path) -> Format:
    """The format of a file or folder, one that an own runtime reads.

    Raises SourceNotFound (nothing there), BrokenModel (cut short), UnknownFormat (says what it is and what to do).
    """
    found = identify(path)
    if not found.runtime:
        raise UnknownFormat(f"{path} is {found.title}, which no runtime here reads; {found.remedy}")
    return found


def identify(path: Path) -> Format:
    """Like ``sniff``, but answers formats without a runtime too (``runtime`` is empty)."""
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            raise SourceNotFound(f"{path}: no such file or folder")
        if not path.is_file():
            raise UnknownFormat(f"{path} is neither a file nor a folder; give the path of a model")
        if path.stat().st_size == 0:
            raise BrokenModel(f"{path} is empty (0 bytes); write or fetch the model again")
        return _file(path)
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror or error}") from error


def _file(path: Path) -> Format:
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    for offset, magic, found in _MAGIC:
        if head[offset:].startswith(magic):
            return found
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if _is_safetensors(head, path.stat().st_size):
        return _SAFETENSORS
    if onnx := _onnx(path):
        return onnx
    if is_pickle(path):
        return _PICKLE
    return _text(path, head)


def _onnx(path: Path) -> Format | None:
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = onnx_header(data)
    if header is None:
        return None
    if header.flaw:
        raise BrokenModel(
            f"{path} is an ONNX model that is broken or cut short: {header.flaw}; export or fetch it again"
        )
    details = {"opsets": header.opsets, "ir_version": header.ir_version, "producer": header.producer}
    return Format("onnx", "onnx", "an ONNX model", details=details)


def _zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BrokenModel(f"{path} is a zip archive that is broken or cut short ({error}); fetch it again") from error
    tails = {name.partition("/")[2] for name in names}
    if "schema.json" in names:
        return _SKOPS
    if {"data.pkl", "constants.pkl"} <= tails and any(tail.startswith("code/") for tail in tails):
        return _TORCHSCRIPT
    if "MAR-INF/MANIFEST.json" in names:
        return _mar(path)
    if "archive_format" in tails or "archive_format" in names or "serialized_exported_program.json" in names:
        return _PT2
    if "data.pkl" in tails:
        return _TORCH
    if "model.weights.h5" in names and "config.json" in names:
        return _KERAS
    return _NUMPY if names and all(name.endswith(".npy") for name in names) else _ZIP


def _mar(path: Path) -> Format:
    """What is to be served of a TorchServe archive. Raises UnknownFormat for one whose handler is code of its own."""
    found = torchserve.read(path)
    return Format("mar", "torch", "a TorchServe archive", details={"member": found})


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= size - 8 and b'"' in head[9:24]


def _text(path: Path, head: bytes) -> Format:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start[:512].lower()
    if (start.startswith(b"{") and b"learner" in head[:256]) or _is_old_xgboost(head):
        return _XGBOOST
    if start.startswith(b"tree\nversion=v"):
        return _LIGHTGBM
    if lower.startswith((b"<!doctype html", b"<html")):
        return _HTML
    if start.startswith(b"<") and b"<net " in head[:1024]:
        return _OPENVINO
    if not _is_text(head):
        raise UnknownFormat(
            f"{path} begins with the bytes {head[:8].hex(' ')} and is no model format known here; "
            f"{_TO_ONNX}, or {_CLASS}"
        )
    if start.startswith((b"{", b"[")):
        return _JSON
    words = (b"import ", b"from ", b"def ", b"class ")
    return _PYTHON if any(line.startswith(words) for line in head.splitlines()) else _TEXT


def _is_old_xgboost(head: bytes) -> bool:
    """XGBoost's binary format of old: 136 bytes of numbers, then the objective as a string with its length in front."""
    length = int.from_bytes(head[136:144], "little")
    return head.startswith(b"binf") or bool(
        4 < length < 64 and re.fullmatch(rb"(binary|count|multi|rank|reg|survival):[a-z]+", head[144 : 144 + length])
    )


def _is_text(head: bytes) -> bool:
    try:
        head[: _HEAD - 4].decode("utf-8") if len(head) < _HEAD else head[: _HEAD - 4].decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return False
    return not any(byte < 9 or 13 < byte < 27 for byte in head)


def _folder(path: Path) -> Format:
    if (path / "MLmodel").is_file():
        return Format("mlflow", "mlflow", "an MLflow model folder", details={"mlmodel": _mlmodel(path / "MLmodel")})
    names = {entry.name for entry in path.iterdir()}
    if triton.is_model(path):
        return Format("triton", "triton", "a model of a Triton repository")
    if triton.models(path):
        held = ", ".join(triton.models(path))
        return _foreign("repository", "a Triton model repository", f"it holds {held}: give one of these folders")
    if "saved_model.pb" in names:
        return _SAVED_MODEL
    if {"Manifest.json", "Data"} <= names:
        return _COREML
    if llms.looks(path):
        found = llms.about(path)
        return _foreign({llms.HF: "transformers"}.get(found.kind, found.kind), found.title, _AS_LLM)
    if "config.json" in names and any(name.endswith((".safetensors", ".bin")) for name in names):
        return _TRANSFORMERS
    if not names:
        raise UnknownFormat(f"{path} is an empty folder; give a model file or an MLflow model folder")
    nested = sorted(entry.name for entry in path.iterdir() if (entry / "MLmodel").is_file())
    remedy = f"did you mean {path / nested[0]}?" if nested else f"it holds {_listed(names)}: give one model file"
    raise UnknownFormat(f"{path} is a folder without an MLmodel file; {remedy}")


def _listed(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _mlmodel(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > _LARGEST_MLMODEL:
        raise BrokenModel(f"{path} has {path.stat().st_size} bytes and an MLmodel file has at most {_LARGEST_MLMODEL}")
    try:
        document = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenModel(f"{path} is not readable YAML ({first}); log the model again") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise BrokenModel(f"{path} names no flavors; log the model again")
    return dict(document)
