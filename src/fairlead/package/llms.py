"""Whether a path is a language model, and what it says of itself. Reads a config and first bytes, and no weights.

The engines look again, closer, when they load: what is told here is what a config or a head says.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat
from fairlead.kit import gguf

HF, GGUF, IR = "safetensors", "gguf", "openvino"
"""A Hugging Face folder; a .gguf file, or a folder with one; a folder of OpenVINO IR."""

_XML = "openvino_model.xml"
_WRITES = ("ForCausalLM", "LMHeadModel")
_LARGEST = 10_000_000
_CONTEXTS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
_NO_MODEL: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """``kind``: one of those above.  ``family``: such as ``llama``.  ``architecture``: the class that a config names.

    ``context``: tokens that it says it takes, prompt and answer together; 0: it does not say.
    ``weights``: where they are, for an engine: the file of a GGUF model, else the folder.
    """

    kind: str
    family: str
    context: int
    weights: Path
    architecture: str = ""

    @property
    def title(self) -> str:
        """For sentences."""
        named = {HF: "Hugging Face", GGUF: "GGUF", IR: "OpenVINO IR"}[self.kind]
        return f"a language model ({named}, {self.architecture or self.family or 'family not told'})"


def looks(path: Path) -> str:
    """The kind of language model that a path is; empty for everything else, also for what cannot be read."""
    try:
        found = _about(path)
    except (OSError, BrokenModel, SourceNotFound):
        return GGUF if _begins(path) else ""
    return found.kind if found else ""


def about(path: Path) -> LanguageModel:
    """Raises SourceNotFound, BrokenModel (a config or head that cannot be read), UnknownFormat (no language model)."""
    try:
        found = _about(path)
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror or error}") from error
    if found is None:
        raise UnknownFormat(
            f"{path} is no language model; give a folder with config.json and safetensors, a .gguf file, or a folder "
            f"with {_XML}"
        )
    return found


def _about(path: Path) -> LanguageModel | None:
    if not path.exists():
        raise SourceNotFound(f"{path}: no such file or folder")
    if path.is_file():
        return _gguf(path) if _begins(path) else None
    if (path / _XML).is_file():
        return _ir(path)
    if (path / "config.json").is_file():
        return _hugging_face(path)
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    return _gguf(files[0]) if len(files) == 1 and _begins(files[0]) else None


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(4) == gguf.MAGIC
    except OSError:
        return False


def _gguf(path: Path) -> LanguageModel:
    head = gguf.head(path)
    return LanguageModel(GGUF, head.architecture, head.context, path)


def _ir(folder: Path) -> LanguageModel | None:
    """A graph that takes ids and keeps a state: the state is what an embedding model lacks."""
    with (folder / _XML).open("rb") as handle:
        if (folder / _XML).stat().st_size == 0:
            return None
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as xml:
            if xml.find(b'"input_ids"') < 0 or xml.find(b'"ReadValue"') < 0:
                return None
    config = _config(folder) if (folder / "config.json").is_file() else _NO_MODEL
    made = _told(folder / "converted.json").get("context")
    context = made if type(made) is int else _context(config)
    return LanguageModel(IR, _family(config), context, folder, _architecture(config))


def _hugging_face(folder: Path) -> LanguageModel | None:
    config = _config(folder)
    architecture = _architecture(config)
    if not architecture.endswith(_WRITES):
        return None
    return LanguageModel(HF, _family(config), _context(config), folder, architecture)


def _config(folder: Path) -> Mapping[str, Any]:
    """Raises BrokenModel."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LARGEST:
            raise BrokenModel(f"{path} has {path.stat().st_size} bytes, and a config has at most {_LARGEST}")
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{path} is no JSON: {str(error)[:200]}; fetch it again") from error
    return found if isinstance(found, dict) else _NO_MODEL


def _told(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return _NO_MODEL
    return found if isinstance(found, dict) else _NO_MODEL


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def _family(config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    return kind if isinstance(kind, str) else ""


def _context(config: Mapping[str, Any]) -> int:
    """Models that also see or hear say it in ``text_config``."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else _NO_MODEL):
        for name in _CONTEXTS:
            found = part.get(name)
            if type(found) is int and found > 0:
                return found
    return 0
