"""What a compose file cannot do: an error that names the field and its line, never something left out in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.hosts import loopback
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.wiring import contained
from fairlead.wiring.compose.asked import Rendering
from fairlead.wiring.contained import HOME

_PROGRAMS: Final = ("vllm", "llama-server", "transformers")
"""Engines that are a program, or libraries, that our image has not."""
_SERVICES: Final = {"state": "postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead", "tracking": "http://mlflow:5000"}


def check(file: SpecFile, how: Rendering) -> None:
    """Raises UsageError for the first thing that cannot be honoured."""
    for why in (*_of_server(file, how), *_of_console(file), *_of_stores(file)):
        raise UsageError(why)
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.slo is not None and not how.prometheus:
            where = file.at("endpoints", name, "slo")
            raise UsageError(
                f"{where} is watched by Prometheus, and --no-prometheus leaves it out; leave one of them out"
            )
        for why in _of_endpoint(file, name, endpoint):
            raise UsageError(why)


def _of_server(file: SpecFile, how: Rendering) -> Iterator[str]:
    server = file.spec.server
    if loopback(server.host):
        yield (
            f"{file.at('server', 'host')} is {server.host}, which nothing outside of the container reaches; say "
            "host: 0.0.0.0, and access: {required: true}"
        )
    yield from contained.wrong(file, "a container is open to its network", insecure=how.insecure)
    if server.tls is not None and server.tls.client_ca and how.prometheus:
        yield (
            f"{file.at('server', 'tls', 'client_ca')} asks Prometheus for a certificate, which it has not; give "
            "--no-prometheus"
        )


def _of_console(file: SpecFile) -> Iterator[str]:
    if file.spec.console.port is not None:
        yield (
            f"{file.at('console', 'port')} is a port that this file does not open; leave it out, and ask the server's "
            "port, or run `fairlead console` where the stores are"
        )


def _of_stores(file: SpecFile) -> Iterator[str]:
    for part in ("state", "tracking"):
        url = str(getattr(file.spec, part))
        if url.startswith("sqlite:") and not url.startswith(f"sqlite:///{HOME}/"):
            yield (
                f"{file.at(part)} is a file that is gone with the container; leave it out (it is in the volume then), "
                f"or name a service: {part}: {_SERVICES[part]}"
            )
    events = file.spec.events
    if events and "://" not in events and not events.startswith(f"{HOME}/"):
        yield (
            f"{file.at('events')} is a folder that is gone with the container; leave it out (it is in the volume "
            "then), or name s3://BUCKET/PREFIX"
        )


def _of_endpoint(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    if endpoint.llm is not None and endpoint.llm.engine in _PROGRAMS and not endpoint.llm.base_url:
        yield (
            f"{file.at('endpoints', name, 'llm', 'engine')} is {endpoint.llm.engine}, which is not in the image; run "
            "its own image, and say engine: openai with base_url"
        )
    gpu = contained.on_gpu(endpoint.providers)
    if gpu and endpoint.runtime in contained.ON_CPU:
        yield (
            f"{file.at('endpoints', name, 'providers')} is {', '.join(gpu)}, and the runtime "
            f"{endpoint.runtime} runs on the CPU; leave it out"
        )
