"""What a spec in a container of ours is, whatever starts the container: compose and Kubernetes both say it by this.

They differ in what becomes of a file or a secret, and in who may be called; each says that in its own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fairlead.kit.spec.document import Path
from fairlead.kit.spec.read import SpecFile
from fairlead.package import image
from fairlead.package.sources import Kind, parse
from fairlead.wiring import mentions
from fairlead.wiring.specs_identity import required

HOME: Final = image.HOME
USER: Final = image.USER
"""Where images of ours keep state, and who they run as."""
METRICS_KEY: Final = "FAIRLEAD_METRICS_KEY"
"""What holds the key with which Prometheus asks for metrics, where callers must show one."""
ON_CPU: Final = ("sklearn", "xgboost", "lightgbm", "litert")
"""Runtimes that have no GPU."""
_GPU: Final = frozenset({"cuda", "tensorrt", "rocm"})


def told(file: SpecFile, document: Any, variables: dict[str, str]) -> Iterator[tuple[Path, str, str, tuple[str, ...]]]:
    """Of every text: its path, where it stands, itself as ``mentions.legible`` has it, and the files of secrets in it.

    ``variables``: environment variable to where it is named; filled on the way.
    """
    for path, text in mentions.texts(document):
        where = file.at(*path)
        for name in mentions.variables(text):
            variables.setdefault(name, where)
        yield path, where, mentions.legible(text), mentions.secret_files(text)


def local(file: SpecFile, path: Path, text: str) -> str:
    """The file or folder of this machine that a field names; empty: none."""
    if not text:
        return ""
    if mentions.fits(path, mentions.MODEL):
        return text.partition("#sha256:")[0] if parse(text).kind is Kind.PATH else ""
    if mentions.fits(path, mentions.LLM):
        served = file.spec.endpoints[str(path[1])].llm
        return "" if served is None or served.base_url else text
    return mentions.local(path, text)


def wrong(file: SpecFile, open_to: str, *, insecure: bool) -> Iterator[str]:
    """Sentences for ports that nobody knows, and callers of whom nobody says whether they are asked.

    ``open_to``: what such a server is open to.
    """
    for part in ("port", "grpc_port"):
        if getattr(file.spec.server, part) == 0:
            yield f"{file.at('server', part)} is 0, a port that nobody knows before it runs; give it a number"
    asked = required(file.spec.access)
    if not asked and not insecure:
        yield (
            f"{file.at('access', 'required')} is not true, and {open_to}; say access: {{required: true}}, or give "
            "--insecure where something in front asks who calls"
        )
    if asked and insecure:
        yield (
            f"{file.at('access')} asks callers who they are, and --insecure lets everybody call; leave one of them out"
        )


def on_gpu(providers: Sequence[str]) -> list[str]:
    """Those of them that are a GPU."""
    return sorted(_GPU & set(providers))
