"""The options of the embedded engine, as the spec gives them. Nothing heavy is imported here: the server reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fairlead.adapters.engines.openvino.messages import Settings
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import UsageError
from fairlead.kit.options import given

WHAT: Final = "engine 'embedded'"
PRECISIONS: Final = ("f16", "bf16", "int8", "int4")

_DEFAULTS: Final[dict[str, Any]] = {
    "precision": "int8",
    "max_num_batched_tokens": 256,
    "cache_gb": 0,
    "cache_precision": "u8",
    "compute": "",
    "context": 0,
    "parallel": 64,
    "queue": 256,
    "prefix_caching": True,
    "draft_model": "",
    "prompt_lookup": False,
    "assistant_tokens": 4,
    "adapters": {},
    "hang_seconds": 120.0,
    "load_seconds": 1800.0,
    "niceness": 5,
}
_AMONG: Final = {
    "precision": PRECISIONS,
    "cache_precision": ("u8", "f16", "bf16", "f32"),
    "compute": ("", "f32", "bf16", "f16"),
}
_RANGES: Final = {
    "max_num_batched_tokens": (1, 1 << 20),
    "cache_gb": (0, 1 << 16),
    "context": (0, 1 << 30),
    "parallel": (1, 4096),
    "queue": (0, 1 << 20),
    "assistant_tokens": (1, 64),
    "hang_seconds": (0.1, 86_400.0),
    "load_seconds": (0.1, 86_400.0),
    "niceness": (0, 19),
}


@dataclass(frozen=True, slots=True)
class Checked:
    """``inner``: what the process is told; the rest is the server's own business."""

    precision: str
    queue: int
    hang_seconds: float
    load_seconds: float
    inner: Settings


def checked(options: EngineOptions) -> Checked:
    """Raises UsageError for an option that is unknown, of another type, or out of its range."""
    found = given(options.options, _DEFAULTS, WHAT)
    found["precision"] = options.precision or found["precision"]
    for name, among in _AMONG.items():
        if found[name] not in among:
            raise UsageError(
                f"option {name!r} of {WHAT} is {found[name]!r}; it may be {', '.join(repr(one) for one in among)}"
            )
    for name, (least, most) in _RANGES.items():
        if not least <= found[name] <= most:
            raise UsageError(f"option {name!r} of {WHAT} is {found[name]}; it may be {least} to {most}")
    for name, place in found["adapters"].items():
        if not isinstance(name, str) or not isinstance(place, str) or not name:
            raise UsageError(f"option 'adapters' of {WHAT} takes names and paths; it has {name!r}: {place!r}")
    if found["draft_model"] and found["prompt_lookup"]:
        raise UsageError(f"{WHAT} guesses ahead by 'draft_model' or by 'prompt_lookup', not by both; name one")
    if found["adapters"] and (found["draft_model"] or found["prompt_lookup"]):
        raise UsageError(f"{WHAT} has 'adapters' or a way to guess ahead, not both; leave one of them out")
    return Checked(found["precision"], found["queue"], found["hang_seconds"], found["load_seconds"], _inner(found))


def _inner(found: dict[str, Any]) -> Settings:
    renamed = {"batched_tokens": found["max_num_batched_tokens"]}
    same = {name: found[name] for name in Settings.__struct_fields__ if name in found}
    return Settings(**same, **renamed)
