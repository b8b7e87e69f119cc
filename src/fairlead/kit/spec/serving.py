"""What the spec says about serving: the server, batches, and what is kept of the calls."""

from __future__ import annotations

from pydantic import Field, model_validator

from fairlead.kit.spec.part import Part, Private, Reference, Seconds
from fairlead.kit.spec.resilience import Eject


class Tls(Part):
    """Files of the certificate and its key."""

    cert: str = Field(min_length=1)
    """Certificate file (PEM), the chain behind it."""
    key: str = ""
    """Its key file (PEM); empty: in the same file."""
    client_ca: str = ""
    """Authorities (PEM): callers must show a certificate that one of them signed; empty: no certificate is asked."""


class Server(Part):
    """The ports of all endpoints, and the processes behind it."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port; 0 takes a free one."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535, examples=[8081])
    """Port of gRPC; 0 takes a free one, null: no gRPC."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that answer; each loads every model."""
    tls: Tls | None = Field(default=None, examples=[{"cert": "server.pem", "key": "server.key"}])
    """Certificate and key: serve HTTPS."""
    max_body_mb: float = Field(default=64.0, gt=0, le=2**20)
    """Largest request body, MiB."""
    grace: Seconds = Field(default=25.0, ge=0, le=3600)
    """Time from SIGTERM to exit, at most."""
    stream_keep_alive: Seconds = Field(default=15.0, ge=0.1, le=3600)
    """Silence after which a stream of text gets a comment, so that nobody between takes it for dead."""
    memory_mb: float = Field(default=0.0, ge=0, le=2**30)
    """Memory that all models together may have, MiB: those called least recently sleep; 0: as much as there is."""
    model_control: bool | None = None
    """Whether callers may load and unload models (`/v2/repository`); null: where the address is of this machine."""
    max_connections: int = Field(default=10_000, ge=0, le=1_000_000)
    """Open connections of each port; who is over gets 503 and is closed. 0: as many as there may be open files."""
    max_connections_per_address: int = Field(default=0, ge=0, le=1_000_000)
    """Of them from one address; 0: any number, as behind a proxy."""
    chaos: bool = False
    """Whether callers may inject faults (`fairlead chaos`): for test environments; refused outside this machine."""


class Console(Part):
    """The web page over the stores."""

    enabled: bool = True
    """Whether there is one."""
    host: str = "127.0.0.1"
    """Address of `port`; one that other machines reach asks visitors for a key."""
    port: int | None = Field(default=None, ge=0, le=65535, examples=[8082])
    """A port of its own; null: `/console` on the port of the server."""

    @model_validator(mode="after")
    def _honoured(self) -> Console:
        if self.port is not None and not self.enabled:
            raise ValueError("port is given and enabled is false; leave one out")
        if self.port is None and self.host != "127.0.0.1":
            raise ValueError("host is of a port of its own: give port too, or leave host out")
        return self


class Bounds(Part):
    """How large a call may be, beside `server.max_body_mb`."""

    rows: int = Field(default=0, ge=0, le=100_000_000)
    """Most rows of one call; more get 413. 0: any number."""
    string_kb: float = Field(default=1024.0, ge=0, le=2**20)
    """Longest string of a call, KiB as UTF-8; a longer one gets 400. 0: any length."""


class Batching(Part):
    """How calls ride together."""

    max_rows: int = Field(default=0, ge=0, le=1_000_000)
    """Most rows in a batch; 0: as the measured curve says."""
    max_wait_ms: float = Field(default=0.0, ge=0, le=60_000)
    """Longest that a batch waits for company; 0: never."""
    queue_rows: int = Field(default=16_384, ge=1, le=100_000_000)
    """Most rows that may wait; more get 429."""


class Upstream(Part):
    """Other servers of the Open Inference Protocol that run the model."""

    urls: tuple[str, ...] = Field(min_length=1, max_length=256)
    """Their addresses: `http://HOST:PORT` or `https://` for REST, `grpc://` or `grpcs://` for gRPC."""
    model: str = Field(default="", max_length=256)
    """The model's name there; empty: the endpoint's."""
    version: str = Field(default="", max_length=128, examples=["3"])
    """Its version there; empty: the one that the servers choose."""
    connections: int = Field(default=64, ge=1, le=4096)
    """Most requests at once to one address."""
    retries: int = Field(default=1, ge=0, le=10)
    """The same as `resilience.retries`."""
    eject: Eject = Eject()
    """The same as `resilience.eject`."""
    ca: str = ""
    """Authorities (PEM) that sign the servers' certificates; empty: those of the machine."""
    token: Reference = Field(default="", examples=["env:UPSTREAM_TOKEN"])
    """Where the credential for these servers is: `env:NAME` or `file:PATH`, read again when it changes; empty: none."""
    token_header: str = Field(default="authorization", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")
    """Header, or gRPC metadata, that carries it: as `Bearer TOKEN` in `authorization`, as it is in any other."""


class Replicas(Part):
    """How many copies of a model there are: processes that come and go with the calls."""

    min: int = Field(default=1, ge=0, le=256)
    """Always so many; 0: none while nobody calls, and the first call wakes one."""
    max: int = Field(default=1, ge=1, le=256)
    """Never more; with more than 1 each is a process of its own."""
    target_concurrency: float = Field(default=8.0, gt=0, le=1_000_000)
    """Calls in flight for each replica, on average."""
    idle_ttl: Seconds = Field(default=600.0, gt=0, le=31_536_000)
    """Time without a call after which the last one ends (`min: 0`)."""
    wake_deadline: Seconds = Field(default=5.0, gt=0, le=3600)
    """Time that a call waits for the first one to come back, beside its deadline; then it gets 503."""


class Record(Part):
    """What is kept of an endpoint's calls."""

    sample: float = Field(default=1.0, gt=0, le=1)
    """Share of the calls that is kept, above 0 and up to 1."""
    exclude: tuple[str, ...] = ()
    """Inputs and outputs that are never kept."""
    hash: tuple[str, ...] = ()
    """Inputs and outputs of which only a SHA-256 is kept, 32 hex digits of it."""
    salt: Private = Field(default="", repr=False)
    """Text put before a value that is hashed, against guessing; `${env:NAME}` or `${file:PATH}` is a secret."""
    key: str = Field(default="header:fairlead-key", pattern=r"^((header|field):.+)?$", examples=["field:order_id"])
    """What labels may name instead of a prediction id: `header:NAME` of the call, or `field:NAME`, an input."""
    days: float = Field(default=30.0, ge=0, le=36_500)
    """Days that events are kept; 0: for ever."""
    window_seconds: Seconds = Field(default=60.0, ge=1, le=86_400)
    """Length of the windows into which calls are summed up."""
