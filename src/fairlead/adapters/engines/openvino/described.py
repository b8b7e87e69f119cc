"""What a model says of itself: how long its texts may be, and how many tokens it knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.adapters.engines.openvino.convert.prepared import context
from fairlead.contracts.errors import BrokenModel


@dataclass(frozen=True, slots=True)
class Described:
    """``context``: tokens of prompt and answer together; ``vocabulary``: ids are below it. 0: it does not say."""

    context: int = 0
    vocabulary: int = 0


def described(made: Path) -> Described:
    """Of what was prepared: a folder, or a ``.gguf`` file, which says nothing of its tokens. Raises BrokenModel."""
    return Described(context(made), _vocabulary(made / "config.json") if made.is_dir() else 0)


def _vocabulary(file: Path) -> int:
    try:
        found = json.loads(file.read_text())
        parts = [found, found.get("text_config") or {}]
        return max(_count(one.get("vocab_size")) for one in parts)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, AttributeError) as error:
        raise BrokenModel(f"{file} is no config of a model: {error}") from error


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
