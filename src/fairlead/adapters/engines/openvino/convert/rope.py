"""Rotary positions: what angle each pair of numbers turns by, per token. Pure numpy.

Sources: RoFormer (arXiv 2104.09864); linear scaling (2306.15595); YaRN (2309.00071); LongRoPE (2402.13753); the scaling
of Llama 3.1 as its reference code has it. Names of fields are those of Hugging Face configs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.adapters.engines.openvino.convert.fields import ELSEWHERE, Fields
from fairlead.contracts.errors import BrokenModel, UnknownFormat

Array = np.ndarray[Any, Any]

_STEEPEST = 1e30
"""Radians per token, at most: times a position it is still a float32."""


@dataclass(frozen=True, slots=True)
class Rope:
    """``frequencies``: radians per token, for each pair of the first ``2 * len(frequencies)`` numbers of a head.

    ``gain``: what sine and cosine are multiplied by.  ``context``: tokens up to which this is exact; 0: any number.
    ``note``: what of the model's own rule is left out, a sentence.
    """

    frequencies: tuple[float, ...]
    gain: float = 1.0
    context: int = 0
    note: str = ""

    @property
    def turned(self) -> int:
        """How many numbers of a head are turned; the others stay."""
        return 2 * len(self.frequencies)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a family knows of its positions. ``scaling``: the part of the config that says how; None: plain.

    ``context``: tokens that it was made for.  ``original``: those before it was stretched, where the config says so
    beside the scaling; 0: it does not.
    """

    family: str
    theta: float
    turned: int
    context: int
    original: int = 0
    scaling: Fields | None = None


def rope(asked: Asked) -> Rope:
    """Raises UnknownFormat for a scaling that is not known here, BrokenModel for one whose numbers make no sense."""
    if asked.turned < 2 or asked.turned % 2:
        raise BrokenModel(
            f"{asked.family}: {asked.turned} numbers of a head would be turned; it must be an even number"
        )
    try:
        with np.errstate(all="ignore"):
            found = _rope(asked)
    except ArithmeticError as error:
        raise BrokenModel(f"{_place(asked)} cannot be computed: {error}") from error
    if not all(abs(number) < _STEEPEST for number in (*found.frequencies, found.gain)):
        raise BrokenModel(f"{_place(asked)} gives angles that float32 lacks")
    return found


def _place(asked: Asked) -> str:
    return asked.scaling.place if asked.scaling else f"{asked.family}: rope_theta {asked.theta}"


def _rope(asked: Asked) -> Rope:
    if asked.scaling is None:
        return Rope(_tuple(_plain(asked)))
    kind = asked.scaling.word("rope_type", "") or asked.scaling.word("type", "default")
    known = {
        "default": _default,
        "linear": _linear,
        "dynamic": _dynamic,
        "llama3": _llama3,
        "yarn": _yarn,
        "longrope": _longrope,
        "su": _longrope,  # what Phi-3 first called it
    }
    if kind not in known:
        raise UnknownFormat(
            f"{asked.scaling.place} has the type {kind!r}, and known here are {', '.join(sorted(known))}; {ELSEWHERE}"
        )
    for name in ("rope_type", "type", "rope_theta", "partial_rotary_factor"):
        asked.scaling.any(name)
    found = known[kind](asked, asked.scaling)
    asked.scaling.only_taken(asked.family, strict=True)
    return found


def _plain(asked: Asked) -> Array:
    return 1.0 / asked.theta ** (np.arange(0, asked.turned, 2, dtype=np.float64) / asked.turned)


def _tuple(frequencies: Array) -> tuple[float, ...]:
    return tuple(map(float, frequencies))


def _default(asked: Asked, scaling: Fields) -> Rope:
    scaling.any("factor")
    scaling.any("original_max_position_embeddings")
    return Rope(_tuple(_plain(asked)))


def _linear(asked: Asked, scaling: Fields) -> Rope:
    scaling.any("original_max_position_embeddings")
    return Rope(_tuple(_plain(asked) / scaling.number("factor")))


def _dynamic(asked: Asked, scaling: Fields) -> Rope:
    """The base grows with the text, and only past the context that the model was made for: up to there it is plain."""
    scaling.number("factor")
    scaling.any("original_max_position_embeddings")
    note = (
        f"its positions are stretched with the length of each text past {asked.context} tokens; batches have one rule "
        f"for all, so its context is {asked.context} tokens here"
    )
    return Rope(_tuple(_plain(asked)), context=asked.context, note=note)


def _llama3(asked: Asked, scaling: Fields) -> Rope:
    factor, slow, fast = (scaling.number(name) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    original = scaling.count("original_max_position_embeddings")
    if fast <= slow:
        raise BrokenModel(f"{scaling.place}: high_freq_factor {fast} must be over low_freq_factor {slow}")
    plain = _plain(asked)
    turns = original * plain / (2 * math.pi)
    share = np.clip((turns - slow) / (fast - slow), 0.0, 1.0)
    return Rope(_tuple(plain * share + plain / factor * (1 - share)))


def _yarn(asked: Asked, scaling: Fields) -> Rope:
    original = _original(asked, scaling)
    factor = scaling.number("factor", asked.context / original)
    fast, slow = scaling.number("beta_fast", 32.0), scaling.number("beta_slow", 1.0)
    low, high = _pair(asked, original, fast), _pair(asked, original, slow)
    if scaling.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, asked.turned - 1)
    ramp = (np.arange(asked.turned // 2) - low) / ((high - low) or 0.001)
    share = 1 - np.clip(ramp, 0.0, 1.0)
    plain = _plain(asked)
    return Rope(_tuple(plain / factor * (1 - share) + plain * share), _yarn_gain(scaling, factor))


def _pair(asked: Asked, original: int, turns: float) -> float:
    """Which pair turns so often within the original context."""
    return asked.turned * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(asked.theta))


def _yarn_gain(scaling: Fields, factor: float) -> float:
    def gain(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    both = scaling.has("mscale") and scaling.has("mscale_all_dim")
    usual = gain(scaling.number("mscale", 1.0)) / gain(scaling.number("mscale_all_dim", 1.0)) if both else gain(1.0)
    scaling.any("mscale")
    scaling.any("mscale_all_dim")
    return scaling.number("attention_factor", usual)


def _longrope(asked: Asked, scaling: Fields) -> Rope:
    """One list of factors for texts up to the original context, another for longer ones: the first is taken here."""
    original = _original(asked, scaling)
    short = np.array(scaling.numbers("short_factor", asked.turned // 2))
    scaling.numbers("long_factor", asked.turned // 2)
    factor = asked.context / original if original != asked.context else scaling.number("factor", 1.0)
    scaling.any("factor")
    usual = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    gain = scaling.number("attention_factor", usual)
    note = ""
    if asked.context > original:
        note = (
            f"its positions change their rule for texts of more than {original} tokens; batches have one rule for all, "
            f"so its context is {original} tokens here, and {asked.context} elsewhere"
        )
    return Rope(_tuple(_plain(asked) / short), gain, min(original, asked.context), note)


def _original(asked: Asked, scaling: Fields) -> int:
    return scaling.count("original_max_position_embeddings", asked.original or asked.context)
