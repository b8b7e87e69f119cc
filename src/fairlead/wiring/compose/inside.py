"""What of a spec must reach into the container: files of this machine, and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile
from fairlead.package.sources import Kind, parse
from fairlead.wiring.compose.asked import WORK

_ANY: Final = "*"
_FILES: Final = (
    ("server", "tls", "cert"),
    ("server", "tls", "key"),
    ("server", "tls", "client_ca"),
    ("prices_file",),
    ("endpoints", _ANY, "model"),
    ("endpoints", _ANY, "explain", "background"),
    ("endpoints", _ANY, "retrain", "pipeline"),
    ("endpoints", _ANY, "upstream", "ca"),
    ("endpoints", _ANY, "embedding", "model"),
    ("endpoints", _ANY, "embedding", "tokenizer"),
    ("endpoints", _ANY, "llm", "model"),
)
"""Fields that name a file or folder, also without ``./`` before it."""
_ENV: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_INSIDE: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_FILE: Final = re.compile(r"(?:\$\{)?file:([^}]+)\}?")
_SECRETS: Final = "/run/secrets/"

Path = tuple[str | int, ...]


@dataclass
class Inside:
    """``variables``: environment variable to where the spec names it.  ``files``: path on this machine to path in the
    container and where it is named.  ``secrets``: name of a file under /run/secrets to where it is named."""

    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)


def found(file: SpecFile) -> Inside:
    """Raises UsageError for what cannot be brought in."""
    inside = Inside()
    for path, text in _texts(file.spec.model_dump(mode="json", exclude_unset=True), ()):
        _look(file, inside, path, text)
    return inside


def _look(file: SpecFile, inside: Inside, path: Path, text: str) -> None:
    where = file.at(*path)
    whole = _ENV.fullmatch(text)
    for name in (*_INSIDE.findall(text), *(whole.groups() if whole else ())):
        inside.variables.setdefault(name, where)
    if secret := _FILE.fullmatch(text):
        name = secret[1].removeprefix(_SECRETS)
        if not secret[1].startswith(_SECRETS) or "/" in name:
            raise UsageError(
                f"{where} is a secret in a file, which compose puts under {_SECRETS}; name it "
                f"file:{_SECRETS}NAME, or env:NAME"
            )
        inside.secrets.setdefault(name, where)
    elif local := _local(file, path, text):
        target = local if local.startswith("/") else f"{WORK}/{local.removeprefix('./')}"
        if ".." in local.split("/"):
            raise UsageError(f"{where} is {text}, outside of the folder of the spec; put it beside the spec")
        if ":" in local:
            raise UsageError(f"{where} is {text}, and compose takes no colon in the name of a file; name it otherwise")
        source = local if local.startswith(("/", "./")) else f"./{local}"
        inside.files.setdefault(source, (target, where))


def _local(file: SpecFile, path: Path, text: str) -> str:
    """The file or folder of this machine that a field names; empty: none."""
    if not text or "://" in text:
        return ""
    if _fits(path, ("endpoints", _ANY, "model")):
        source = parse(text)
        if source.kind is Kind.CLASS:
            raise UsageError(
                f"{file.at(*path)} is a class of yours, which no image has; log it as an MLflow model, and name that"
            )
        return text.partition("#sha256:")[0] if source.kind is Kind.PATH else ""
    if _fits(path, ("endpoints", _ANY, "llm", "model")):
        served = file.spec.endpoints[str(path[1])].llm
        return "" if served is not None and served.base_url else text
    if any(_fits(path, one) for one in _FILES):
        return text
    plain = re.sub(r"(\.py):[A-Za-z_]\w*$", r"\1", text)
    return plain if plain.startswith(("./", "../", "/")) and len(plain) > 2 else ""


def _fits(path: Path, pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(want in (_ANY, got) for want, got in zip(pattern, path, strict=True))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, (*path, str(key)))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _texts(one, (*path, place))
