"""Which parts of a model a LoRA adapter changes: the library passes over what it does not find, and is silent."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Final

_PREFIX: Final = "base_model.model."
_LONGEST: Final = 1 << 26


def modules(file: Path) -> set[str]:
    """Names of modules, as the checkpoint has them. Raises ValueError for what is no safetensors file."""
    with file.open("rb") as stream:
        start = stream.read(8)
        (size,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        if not 0 < size <= _LONGEST:
            raise ValueError("it is no safetensors file")
        header = json.loads(stream.read(size))
    names = (name.removeprefix(_PREFIX).partition(".lora_")[0] for name in header if ".lora_" in name)
    return set(names)


def found(changed: set[str], graph: str) -> set[str]:
    """Those of them that an OpenVINO graph has."""
    return {name for name in changed if f"{name}/" in graph}
