"""Engine ``llama-server``: llama.cpp's own server, started here on one GGUF file.

Its flags: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fairlead.adapters.engines.served.asking import Manner
from fairlead.adapters.engines.served.child import Program, Supervised
from fairlead.adapters.engines.served.programs import arguments, found_program
from fairlead.adapters.engines.served.settings import Settings, checked, settings
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import SourceNotFound, UnknownFormat, UsageError
from fairlead.contracts.secrets import Secret

_OPTIONS: Final[dict[str, Any]] = {
    "binary": "llama-server",
    "context": 4096,
    "parallel": 4,
    "gpu_layers": 0,
    "seeds": True,
    "start_seconds": 300.0,
    "arguments": [],
}
_GET: Final = "get it from https://github.com/ggml-org/llama.cpp (releases, Homebrew or Nix: llama.cpp)"
_MAGIC: Final = b"GGUF"
_NEUTRAL: Final = ("--temp", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--repeat-penalty", "1")
"""What holds where a caller says nothing: the model's own distribution, as OpenAI's API has it."""
_NAMES: Final = {"repetition_penalty": "repeat_penalty"}


class LlamaServer(Supervised):
    """Raises UsageError, SourceNotFound, UnknownFormat; MissingExtra where there is no such program."""

    def __init__(self, options: EngineOptions) -> None:
        found = checked(options, _OPTIONS, "llama-server")
        if found["parallel"] < 1 or found["context"] < 0:
            raise UsageError("llama-server: `parallel` is 1 or more, `context` 0 (as long as the model takes) or more")
        words = _words(options, found)
        manner = Manner(options.name, names=_NAMES)

        def client(url: str, token: Secret) -> Settings:
            one = EngineOptions(options.name, options.name, url, token)
            return settings(one, {**found, "connections": found["parallel"] * 8}, "llama-server", manner=manner)

        super().__init__(
            Program(
                "llama-server",
                lambda port: [*words, "--port", str(port)],
                "LLAMA_API_KEY",
                client,
                found["start_seconds"],
            )
        )


def _words(options: EngineOptions, found: dict[str, Any]) -> Sequence[str]:
    path = Path(options.model)
    if not path.is_file():
        raise SourceNotFound(f"endpoint {options.name!r}: `model` is {options.model!r}; llama-server needs a GGUF file")
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise UnknownFormat(f"{path} is no GGUF file; llama-server reads no other")
    binary = found_program(found["binary"], "llama-server", _GET)
    words = [binary, "-m", str(path), "--host", "127.0.0.1", "--alias", options.name, "--jinja", *_NEUTRAL]
    words += ["-np", str(found["parallel"]), "-c", str(found["context"] * found["parallel"])]
    if found["gpu_layers"]:
        words += ["-ngl", str(found["gpu_layers"])]
    if options.threads:
        words += ["-t", str(options.threads)]
    return [*words, *arguments(found["arguments"], "llama-server")]
