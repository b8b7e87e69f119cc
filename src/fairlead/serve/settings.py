"""What a server and its endpoints are told. Frozen, checked once, each part gets its own piece."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.scaling import Scaling
from fairlead.contracts.shedding import Shed
from fairlead.kit.hosts import loopback

EXECUTORS: Final = ("auto", "inline", "thread", "process")
ENVIRONMENTS: Final = ("current", "isolated")

SLOWEST: Final = 512.0
"""Bytes a second that a caller must send of a body, or take of an answer, beyond the seconds that it may pause."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """``port`` 0 takes a free one.  ``max_body``, ``max_head``: bytes.  ``grace``: seconds from SIGTERM to exit.

    ``keep_alive``: seconds that a connection may idle.  ``read_timeout``: seconds for a request's head, and between two
    pieces of its body.  ``write_timeout``: seconds that a caller may take no byte of an answer.

    ``tls_cert``, ``tls_key``: PEM files; without a certificate the server speaks plain HTTP, and without a key the
    certificate's file holds both.
    ``tls_client_ca``: PEM file; callers must show a certificate that one of these authorities signed.
    ``stream_keep_alive``: seconds of silence after which a stream of text gets a comment.
    ``grpc_port``: where gRPC is spoken, 0 for a free port, None for nowhere.
    ``workers``: processes; with more than one a supervisor stands in front of them.
    ``model_control``: whether callers may load and unload models; None: where the server is for this machine alone.
    ``max_connections``: open at once on each port, 0: as many as there may be open files.
    ``max_connections_per_address``: of them from one address, 0: any number.
    ``chaos``: whether callers may inject faults.  ``insecure``: what is refused outside this machine is allowed.
    ``memory``: bytes that all models together may have, 0: as much as there is; with several workers each has a part.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    max_body: int = 64 * 1024 * 1024
    grace: float = 25.0
    keep_alive: float = 75.0
    max_head: int = 64 * 1024
    read_timeout: float = 30.0
    write_timeout: float = 60.0
    stream_keep_alive: float = 15.0
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    grpc_port: int | None = None
    workers: int = 1
    memory: int = 0
    model_control: bool | None = None
    max_connections: int = 10_000
    max_connections_per_address: int = 0
    chaos: bool = False
    insecure: bool = False

    def __post_init__(self) -> None:
        _between("memory, bytes", self.memory, 0, 2**50)
        _between("port", self.port, 0, 65535)
        _between("max body, bytes", self.max_body, 1, 2**40)
        _between("max head, bytes", self.max_head, 256, 2**24)
        _between("grace, seconds", self.grace, 0, 3600)
        _between("keep alive, seconds", self.keep_alive, 0.1, 86_400)
        _between("read timeout, seconds", self.read_timeout, 0.1, 86_400)
        _between("write timeout, seconds", self.write_timeout, 0.1, 86_400)
        _between("stream keep alive, seconds", self.stream_keep_alive, 0.1, 3600)
        _between("workers", self.workers, 1, 256)
        _between("max connections", self.max_connections, 0, 1_000_000)
        _between("max connections per address", self.max_connections_per_address, 0, 1_000_000)
        if self.chaos and self.public and not self.insecure:
            raise UsageError(
                f"chaos lets every caller break the server, and {self.host} is reached from other machines; bind "
                "127.0.0.1, leave chaos out, or say --insecure"
            )
        _between("grpc port", self.grpc_port or 0, 0, 65535)
        if self.grpc_port and self.grpc_port == self.port:
            raise UsageError(f"--grpc-port and --port are both {self.port}; give each a port of its own")
        if self.tls_client_ca and not self.tls_cert:
            raise UsageError("--tls-client-ca asks callers for certificates, which needs TLS: give --tls-cert too")
        if self.tls_key and not self.tls_cert:
            raise UsageError("a TLS key without a certificate: give --tls-cert too")

    @property
    def public(self) -> bool:
        """Whether other machines reach it."""
        return not loopback(self.host)

    @property
    def controlled(self) -> bool:
        """Whether callers may load and unload models."""
        return not self.public if self.model_control is None else self.model_control

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"

    @property
    def grpc(self) -> str:
        """Where gRPC is spoken; empty for nowhere, and for a free port that only the log knows."""
        return self.address(self.grpc_port) if self.grpc_port else ""

    def address(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def url(self, port: int) -> str:
        """Where clients of this machine find the server that is bound to ``port``."""
        return f"{self.scheme}://{self.address(port)}"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """``max_rows`` 0: what the measured curve says.  ``max_wait_ms`` 0: a batch never waits for company.

    ``deadline_ms``: what a call has when it names no time of its own, and the most it may name.
    ``threads``: intra-op threads of the runtime (0: the runtime decides).  ``workers``: batches at once, in threads.

    ``executor``: where batches run, one of ``EXECUTORS``.  ``processes``: batches at once, each in a process.
    ``hang_seconds``: a process that does not answer a batch for so long is killed; 0: once the deadline is over.
    ``env``: which libraries the model runs with, one of ``ENVIRONMENTS``: those of the server, or its own.
    ``providers``: execution providers or devices by name (``cuda``); none: the CPU.
    ``call_rows``: most rows of one call, 0: any number.  ``string_bytes``: of one string of a call, at most; 0: any.
    ``replicas``: how many processes come and go; None: ``processes`` of them, or none, always.
    ``shed``: when calls are refused because they would wait too long; None: never.
    ``adaptive``: how many batches may be at other servers at once is found out.
    ``guarded``: something stands in for the model when it is late, so ``auto`` never runs it on the event loop.
    """

    max_rows: int = 0
    max_wait_ms: float = 0.0
    queue_rows: int = 16_384
    queue_calls: int = 4_096
    deadline_ms: float = 60_000.0
    threads: int = 0
    workers: int = 1
    executor: str = "auto"
    processes: int = 1
    hang_seconds: float = 0.0
    providers: tuple[str, ...] = ()
    env: str = "current"
    replicas: Scaling | None = None
    shed: Shed | None = field(default_factory=Shed)
    adaptive: bool = True
    guarded: bool = False
    call_rows: int = 0
    string_bytes: int = 2**20

    def __post_init__(self) -> None:
        _between("max rows", self.max_rows, 0, 1_000_000)
        _between("max wait, ms", self.max_wait_ms, 0, 60_000)
        _between("queue rows", self.queue_rows, 1, 100_000_000)
        _between("queue calls", self.queue_calls, 1, 10_000_000)
        _between("call rows", self.call_rows, 0, 100_000_000)
        _between("string, bytes", self.string_bytes, 0, 2**40)
        _between("deadline, ms", self.deadline_ms, 1, 24 * 3600 * 1000)
        _between("threads", self.threads, 0, 4096)
        _between("workers", self.workers, 1, 256)
        _between("processes", self.processes, 1, 256)
        _between("hang, seconds", self.hang_seconds, 0, 86_400)
        if self.executor not in EXECUTORS:
            raise UsageError(f"executor {self.executor!r} is not known; expected {', '.join(EXECUTORS)}")
        if self.replicas is not None:
            self._check(self.replicas)
        if self.env not in ENVIRONMENTS:
            raise UsageError(f"env {self.env!r} is not known; expected {', '.join(ENVIRONMENTS)}")
        if self.isolated and self.executor in ("inline", "thread"):
            raise UsageError(f"env is 'isolated' and executor is {self.executor!r}; such a model runs in a process")
        if self.executor != "process" and not self.isolated and (self.processes > 1 or self.hang_seconds):
            asked = "processes" if self.processes > 1 else "hang_seconds"
            raise UsageError(f"{asked} is set and executor is {self.executor!r}; set executor to 'process'")

    def _check(self, replicas: Scaling) -> None:
        if not 0 <= replicas.least <= replicas.most <= 256 or replicas.most < 1:
            raise UsageError(
                f"replicas are {replicas.least} to {replicas.most}; expected 0 to 256, the least first, and 1 at most"
            )
        _between("target concurrency", replicas.target, 1e-3, 1_000_000)
        _between("idle ttl, seconds", replicas.idle, 1e-3, 31_536_000)
        _between("wake deadline, seconds", replicas.wake, 1e-3, 3600)
        if self.processes > 1:
            raise UsageError(f"processes is {self.processes} and replicas are counted too; leave processes out")
        if replicas.most > 1 and self.executor in ("inline", "thread"):
            raise UsageError(
                f"more than one replica needs processes, and executor is {self.executor!r}; set it to 'process'"
            )

    @property
    def isolated(self) -> bool:
        """With libraries of its own, and so in a process."""
        return self.env == "isolated"

    @property
    def hang(self) -> float:
        """Seconds for an answer: nobody waits longer than the deadline, whatever time a caller names."""
        return self.hang_seconds or self.deadline_ms / 1000 + 1.0


def endpoint_name(name: str) -> str:
    """The name if it can stand in a URL and a metric label. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"endpoint name {name!r} cannot be used: letters, digits, '.', '_' and '-', at most 128, "
            "beginning with a letter or digit; give one with NAME=URI"
        )
    return name


def _between(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{what} is {value:g}; expected {least:g} to {most:g}")
