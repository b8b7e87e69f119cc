"""Engine ``vllm``: vLLM's own server, started here. vLLM is no dependency: it is a program like any other.

Its flags: https://docs.vllm.ai/en/latest/cli/serve/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from fairlead.adapters.engines.served.asking import Manner
from fairlead.adapters.engines.served.child import Program, Supervised
from fairlead.adapters.engines.served.programs import arguments, found_program
from fairlead.adapters.engines.served.settings import Settings, checked, settings
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import UsageError
from fairlead.contracts.secrets import Secret

_OPTIONS: Final[dict[str, Any]] = {
    "binary": "vllm",
    "parallel": 256,
    "connections": 1024,
    "tensor_parallel": 1,
    "prefix_caching": True,
    "memory_share": 0.9,
    "start_seconds": 1200.0,
    "arguments": [],
}
_GET: Final = "pip install vllm in an environment of its own"


class Vllm(Supervised):
    """Raises UsageError; MissingExtra where there is no such program."""

    def __init__(self, options: EngineOptions) -> None:
        found = checked(options, _OPTIONS, "vllm")
        words = _words(options, found)
        manner = Manner(options.name, each=True, resumes=True)

        def client(url: str, token: Secret) -> Settings:
            made = settings(EngineOptions(options.name, options.name, url, token), found, "vllm", manner=manner)
            return replace(made, traits=replace(made.traits, context=0))  # it says itself what it takes

        super().__init__(
            Program("vllm", lambda port: [*words, "--port", str(port)], "VLLM_API_KEY", client, found["start_seconds"])
        )


def _words(options: EngineOptions, found: dict[str, Any]) -> Sequence[str]:
    if not options.model:
        raise UsageError(f"endpoint {options.name!r}: engine vllm needs `model`, a folder or a name that vLLM knows")
    if found["tensor_parallel"] < 1 or not 0.0 < found["memory_share"] <= 1.0:
        raise UsageError("vllm: `tensor_parallel` is 1 or more, `memory_share` above 0 and at most 1")
    words = [found_program(found["binary"], "vllm", _GET), "serve", options.model, "--host", "127.0.0.1"]
    words += ["--served-model-name", options.name, "--generation-config", "vllm"]
    words += ["--tensor-parallel-size", str(found["tensor_parallel"])]
    words += ["--enable-prefix-caching" if found["prefix_caching"] else "--no-enable-prefix-caching"]
    words += ["--gpu-memory-utilization", str(found["memory_share"])]
    if found["context"]:
        words += ["--max-model-len", str(found["context"])]
    return [*words, *arguments(found["arguments"], "vllm")]
