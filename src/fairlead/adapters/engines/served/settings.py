"""What an engine of this family is made of: its part of the spec, checked."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.adapters.engines.served.answer import Patience
from fairlead.adapters.engines.served.asking import Manner
from fairlead.adapters.engines.served.links import Reach
from fairlead.contracts.engine import EngineOptions, EngineTraits
from fairlead.contracts.errors import SourceNotFound, UsageError
from fairlead.contracts.secrets import Secret
from fairlead.kit.hosts import loopback
from fairlead.kit.options import given
from fairlead.kit.upstreams import address

KNOWN: Final[dict[str, Any]] = {
    "connect_seconds": 5.0,
    "first_token_seconds": 300.0,
    "between_seconds": 60.0,
    "probe_seconds": 5.0,
    "connections": 256,
    "waiting": 1024,
    "answer_mb": 64,
    "context": 0,
    "parallel": 64,
    "tools": True,
    "schemas": True,
    "seeds": True,
    "logprobs": 20,
    "tokenize": True,
    "say_defaults": False,
    "usage_each": False,
    "resumes": False,
    "max_tokens_field": "",
}
"""Options of every one of them."""
REMOTE: Final[dict[str, Any]] = {"ca": "", "header": "authorization", "headers": {}}
"""And of one that is somewhere else."""

_POSITIVE: Final = (
    "connect_seconds", "first_token_seconds", "between_seconds", "probe_seconds", "connections", "answer_mb",
)  # fmt: skip
_NEW_FIELD: Final = ("api.openai.com", ".openai.azure.com")
"""Where ``max_tokens`` is refused by some models, and the role ``developer`` is known."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``name``: of the endpoint.  ``token``: shown with each request, read again when it changes.

    ``headers``: sent with each request.  ``waiting``: answers that wait for a connection, at most.
    ``traits``: as long as the server does not say otherwise.  ``tokenize``: it is asked for counts of tokens if it can.
    """

    name: str
    reach: Reach
    manner: Manner
    patience: Patience
    traits: EngineTraits
    waiting: int = 1024
    probe: float = 5.0
    tokenize: bool = True
    token: Secret | None = None
    header: str = "authorization"
    headers: tuple[tuple[str, str], ...] = field(default=())


def settings(
    options: EngineOptions, found: dict[str, Any], platform: str, *, manner: Manner | None = None, where: str = ""
) -> Settings:
    """``found``: options that were checked by ``given``.  ``where``: the server, where it is not ``options.url``.

    Raises UsageError and SourceNotFound.
    """
    url = where or options.url
    if not url:
        raise UsageError(f"endpoint {options.name!r}: engine {platform} needs `base_url`, as http://HOST:PORT/v1")
    if not url.isascii():
        raise UsageError(f"base_url {url!r} has other characters than ASCII; percent-encode them")
    to = address(url)
    if to.scheme not in ("http", "https"):
        raise UsageError(f"base_url {url!r}: engine {platform} speaks http and https")
    hosted = any(to.host == one or to.host.endswith(one) for one in _NEW_FIELD)
    field_ = found["max_tokens_field"] or ("max_completion_tokens" if hosted else "max_tokens")
    if field_ not in ("max_tokens", "max_completion_tokens"):
        raise UsageError(f"option 'max_tokens_field' is {field_!r}; it is max_tokens or max_completion_tokens")
    for name in _POSITIVE:
        if found[name] <= 0:
            raise UsageError(f"option {name!r} of {platform} is {found[name]}; expected more than 0")
    manner = manner or Manner(
        options.model or options.name, field_, hosted, found["say_defaults"], found["usage_each"], found["resumes"]
    )
    traits = EngineTraits(
        platform,
        max(found["context"], 0),
        max(found["parallel"], 1),
        tools=found["tools"],
        schemas=found["schemas"],
        seeds=found["seeds"],
        logprobs=found["logprobs"],
        local=loopback(to.host),
        resumes=manner.resumes,
    )
    return Settings(
        options.name,
        Reach(
            to,
            _tls(found.get("ca", "")) if to.scheme == "https" else None,
            found["connections"],
            found["connect_seconds"],
        ),
        manner,
        Patience(found["first_token_seconds"], found["between_seconds"], found["answer_mb"] * 2**20),
        traits,
        found["waiting"],
        found["probe_seconds"],
        found["tokenize"],
        options.token,
        _header(found.get("header", "authorization")),
        tuple((_header(name), _value(name, value)) for name, value in found.get("headers", {}).items()),
    )


def checked(options: EngineOptions, known: dict[str, Any], what: str) -> dict[str, Any]:
    """Raises UsageError for an option that is none."""
    return given(options.options, {**KNOWN, **known}, what)


def _tls(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except FileNotFoundError:
        raise SourceNotFound(f"option 'ca': there is no file {ca}") from None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"option 'ca': {ca} holds no certificates in PEM: {error}") from None


def _header(name: Any) -> str:
    plain = isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if not plain or name.lower() in ("host", "content-length", "content-type", "transfer-encoding", "connection"):
        raise UsageError(f"option 'headers': {str(name)[:50]!r} is no header that may be set")
    return str(name).lower()


def _value(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise UsageError(f"option 'headers': what is said for {name!r} is not one line of ASCII text")
    return value
