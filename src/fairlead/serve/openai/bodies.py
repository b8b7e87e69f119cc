"""What bodies hold: structs that the decoder checks, and its complaints in the words of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from fairlead.contracts.errors import MalformedBody
from fairlead.contracts.generation import Sampling
from fairlead.kit.codec import json
from fairlead.serve.openai.refusals import Invalid, unsupported

T = TypeVar("T")

MOST_STOPS: Final = 4
LONGEST_STOP: Final = 1000
"""Characters of a text that ends an answer."""
MOST_BIASES: Final = 1024
MOST_CHOICES: Final = 16
"""Answers to one prompt (``n``)."""
TIERS: Final = ("auto", "default", "flex", "scale", "priority")

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Name = Annotated[str, Meta(max_length=256)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class Asked(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every body that asks for text may have. null stands for: not given.

    Down from ``top_k`` it is what vLLM takes beside OpenAI's own.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Share | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=1024)] | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=10.0)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    chat_template_kwargs: Any = UNSET
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Choosing(Asked, kw_only=True):
    """The same, of routes that give several answers."""

    n: Annotated[int, Meta(ge=1)] | None = None
    stream_options: StreamOptions | None = None

    def choices(self) -> int:
        """How many answers to each prompt. Raises Invalid."""
        n = 1 if self.n is None else self.n
        if n > MOST_CHOICES:
            raise Invalid(
                f"Invalid 'n': integer above maximum value. Expected a value <= {MOST_CHOICES}, but got {n} instead.",
                "n",
                "integer_above_max_value",
            )
        return n

    def usage_too(self) -> bool:
        """Whether a stream tells usage at its end. Raises Invalid for options of an answer that is no stream."""
        if self.stream_options is None:
            return False
        if not self.stream:
            raise Invalid(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None
            )
        return bool(self.stream_options.include_usage)


def sampling(asked: Asked, most: int | None, logprobs: int | None) -> Sampling:
    """How tokens are chosen. Raises Invalid."""
    if asked.chat_template_kwargs is not UNSET:
        raise unsupported("chat_template_kwargs", "is not honoured: the template of the model decides.")
    if asked.service_tier is not None and asked.service_tier not in TIERS:
        raise not_among("service_tier", asked.service_tier, TIERS)
    if most is not None and asked.min_tokens is not None and asked.min_tokens > most:
        raise Invalid(f"'min_tokens' is {asked.min_tokens}, and the answer may have {most} at most.", "min_tokens")
    return Sampling(
        1.0 if asked.temperature is None else asked.temperature,
        1.0 if asked.top_p is None else asked.top_p,
        0 if asked.top_k is None or asked.top_k < 0 else asked.top_k,
        asked.min_p or 0.0,
        asked.seed,
        asked.presence_penalty or 0.0,
        asked.frequency_penalty or 0.0,
        1.0 if asked.repetition_penalty is None else asked.repetition_penalty,
        () if asked.stop is None else _stops(asked.stop),
        most,
        asked.min_tokens or 0,
        bool(asked.ignore_eos),
        logprobs,
        () if not asked.logit_bias else _biases(asked.logit_bias),
    )


def _stops(given: str | list[str]) -> tuple[str, ...]:
    stops = (given,) if isinstance(given, str) else tuple(given)
    if len(stops) > MOST_STOPS:
        raise Invalid(
            f"Invalid 'stop': array too long. Expected an array with maximum length {MOST_STOPS}, but got an array "
            f"with length {len(stops)} instead.",
            "stop",
            "array_above_max_length",
        )
    for at, one in enumerate(stops):
        param = "stop" if isinstance(given, str) else f"stop[{at}]"
        if not one:
            raise Invalid(f"Invalid '{param}': an empty text would end every answer at once.", param, "empty_string")
        if len(one) > LONGEST_STOP:
            raise Invalid(
                f"Invalid '{param}': string too long. Expected at most {LONGEST_STOP} characters, but got {len(one)}.",
                param,
                "string_above_max_length",
            )
    return stops


def _biases(given: dict[str, float]) -> tuple[tuple[int, float], ...]:
    if len(given) > MOST_BIASES:
        raise Invalid(
            f"Invalid 'logit_bias': {len(given)} tokens; at most {MOST_BIASES} may have a bias.",
            "logit_bias",
            "object_above_max_properties",
        )
    for token, bias in given.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise Invalid(
                f"Invalid key in 'logit_bias': {token[:40]!r}. You should only be submitting non-negative integers, "
                "the ids of tokens.",
                "logit_bias",
            )
        if not -100.0 <= bias <= 100.0:
            raise Invalid(f"Invalid 'logit_bias': {bias:g} for token {token}; expected -100 to 100.", "logit_bias")
    return tuple(sorted((int(token), bias) for token, bias in given.items()))


def not_among(param: str, value: object, known: Collection[str]) -> Invalid:
    listed = ", ".join(f"'{one}'" for one in known)
    return Invalid(f"Invalid value: '{str(value)[:60]}'. Supported values are: {listed}.", param)


# What the decoder says, told as the API tells it.

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<at>(?:key in )?\$?[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_KIND: Final = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`")
_BOUND: Final = re.compile(r"Expected `(?P<kind>[^`]*)` (?P<sign>[<>]=?) (?P<bound>\S+)")
_LENGTH: Final = re.compile(r"Expected `(?P<kind>[^`]*)` of length (?P<sign>[<>]=?) (?P<bound>\S+)")
_WORDS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}
_LONG: Final = {"str": "string", "array": "array", "object": "object"}


def decode(decoder: msgspec.json.Decoder[T], body: bytes | Raw) -> T:
    """Raises Invalid that names the field, or MalformedBody for what is no JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise complaint(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, UnicodeEncodeError) as error:
        raise _broken(error, body) from None


def _broken(error: Exception, body: bytes | Raw) -> MalformedBody:
    found = json.malformed(error, body)
    return MalformedBody(f"We could not parse the JSON body of your request: {found}")


def complaint(text: str) -> Invalid:
    """The error of the API for one of the decoder's."""
    split = _AT.match(text)
    what, at = (split["what"], split["at"] or "") if split else (text, "")
    inside = at.startswith("key in ")
    path = at.removeprefix("key in ").removeprefix("$").removeprefix(".").replace("[...]", "")
    if found := _UNKNOWN.fullmatch(what):
        name = found["name"]
        param = f"{path}.{name}" if path else name
        if not path:
            return Invalid(f"Unrecognized request argument supplied: {name[:200]}", name[:200], None)
        return Invalid(f"Unknown parameter: '{param[:200]}'.", param[:200], "unknown_parameter")
    if found := _MISSING.fullmatch(what):
        param = f"{path}.{found['name']}" if path else found["name"]
        return Invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    where = path or "body"
    if inside:
        where = f"a key of {path}"
    if found := _KIND.fullmatch(what):
        wanted = " or ".join(_WORDS.get(one, one) for one in found["wanted"].split(" | ") if one != "null")
        got = _WORDS.get(found["got"], found["got"])
        return Invalid(
            f"Invalid type for '{where}': expected {wanted}, but got {got} instead.", path or None, "invalid_type"
        )
    if found := _LENGTH.fullmatch(what):
        kind = _LONG.get(found["kind"], found["kind"])
        over = found["sign"].startswith("<")
        code = f"{kind}_{'above_max' if over else 'below_min'}_length"
        if not over and kind in ("array", "string") and found["bound"] == "1":
            code = f"empty_{kind}"
        return Invalid(
            f"Invalid '{where}': {kind} too {'long' if over else 'short'}. Expected a length {found['sign']} "
            f"{found['bound']}.",
            path or None,
            code,
        )
    if found := _BOUND.fullmatch(what):
        kind = "integer" if found["kind"] == "int" else "decimal"
        over = found["sign"].startswith("<")
        side = "above maximum" if over else "below minimum"
        bound = found["bound"] if kind == "integer" else f"{float(found['bound']):g}"
        return Invalid(
            f"Invalid '{where}': {kind} {side} value. Expected a value {found['sign']} {bound}.",
            path or None,
            f"{kind}_{'above_max' if over else 'below_min'}_value",
        )
    return Invalid(f"Invalid value for '{where}': {what[:1].lower()}{what[1:]}.", path or None)
