"""What every part of the spec has in common, and how lengths of time are written."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from fairlead.contracts.errors import UsageError
from fairlead.kit.secrets import split

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"


class Part(BaseModel):
    """Frozen; an unknown key is an error; every field has a line of meaning below it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def seconds(value: Any) -> Any:
    """``10m``, ``1.5h``, ``250ms`` as seconds; what is no text is left as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(_LENGTH, value.strip())
    if match is None:
        raise ValueError("expected a number of seconds, or a number with ms, s, m, h or d, as 10m")
    return float(match[1]) * _UNITS[match[2]]


Seconds = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=float | Annotated[str, Field(pattern=f"^{_LENGTH}$")]),
]
"""A length of time: a number of seconds, or text such as ``10m``."""


class Hidden:
    """Marks a field in which a secret may stand: no error and no print shows what it has."""


def hidden(found: FieldInfo) -> bool:
    """Whether a field is marked so."""
    return any(isinstance(one, Hidden) for one in found.metadata)


def _referring(text: str) -> str:
    try:
        if text:
            split(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


Reference = Annotated[str, AfterValidator(_referring), Hidden()]
"""Where a secret is, never the secret itself: ``env:NAME`` or ``file:PATH``."""

Private = Annotated[str, Hidden()]
"""Text in which a secret may stand, or ``${env:NAME}`` in its place."""
