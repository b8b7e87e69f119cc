"""What the spec says of a cluster: for ``fairlead render kubernetes`` and ``render kserve``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from fairlead.kit.spec.part import Part, Seconds

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name of Kubernetes (RFC 1123 label)."""
Key = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
    ),
]
"""Of a label, or of an annotation."""
Value = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
"""Of a label."""
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$")
]
Quantity = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")]
"""An amount of memory."""


class Gateway(Part):
    """Where calls come into the cluster: a Gateway that is there, or one of a class that is made."""

    name: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$", examples=["public"])
    """Gateway that is there (of Istio too); empty: one is made, of `gateway_class`."""
    namespace: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$", examples=["gateways"])
    """Its namespace; empty: that of the pods."""
    gateway_class: str = Field(default="", max_length=253, examples=["istio"])
    """Class of the Gateway that is made: one that is known, as `istio`, `cilium` or `nginx`."""
    tls_secret: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$", examples=["shop-tls"])
    """Secret with the certificate of the Gateway that is made; empty: it speaks HTTP."""


class Deploy(Part):
    """The cluster that the spec is rendered for; on a machine it means nothing."""

    image: str = Field(default="", max_length=1024, examples=["registry.example.com/churn:4"])
    """Image of the pods, `NAME:TAG` or `NAME@sha256:...`; empty: `--image` says it."""
    vllm_image: str = Field(default="docker.io/vllm/vllm-openai:v0.33.0", min_length=1, max_length=1024)
    """Image of the pods of engine `vllm`."""
    namespace: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$", examples=["shop"])
    """Namespace of all objects; empty: the one that they are applied to."""
    host: Host = Field(default="", max_length=253, examples=["models.example.com"])
    """Name by which callers outside know the endpoints; empty: any."""
    gateway: Gateway | None = Field(default=None, examples=[{"name": "public", "namespace": "gateways"}])
    """Where calls come in; null: from inside of the cluster only."""
    secret: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$", examples=["shop-secrets"])
    """Secret with a key for each `env:NAME` and file for each `file:PATH` of the spec; empty: `PROJECT-secrets`."""
    pull_secret: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$")
    """Secret with which images are pulled; empty: none."""
    identity: dict[Key, str] = Field(
        default_factory=dict, examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}]
    )
    """Annotations of the ServiceAccount, by which a cloud knows the pods."""
    prometheus: str = Field(default="http://prometheus-operated.monitoring.svc:9090", pattern=r"^https?://.+")
    """Where KEDA asks for calls in flight."""
    monitoring: Label = "monitoring"
    """Namespace whose pods may ask for metrics."""
    monitoring_labels: dict[Key, Value] = Field(default_factory=dict, examples=[{"release": "kube-prometheus-stack"}])
    """Labels by which Prometheus' operator finds its ServiceMonitors and rules; none: it takes all."""
    controller_memory: Quantity = "2Gi"
    """Memory of the controller, in whose pod the pipelines of `retrain` run; one that takes more is ended."""
    egress_ports: tuple[Port, ...] = Field(default=(), max_length=64, examples=[[9000]])
    """Ports that pods may call beside those of addresses in the spec: where a Service leads to another port."""


class Pods(Part):
    """Pods of one endpoint on a cluster; on a machine it means nothing."""

    min: int | None = Field(default=None, ge=0, le=1000, examples=[2])
    """Pods, at least; null: as `replicas` says, else 1. 0 needs KEDA."""
    max: int | None = Field(default=None, ge=1, le=1000, examples=[8])
    """Pods, at most; null: as `replicas` says, else as the load below needs, else `min`."""
    cpu: float = Field(default=1.0, gt=0, le=1024)
    """Cores that each asks for; it may use more that is idle."""
    memory: Quantity = "1Gi"
    """Memory of each; one that takes more is ended."""
    storage: Quantity = "4Gi"
    """Room on disk of each, for weights and state; of engine `vllm` 100Gi where nothing is said."""
    gpus: int = Field(default=0, ge=0, le=64, examples=[1])
    """GPUs (`nvidia.com/gpu`) of each; with `mig` slices of one."""
    mig: str = Field(default="", pattern=r"^([1-7]g\.[1-9][0-9]*gb(\.me)?)?$", examples=["1g.10gb"])
    """Profile of the slices (`nvidia.com/mig-PROFILE`); empty: whole GPUs."""
    nodes: dict[Key, Value] = Field(default_factory=dict, examples=[{"gpu": "a100"}])
    """Labels of the nodes that it may run on."""
    volumes: dict[str, Label] = Field(default_factory=dict, examples=[{"/models": "weights"}])
    """Folder in the pod to the PersistentVolumeClaim that it shows, read only."""
    concurrency: float | None = Field(default=None, ge=1, le=1_000_000, examples=[12])
    """Calls in flight that one pod holds inside `deadline_ms`, measured; the autoscaler's target follows from it."""
    rate: float | None = Field(default=None, gt=0, le=1_000_000_000, examples=[50])
    """Calls a second at the peak; with `seconds` and `concurrency` the most pods follow from it."""
    seconds: Seconds = Field(default=0.0, ge=0, le=86_400, examples=[0.4])
    """Time of one call at that load; 0: not known."""
    headroom: float = Field(default=0.3, ge=0, le=10)
    """Share of the load that is added to it."""
