"""What the spec says about breakers and fallbacks."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fairlead.kit.spec.part import Part, Seconds

_PERCENT = r"(\d+(?:\.\d+)?)\s*%"


def _share(value: Any) -> Any:
    """``20%`` as a share; what is no text is left as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(_PERCENT, value.strip())
    if match is None:
        raise ValueError("expected a share from 0 to 1, or percent, as 20%")
    return float(match[1]) / 100


Share = Annotated[
    float,
    BeforeValidator(
        _share,
        json_schema_input_type=Annotated[float, Field(ge=0, le=1)] | Annotated[str, Field(pattern=f"^{_PERCENT}$")],
    ),
]
"""A share: a number from 0 to 1, or text such as ``20%``."""


class Breaker(Part):
    """When the model is left alone for a while, because it failed."""

    fail_max: int = Field(default=5, ge=0, le=100_000)
    """Failures in a row that open it; 0: not by this."""
    cooldown: Seconds = Field(default=30.0, ge=0.01, le=86_400)
    """Time that it is open; then a few calls show whether all is well again."""
    failure_rate: Share = Field(default=0.0, ge=0, le=1)
    """Share of failures among the calls of `window` that opens it; 0: not by this."""
    slow_call: Seconds = Field(default=0.0, ge=0, le=86_400)
    """Time in the model from which a call counts as slow; 0: none does."""
    slow_call_rate: Share = Field(default=0.0, ge=0, le=1)
    """Share of slow calls among those of `window` that opens it; 0: not by this."""
    window: int = Field(default=100, ge=1, le=100_000)
    """Calls that the shares are of: the last so many."""
    minimum_calls: int = Field(default=20, ge=1, le=100_000)
    """Calls without which shares say nothing."""
    half_open_calls: int = Field(default=1, ge=1, le=1000)
    """Calls that must succeed before it closes again; no more are sent on meanwhile."""


class KeptAnswers(Part):
    """Answers that are kept for the time when the model fails."""

    ttl: Seconds = Field(default=3600.0, gt=0, le=31_536_000)
    """How old an answer may be."""
    max_mb: float = Field(default=64.0, gt=0, le=2**20)
    """Memory of all that are kept, MiB, in each worker."""


Scalar = bool | int | float | str


class Rung(Part):
    """What answers when the model does not: exactly one of these."""

    cache: KeptAnswers | None = Field(default=None, examples=[{"ttl": "1h"}])
    """What the model answered to the same call."""
    endpoint: str = Field(default="", max_length=128, examples=["churn-small"])
    """Another endpoint of this spec, which takes the same inputs and gives the same outputs."""
    version: str = Field(default="", max_length=128, examples=["3"])
    """Another version of the same registered model; it is loaded beside the one that serves."""
    value: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict, examples=[{"p_churn": 0.27}])
    """A constant for each output, the same in every row."""

    @model_validator(mode="after")
    def _one(self) -> Rung:
        given = [name for name in type(self).model_fields if getattr(self, name)]
        if len(given) != 1:
            told = " and ".join(given) if given else "none of them"
            raise ValueError(f"give one of cache, endpoint, version, value; found {told}")
        return self


def _rung(value: Any) -> Any:
    if isinstance(value, str):
        if value != "cache":
            raise ValueError("expected cache, or one of {cache: ...}, {endpoint: NAME}, {version: N}, {value: {...}}")
        return {"cache": {}}
    return _tuples(value)


def _tuples(value: Any) -> Any:
    """Lists as tuples: behind a validator of ours what was JSON is taken for Python, where they differ."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


AsRung = Annotated[Rung, BeforeValidator(_rung, json_schema_input_type=Literal["cache"] | Rung)]
"""A rung, or the word ``cache``."""
