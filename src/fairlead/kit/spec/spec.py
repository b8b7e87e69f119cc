"""The whole spec. A field is here only when this release does what it says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from fairlead.kit.spec.abuse import Abuse
from fairlead.kit.spec.access import Access, EndpointAccess
from fairlead.kit.spec.audit import Audit
from fairlead.kit.spec.cache import Cache
from fairlead.kit.spec.cascade import Cascade
from fairlead.kit.spec.deploy import Deploy, Pods
from fairlead.kit.spec.embedding import Embedding
from fairlead.kit.spec.explain import Explain
from fairlead.kit.spec.graph import AsGraph
from fairlead.kit.spec.guardrails import Guardrails
from fairlead.kit.spec.ledger import Budget, BudgetHere, Ledger, Price, TokenLimits
from fairlead.kit.spec.llm import Llm
from fairlead.kit.spec.loop import Monitor, Retrain, Rollout
from fairlead.kit.spec.part import Part, Private, Seconds
from fairlead.kit.spec.resilience import Resilience
from fairlead.kit.spec.route import Route
from fairlead.kit.spec.scheduling import Scheduling
from fairlead.kit.spec.serving import Batching, Bounds, Console, Record, Replicas, Server, Upstream
from fairlead.kit.spec.slo import Slo
from fairlead.kit.spec.traces import Traces

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""What can stand in a URL and a metric label."""


_SOURCES = ("model", "graph", "upstream", "embedding", "llm")
"""What an endpoint can be; it is one of them."""

SPEAKING = ("route", "cascade", "scheduling", "cache")
"""What only language models have; with one of the first two alone an endpoint is made of others."""


def _asked(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [name]} for name in names]}


_ONE: list[Any] = [{"required": [name], "not": _asked(*SPEAKING)} for name in _SOURCES[:-1]]
_ONE += [{"required": ["llm"]}, {"allOf": [_asked(*SPEAKING[:2]), {"not": _asked(*_SOURCES)}]}]


class Endpoint(Part):
    """A model, a graph of other endpoints, a model of other servers, or a model of language, under a name that clients
    call."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE})

    model: str = Field(default="", min_length=1)
    """`models:/churn@champion`, `models:/churn/3`, `runs:/ID/PATH`, `./model.onnx`, a folder or `pkg.module:Class`."""
    graph: AsGraph = Field(default=None, examples=["./risk_graph.py:graph"])
    """Instead of a model: steps over other endpoints of this spec."""
    upstream: Upstream | None = Field(default=None, examples=[{"urls": ["http://10.0.0.5:8000"]}])
    """Other servers that run the model, instead of `model`."""
    embedding: Embedding | None = Field(default=None, examples=[{"model": "./models/embedder"}])
    """A model that makes vectors of texts, instead of `model`."""
    llm: Llm | None = Field(default=None, examples=[{"model": "./models/chat"}])
    """A language model, instead of `model`."""
    limits: TokenLimits | None = Field(default=None, examples=[{"tokens_per_minute": "60k"}])
    """How much each caller may ask of a language model; null: as much as it can."""
    budgets: tuple[BudgetHere, ...] = Field(default=(), max_length=64, examples=[[{"amount": "50 USD"}]])
    """How much may be spent on a language model."""
    guardrails: Guardrails | None = Field(default=None, examples=[{"input": ["injection", "pii"], "output": ["pii"]}])
    """What must not pass a language model, in questions and in answers; null: everything may."""
    cache: Cache | None = Field(default=None, examples=[{"exact": "1h"}])
    """Answers of a language model that are given again; null: none."""
    route: Route | None = Field(default=None, examples=[{"replicas": ["chat-a", "chat-b"]}])
    """Other language models that answer for this one, beside its own `llm` or instead."""
    cascade: Cascade | None = Field(default=None, examples=[{"steps": ["small-chat", "chat"], "max_loss": 0.02}])
    """Cheaper language models that are asked first."""
    scheduling: Scheduling | None = Field(default=None, examples=[{"queue": 256, "weights": {"gold": 2.0}}])
    """How the engine of `llm` is shared among tenants; null: as the defaults say."""
    runtime: str = ""
    """Run with this runtime instead of the one that the package chose."""
    trust_pickle: bool = False
    """Unpickle the file that `model` names: it can run any code."""
    batching: Batching = Batching()
    """How calls ride together."""
    bounds: Bounds = Bounds()
    """How large a call may be."""
    deadline_ms: float = Field(default=60_000.0, ge=1, le=86_400_000)
    """Time for a call that names none in x-request-timeout-ms, and the most it may name."""
    threads: int = Field(default=0, ge=0, le=4096)
    """Intra-op threads of the runtime; 0: the runtime decides."""
    executor: Literal["auto", "inline", "thread", "process"] = "auto"
    """Where batches run; `auto` measures, and takes processes for pickles and for what holds the GIL."""
    processes: int = Field(default=1, ge=1, le=256)
    """Processes of the model, each with a copy of it: batches that run at once (`executor: process`)."""
    hang_seconds: Seconds = Field(default=0.0, ge=0, le=86_400)
    """A process that does not answer for so long is killed; 0: a second after deadline_ms (`executor: process`)."""
    env: Literal["current", "isolated"] = "current"
    """Libraries that the model runs with: the server's, or its own, installed from its requirements (in a process)."""
    replicas: Replicas | None = Field(default=None, examples=[{"min": 0, "max": 4}])
    """Copies of the model that come and go with the calls; null: `processes`, always."""
    deploy: Pods = Pods()
    """Its pods, where the spec is rendered for a cluster."""
    providers: tuple[str, ...] = Field(default=(), examples=[["cuda"]])
    """Where the model runs, by the names of its runtime; empty: the CPU."""
    explain: Explain = Explain()
    """How `:explain` answers."""
    access: EndpointAccess = EndpointAccess()
    """Who may call it, and how much."""
    abuse: Abuse = Abuse()
    """Whether callers ask as those do who copy a model."""
    resilience: Resilience = Resilience()
    """What happens when it is slow, full or down."""
    record: Record = Record()
    """What is kept of the calls."""
    slo: Slo | None = Field(default=None, examples=[{"availability": 0.999, "latency_ms": 100}])
    """What it promises its callers; null: nothing."""
    monitor: Monitor = Monitor()
    """How the endpoint is watched."""
    rollout: Rollout = Rollout()
    """How a new version takes the place of the champion."""
    retrain: Retrain | None = Field(
        default=None, examples=[{"pipeline": "pipelines/churn.py", "on": ["drift", "data: 7d"]}]
    )
    """When and how a new version is trained; null: never."""

    @model_validator(mode="after")
    def _one_source(self) -> Endpoint:
        given = [name for name in _SOURCES if getattr(self, name)]
        if not given and (self.route or self.cascade):
            return self
        wrong = [name for name in SPEAKING if getattr(self, name) is not None]
        if given and given != ["llm"] and wrong:
            raise ValueError(f"{wrong[0]} is for language models, and this one has {given[0]}")
        if len(given) != 1:
            told = " and ".join(given) if given else "none of them"
            raise ValueError(f"give one of {', '.join(_SOURCES)}; found {told}")
        return self

    @property
    def speaks(self) -> bool:
        """Whether it is a language model, made of some, or makes vectors of texts."""
        made = not self.model and (self.route or self.cascade) is not None
        return self.llm is not None or self.embedding is not None or made


class Spec(Part):
    """Endpoints, where they are served, and where everything is kept."""

    project: str = ""
    """Name of the whole; it stands in every line of the log."""
    tracking: Private = Field(default="", repr=False, examples=["http://mlflow:5000"])
    """MLflow tracking URI; empty: SQLite in the home. `${env:NAME}` or `${file:PATH}` in it stands for a secret."""
    state: Private = Field(default="", repr=False, examples=["postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead"])
    """SQLAlchemy URL of the state store; empty: SQLite in the home. `${env:NAME}` in it stands for a secret."""
    events: Private = Field(default="", repr=False, examples=["s3://bucket/events"])
    """Folder or `s3://bucket/prefix` of the prediction events; empty: in the home."""
    record: bool | None = Field(default=None, examples=[True])
    """Keep what is asked and answered, and follow rollouts; null: when the libraries for it are installed."""
    redis: str = Field(default="", pattern=r"^(rediss?://.+)?$", examples=["redis://127.0.0.1:6379/0"])
    """Redis that counts limits for several servers: `redis://[USER:PASSWORD@]HOST:PORT/DB`, `rediss://` for TLS."""
    access: Access = Access()
    """Who may call at all."""
    budgets: tuple[Budget, ...] = Field(
        default=(), max_length=1024, examples=[[{"tenant": "acme", "amount": "50 USD", "per": "month"}]]
    )
    """How much may be spent on language models; all that fit a call hold."""
    prices: tuple[Price, ...] = Field(
        default=(), max_length=4096, examples=[[{"model": "chat", "input": 0.15, "output": 0.6}]]
    )
    """What language models cost."""
    prices_file: str = Field(default="", max_length=4096, examples=["./prices.yaml"])
    """YAML or JSON file with a list of more of them, as `prices` has it."""
    ledger: Ledger = Ledger()
    """Where spending is counted."""
    audit: Audit = Audit()
    """What is written down of who did what."""
    traces: Traces = Traces()
    """Where traces of language models go."""
    deploy: Deploy = Deploy()
    """The cluster that the spec is rendered for."""
    server: Server = Server()
    """The one port of all endpoints, and the processes behind it."""
    console: Console = Console()
    """The web page over the stores."""
    endpoints: dict[Name, Endpoint] = Field(min_length=1)
    """Endpoints by the name that clients call."""


NOT_HONOURED: dict[type[Part], tuple[str, ...]] = {
    Spec: ("features", "limits", "resilience"),
    Endpoint: ("features", "redis"),
    Monitor: ("reference", "psi", "ks"),
}  # fmt: skip
"""What a later release will honour. Until then it is refused, never passed over."""
