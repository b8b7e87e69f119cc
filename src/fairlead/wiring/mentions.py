"""What a spec names outside of itself: environment variables, files of secrets, files and folders of this machine.

Whoever writes the spec down for another place (a container, a pod) walks over its texts and says what becomes of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from fairlead.kit.spec.document import Path

ANY: Final = "*"
"""In a pattern: whatever stands there."""
MODEL: Final = ("endpoints", ANY, "model")
LLM: Final = ("endpoints", ANY, "llm", "model")
_FILES: Final = (
    ("server", "tls", "cert"),
    ("server", "tls", "key"),
    ("server", "tls", "client_ca"),
    ("prices_file",),
    ("endpoints", ANY, "explain", "background"),
    ("endpoints", ANY, "retrain", "pipeline"),
    ("endpoints", ANY, "upstream", "ca"),
    ("endpoints", ANY, "embedding", "model"),
    ("endpoints", ANY, "embedding", "tokenizer"),
)
"""Fields that name a file or folder, also without ``./`` before it; ``MODEL`` and ``LLM`` may, too."""
_ENV: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_ENV_INSIDE: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_FILE: Final = re.compile(r"(?:\$\{)?file:([^}]+)\}?")
_FILE_INSIDE: Final = re.compile(r"\$\{file:([^}]+)\}")
_CLASS: Final = re.compile(r"(\.py):[A-Za-z_]\w*$")


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text of a document, with where it stands."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from texts(one, (*path, str(key)))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from texts(one, (*path, place))


def fits(path: Path, pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(want in (ANY, got) for want, got in zip(pattern, path, strict=True))


def variables(text: str) -> tuple[str, ...]:
    """Environment variables: ``${env:NAME}`` within, or ``env:NAME`` as a whole."""
    whole = _ENV.fullmatch(text)
    return (*_ENV_INSIDE.findall(text), *(whole.groups() if whole else ()))


def secret_files(text: str) -> tuple[str, ...]:
    """Paths of secrets: of ``file:PATH`` as a whole, and of each ``${file:PATH}`` within."""
    whole = _FILE.fullmatch(text)
    return whole.groups() if whole else tuple(_FILE_INSIDE.findall(text))


def legible(text: str) -> str:
    """The same as a URL that can be taken apart: paths of secrets, which have slashes, are left out of it. Empty: it
    is nothing but such a path."""
    return "" if _FILE.fullmatch(text) else _FILE_INSIDE.sub("${file}", text)


def local(path: Path, text: str) -> str:
    """The file or folder that a field names, of those that need no closer look; empty: none."""
    if any(fits(path, one) for one in _FILES):
        return text
    plain = _CLASS.sub(r"\1", text)
    return plain if plain.startswith(("./", "../")) and len(plain) > 2 else ""
