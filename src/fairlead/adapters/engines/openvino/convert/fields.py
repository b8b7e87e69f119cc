"""The fields of a config.json, taken one by one and typed; what nobody took is looked at in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat

ELSEWHERE = "llama-server (a .gguf of it), transformers and vLLM run it"
"""For sentences: engines that do what this one does not."""

_LARGEST = 10_000_000
_HIGHEST = 1e30

_WITHOUT_EFFECT = (
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "cache_implementation",
    "dual_chunk_attention_config",
    "embd_pdrop",
    "hidden_dropout",
    "norm_topk_prob",
    "output_attentions",
    "pretraining_tp",
    "resid_pdrop",
    "scale_attn_by_inverse_layer_idx",
    "use_flash_attention",
    "use_flash_attn",
    "use_scaled_dot_product_attention",
)
"""Fields that say nothing about the numbers, as transformers computes them, though they sound so."""

_TELLING = (
    "act",
    "alibi",
    "attention",
    "attn",
    "bias",
    "bidirectional",
    "cap",
    "clip",
    "expert",
    "factor",
    "gate",
    "latent",
    "layer",
    "logit",
    "lora",
    "mamba",
    "mlp",
    "moe",
    "multiplier",
    "norm",
    "qk",
    "quant",
    "rank",
    "residual",
    "rope",
    "rotary",
    "scale",
    "scaling",
    "sink",
    "sparse",
    "window",
)
"""Words in the name of a field that mean: it changes what is computed."""


class Fields:
    """An object of a config. Every getter raises BrokenModel for a value of the wrong kind, naming the field."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self._values = values
        self._place = place
        self._taken: set[str] = set()

    @property
    def place(self) -> str:
        """For sentences: the file, and the field in it."""
        return self._place

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._values.get(name) is not None

    def any(self, name: str) -> Any:
        self._taken.add(name)
        return self._values.get(name)

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least one."""
        value = self._value(name, default)
        if type(value) is not int or not 1 <= value < 1 << 40:
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected a whole number of at least 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number over zero."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _HIGHEST:
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected a number over 0")
        return float(value)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """``count`` finite numbers over zero."""
        value = self._value(name, None)
        fine = isinstance(value, list) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < _HIGHEST for one in value
        )
        if not fine or len(value) != count:
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected {count} numbers over 0")
        return tuple(map(float, value))

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected true or false")
        return value

    def word(self, name: str, default: str | None = None) -> str:
        value = self._value(name, default)
        if not isinstance(value, str):
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected a text")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Texts; none where the field is not there."""
        value = self.any(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected a list of texts")
        return tuple(value)

    def part(self, name: str) -> Fields | None:
        """An object inside; None where it is not there."""
        value = self.any(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise BrokenModel(f"{self._place}: {name} is {_short(value)}; expected an object")
        return Fields(value, f"{self._place}: {name}")

    def only_taken(self, family: str, strict: bool = False) -> None:
        """Raises UnknownFormat for a field that changes the numbers and that nobody took. ``strict``: for any."""
        for name in sorted(set(self._values) - self._taken):
            value = self._values[name]
            if _neutral(value) or (name in _WITHOUT_EFFECT and not strict):
                continue
            if strict or any(word in name.lower() for word in _TELLING):
                raise UnknownFormat(
                    f"{self._place}: {name} is {_short(value)}, which is not known here for {family}: it might compute "
                    f"something else; {ELSEWHERE}"
                )

    def _value(self, name: str, default: Any) -> Any:
        self._taken.add(name)
        value = self._values.get(name)
        if value is not None:
            return value
        if default is None:
            raise BrokenModel(f"{self._place} has no {name}, which it must have")
        return default


def _neutral(value: Any) -> bool:
    """Nothing, none, or times one."""
    return value in (None, False, "", [], {}) or (type(value) in (int, float) and value == 1)


def read(folder: Path) -> Fields:
    """The config.json of a folder. Raises SourceNotFound, BrokenModel."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LARGEST:
            raise BrokenModel(f"{path} has {path.stat().st_size} bytes, and a config has at most {_LARGEST}")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{path} is no JSON: {str(error)[:200]}; fetch it again") from error
    if not isinstance(found, dict):
        raise BrokenModel(f"{path} is no JSON object; fetch it again")
    return Fields(found, str(path))


def listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _short(value: Any) -> str:
    text = "not there" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
