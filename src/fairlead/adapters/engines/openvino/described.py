"""What a model says of itself: how long its texts may be, and how many tokens it knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.adapters.engines.openvino.convert.prepared import report
from fairlead.contracts.errors import BrokenModel
from fairlead.kit import gguf


@dataclass(frozen=True, slots=True)
class Described:
    """``context``: tokens of prompt and answer together; ``vocabulary``: ids are below it. 0: it does not say."""

    context: int = 0
    vocabulary: int = 0


def described(model: Path) -> Described:
    """Of a ``.gguf`` file, or a folder with Hugging Face's ``config.json``. Raises BrokenModel, SourceNotFound."""
    if model.is_file():
        return Described(gguf.head(model).context)
    found = _config(model / "config.json")
    told = report(model)  # the converter knows better: what a sliding window makes of it
    return found if told is None else Described(told.context or found.context, found.vocabulary)


def _config(file: Path) -> Described:
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return Described()
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenModel(f"{file} is no JSON object")
    parts = [found, part] if isinstance(part := found.get("text_config"), dict) else [found]
    return Described(
        max((_count(one.get("max_position_embeddings")) for one in parts), default=0),
        max((_count(one.get("vocab_size")) for one in parts), default=0),
    )


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
