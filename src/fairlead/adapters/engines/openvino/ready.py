"""From what a user names to what the engine opens: a folder with a model that is ready, or a ``.gguf`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairlead.contracts.errors import SourceNotFound
from fairlead.kit import plugins

IR: Final = "openvino_model.xml"
_PREPARE: Final = "fairlead.adapters.engines.openvino.convert.prepared:prepare"


def ready(model: Path, folder: Path, precision: str) -> Path:
    """Converts what must be, once. Raises SourceNotFound, UnknownFormat, BrokenModel."""
    if not model.exists():
        raise SourceNotFound(f"there is no model at {model}")
    if model.suffix == ".gguf" or (model / IR).is_file():
        return model
    prepared = plugins.attribute(_PREPARE)(model, folder, precision)
    return Path(prepared)
