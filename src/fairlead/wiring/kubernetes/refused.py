"""What a cluster cannot do: an error that names the field and its line, never something left out in silence."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.kit.hosts import loopback
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.sources import parse
from fairlead.wiring import contained
from fairlead.wiring.contained import HOME
from fairlead.wiring.kubernetes import carried, units
from fairlead.wiring.kubernetes.asked import SPEC_FOLDER, Rendering
from fairlead.wiring.kubernetes.units import Unit
from fairlead.wiring.specs_identity import required

CLASSES: Final = (
    "agentgateway", "amazon-vpc-lattice", "azure-alb-external", "cilium", "contour", "eg", "envoy-gateway",
    "gke-l7-global-external-managed", "gke-l7-gxlb", "gke-l7-regional-external-managed", "gke-l7-rilb", "haproxy",
    "istio", "kgateway", "kong", "nginx", "openshift-default", "traefik",
)  # fmt: skip
"""GatewayClasses as their makers' own installations name them."""
_OURS: Final = ("/tmp", "/dev/shm", HOME, SPEC_FOLDER)  # noqa: S108 - in a pod
"""Folders in which a pod has something else."""
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""Of a Secret."""
_HOME_ENDS: Final = "which ends with the pod"
_LONGEST_GRACE: Final = 3600.0


def check(file: SpecFile, how: Rendering, found: list[Unit]) -> None:
    """Raises UsageError for the first thing that cannot be honoured."""
    for why in (*_of_server(file, how), *_of_stores(file), *_of_files(file), *_of_keys(file), *_of_gateway(file, how)):
        raise UsageError(why)
    for unit in found:
        check_unit(file, unit)
        for why in (*_of_unit(file, how, unit), *_of_rollout(file, how, unit)):
            raise UsageError(why)
    for why in _of_counting(file, found):
        raise UsageError(why)


def check_unit(file: SpecFile, unit: Unit) -> None:
    """Raises UsageError for the first thing that no pod can honour."""
    for name in unit.endpoints:
        for why in _of_endpoint(file, name, file.spec.endpoints[name]):
            raise UsageError(why)
    for why in _of_mounts(file, unit):
        raise UsageError(why)


def _of_server(file: SpecFile, how: Rendering) -> Iterator[str]:
    server = file.spec.server
    if "host" in server.model_fields_set and loopback(server.host):
        yield (
            f"{file.at('server', 'host')} is {server.host}, which nobody reaches in a pod; leave it out, or say 0.0.0.0"
        )
    yield from contained.wrong(file, "pods are open to their network", insecure=how.insecure)
    if server.tls is not None and server.tls.client_ca:
        where = file.at("server", "tls", "client_ca")
        yield (
            f"{where} asks for certificates, which the probes of a cluster have not; leave it out, or let the mesh ask"
        )
    if server.tls is not None and how.mesh:
        where = file.at("server", "tls")
        yield (
            f"{where}: a route speaks HTTP to the pods; leave it out (deploy.gateway.tls_secret is for "
            "callers), or --mesh"
        )
    if server.chaos:
        yield f"{file.at('server', 'chaos')} is refused outside of one machine; leave it out"


def _of_stores(file: SpecFile) -> Iterator[str]:
    spec = file.spec
    sources = {name: parse(one.model) for name, one in spec.endpoints.items() if one.model}
    registered = next((name for name, one in sources.items() if one.uri.startswith(("models:/", "runs:/"))), "")
    if registered and (not spec.tracking or spec.tracking.startswith(("sqlite:", "file:", ".", "/"))):
        where = file.at("tracking") if spec.tracking else file.at("endpoints", registered, "model")
        yield (
            f"{where} needs a registry, and that of the spec is SQLite, a file of one machine; give an address, as "
            "tracking: http://mlflow:5000"
        )
    asked = required(spec.access)
    if (spec.record is not False or asked) and (not spec.state or spec.state.startswith("sqlite:")):
        yield (
            f"{file.at('state')} is SQLite, {_HOME_ENDS} and which no two pods share; give "
            "postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead"
            + (" (keys of callers are in it)" if asked else ", or say record: false")
        )
    if spec.record is False:
        return
    if "://" not in spec.events:
        yield (
            f"{file.at('events')} is a folder, {_HOME_ENDS} and which no two pods share; give s3://BUCKET/PREFIX, or "
            "say record: false"
        )


def _of_files(file: SpecFile) -> Iterator[str]:
    for part, inside, asked in (
        ("audit", "enabled", file.spec.audit.enabled),
        ("traces", "file", file.spec.traces.file),
    ):
        if asked:
            yield (
                f"{file.at(part, inside)} writes files into the home, {_HOME_ENDS}; leave it out, or send "
                "them elsewhere"
            )
    if file.spec.console.port is not None:
        yield (
            f"{file.at('console', 'port')} is a port of its own, and no Service of these objects leads to it; leave it "
            "out, and ask the server's port, or run `fairlead console` where the stores are"
        )


def _of_gateway(file: SpecFile, how: Rendering) -> Iterator[str]:
    gateway = file.spec.deploy.gateway
    if gateway is None:
        if file.spec.deploy.host:
            where = file.at("deploy", "host")
            yield f"{where} is a name outside of the cluster, and nothing leads in; give deploy.gateway, or drop it"
        return
    at = ("deploy", "gateway")
    if not how.mesh:
        yield (
            f"{file.at(*at)} says where calls come in, and no route is rendered; give --mesh gateway-api "
            "or --mesh istio"
        )
    if bool(gateway.name) == bool(gateway.gateway_class):
        yield f"{file.at(*at)} needs a Gateway that is there (name) or one to make (gateway_class); give one of them"
    if gateway.gateway_class and gateway.gateway_class not in CLASSES:
        yield (
            f"{file.at(*at, 'gateway_class')} is {gateway.gateway_class!r}, no class that is known; for one of "
            f"your own make the Gateway, and give its name{nearest(gateway.gateway_class, list(CLASSES))}"
        )
    if gateway.gateway_class and how.mesh == "istio":
        yield f"{file.at(*at, 'gateway_class')} is of the Gateway API, and --mesh istio has none; give name"
    if gateway.name and gateway.tls_secret:
        yield f"{file.at(*at, 'tls_secret')} is for a Gateway that is made, and {gateway.name} is there; leave it out"
    if gateway.gateway_class and gateway.namespace:
        yield (
            f"{file.at(*at, 'namespace')} is of a Gateway that is there; one that is made is beside the "
            "pods; leave it out"
        )


def _of_endpoint(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    def at(*path: str) -> str:
        return file.at("endpoints", name, *path)

    if units.apart(file, name):
        yield from _of_engine(file, name, endpoint)
    else:
        yield from _of_gpus(file, name, endpoint)
    served = endpoint.llm
    if served is not None and served.engine in ("llama-server", "transformers") and not served.base_url:
        yield (
            f"{at('llm', 'engine')} is {served.engine}, a program that no image of ours has; run it in pods of "
            "your own, and say engine: openai with base_url"
        )
    if endpoint.env == "isolated":
        yield f"{at('env')} installs libraries when it starts, and a pod's disk is read only; build them into the image"
    for path in endpoint.deploy.volumes:
        if not path.startswith("/") or ":" in path or posixpath.normpath(path) != path or _over(path):
            yield f"{at('deploy', 'volumes')} has the folder {path!r}; give one of its own, from / on, as /models"


def _of_gpus(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    def at(*path: str) -> str:
        return file.at("endpoints", name, *path)

    asked, given = endpoint.deploy, ", ".join(endpoint.providers)
    gpu = bool(contained.on_gpu(endpoint.providers))
    if asked.mig and not asked.gpus:
        yield f"{at('deploy', 'mig')} is {asked.mig}, and gpus says how many of them; give deploy.gpus"
    if endpoint.runtime in contained.ON_CPU and (gpu or asked.gpus):
        where = f"{at('deploy', 'gpus')} is {asked.gpus}" if asked.gpus else f"{at('providers')} is {given}"
        yield f"{where}, and the runtime {endpoint.runtime} runs on the CPU; leave it out"
    if asked.gpus and not gpu:
        runs = "the engine runs on the CPU" if endpoint.llm else "the model runs on the CPU (providers)"
        yield f"{at('deploy', 'gpus')} is {asked.gpus}, and {runs}; leave it out, or say providers: [cuda]"
    if gpu and not asked.gpus:
        yield f"{at('providers')} is {given}, and no pod has a GPU; say deploy: {{gpus: 1}}"
    if asked.gpus and (workers := file.spec.server.workers) > asked.gpus:
        where = file.at("server", "workers")
        yield f"{where} is {workers}, and each takes a GPU of {asked.gpus} for {name}; give at most {asked.gpus}"


def _of_engine(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    assert endpoint.llm is not None  # noqa: S101 - asked by the caller
    options, asked = endpoint.llm.options, endpoint.deploy
    at = file.at("endpoints", name, "deploy")
    parallel = options.get("tensor_parallel", 1)
    if not units.engine_scale(file, name).least:
        yield f"{at}.min is 0, and a server of language models starts in minutes; keep 1"
    if asked.gpus and asked.gpus != parallel:
        yield f"{at}.gpus is {asked.gpus}, and llm.options.tensor_parallel {parallel}; make them the same"
    if asked.mig and parallel != 1:
        yield (
            f"{at}.mig is {asked.mig}, and slices of a GPU do not work together (tensor_parallel "
            f"{parallel}); leave it out"
        )
    if endpoint.llm.token.startswith("file:"):
        yield (
            f"{file.at('endpoints', name, 'llm', 'token')} is a file, and vLLM takes its key from the "
            "environment; say env:NAME"
        )
    if "binary" in options:
        where = file.at("endpoints", name, "llm", "options", "binary")
        yield f"{where} is of this machine; the image (deploy.vllm_image) has its own; leave it out"


def _of_unit(file: SpecFile, how: Rendering, unit: Unit) -> Iterator[str]:
    scale = units.scale(file, unit)
    if carried.longest(file, unit.endpoints) + carried.SLACK > _LONGEST_GRACE:
        yield (
            f"{file.at('endpoints', unit.head, 'deadline_ms')}: a pod ends within an hour, and its "
            "longest stream does not; "
            f"give at most {(_LONGEST_GRACE - carried.SLACK) * 1000:.0f}"
        )
    if "grace" in file.spec.server.model_fields_set and file.spec.server.grace < carried.longest(file, unit.endpoints):
        yield (
            f"{file.at('server', 'grace')} is {file.spec.server.grace:g} s, and a stream of {unit.head} may take "
            f"{carried.longest(file, unit.endpoints):g} s: a pod that is replaced would cut it; leave it out"
        )
    if scale.least:
        return
    if how.scaler != "keda":
        yield f"{scale.where} has none while nobody calls, and a HorizontalPodAutoscaler keeps one; give --scaler keda"
    elif how.mesh == "gateway-api" and not file.spec.deploy.namespace:
        yield (
            f"{scale.where} has none while nobody calls, and KEDA lets routes in by their namespace; give "
            "deploy.namespace"
        )
    elif not how.mesh or not file.spec.deploy.host or file.spec.deploy.gateway is None:
        yield (
            f"{scale.where} has none while nobody calls, and the call that wakes one goes through "
            "KEDA's interceptor, to "
            "which a route leads; give --mesh, deploy.gateway and deploy.host"
        )
    elif file.spec.server.grpc_port:
        yield (
            f"{file.at('server', 'grpc_port')}: KEDA's interceptor wakes pods for HTTP only; keep min: 1 at {unit.head}"
        )
    elif file.spec.server.tls is not None:
        yield f"{file.at('server', 'tls')}: KEDA's interceptor speaks HTTP to the pods; keep min: 1 at {unit.head}"


def _of_keys(file: SpecFile) -> Iterator[str]:
    """Secrets that are one key: one Secret has those of all pods."""
    needs = carried.needs(file, carried.data(file, tuple(file.spec.endpoints)))
    keys = {variable: f"env:{variable}" for variable in needs.variables}
    for path, where in sorted(needs.files.items()):
        key = posixpath.basename(path)
        if not _KEY.fullmatch(key):
            yield f"{where} is the file {key!r}, and a key of a Secret has letters, digits, '-', '_' and '.'; rename it"
        if (other := keys.setdefault(key, path)) != path:
            yield f"{where}: {path} and {other} are both the key {key} of the Secret; name one of them otherwise"


def _of_mounts(file: SpecFile, unit: Unit) -> Iterator[str]:
    """Folders that hide one another."""
    name, asked = units.pods(file, unit)
    needs, tls = carried.needs(file, carried.unit_data(file, unit)), file.spec.server.tls
    folders = {folder: file.at("endpoints", name, "deploy", "volumes") for folder in asked.volumes}
    for path, where in sorted(needs.files.items()):
        folder = posixpath.dirname(path)
        if folder in asked.volumes:
            yield f"{where} is in {folder}, which is a volume; name another folder"
        folders[folder] = where
    if tls is not None:
        folder, where = posixpath.dirname(tls.cert), file.at("server", "tls", "cert")
        if tls.key and posixpath.dirname(tls.key) != folder:
            yield f"{file.at('server', 'tls', 'key')} is {tls.key}, and the certificate is in {folder}; put it there"
        if folder in folders:
            yield f"{where} is in {folder}, where {folders[folder]} is; name a folder of its own, as /etc/tls"
        folders[folder] = where
    for folder, where in sorted(folders.items()):
        above = next((one for one in folders if _inside(folder, one)), "")
        if _over(folder) or above:
            why = f"which is in {above}, another one" if above else "where a pod has something else"
            yield f"{where} is in the folder {folder}, {why}; name one of its own, as /etc/tls"


def _over(folder: str) -> bool:
    """Whether something of ours is there or below."""
    return any(folder == one or _inside(one, folder) for one in _OURS)


def _inside(folder: str, above: str) -> bool:
    return folder != above and folder.startswith(f"{above.rstrip('/')}/")


def _of_rollout(file: SpecFile, how: Rendering, unit: Unit) -> Iterator[str]:
    for name in unit.endpoints:
        rollout = file.spec.endpoints[name].rollout

        def at(*path: str, name: str = name) -> str:
            return file.at("endpoints", name, "rollout", *path)

        if how.mesh != "gateway-api" or "rollout" not in file.spec.endpoints[name].model_fields_set:
            continue
        if len(unit.endpoints) > 1:
            yield f"{at()}: {name} is in a pod with others, and a route has whole pods; render without --mesh"
        if rollout.sticky:
            yield (
                f"{at('sticky')} is {rollout.sticky}, and a route draws for each call; leave it out, or "
                "render without --mesh"
            )
        if rollout.strategy == "shadow" or rollout.shadow:
            part = "strategy" if rollout.strategy == "shadow" else "shadow"
            yield f"{at(part)} answers calls unseen, which servers do and routes do not; render without --mesh"
        if file.spec.server.grpc_port:
            yield f"{file.at('server', 'grpc_port')}: the weights of {name}'s rollout are those of HTTP; leave it out"
        if file.spec.record is False:
            yield f"{at()} goes by what is recorded, and record is false; leave it out, or let it record"


def _of_counting(file: SpecFile, found: list[Unit]) -> Iterator[str]:
    """What each pod would count for itself."""
    several = {unit.name for unit in found if units.scale(file, unit).most > 1}
    budgets = bool(file.spec.budgets) or any(one.budgets for one in file.spec.endpoints.values())
    if budgets and not file.spec.ledger.shared and (several or len(found) > 1):
        yield f"{file.at('budgets')} hold for each pod by itself, and there are several; say ledger: {{shared: true}}"
    if file.spec.redis:
        return
    access = file.spec.access
    if (access.limits.model_fields_set or access.tenants) and (several or len(found) > 1):
        yield f"{file.at('access')} has limits, which each pod would count by itself; give redis: redis://HOST:6379/0"
    for unit in found:
        for name in unit.endpoints if unit.name in several else ():
            endpoint = file.spec.endpoints[name]
            limited = endpoint.access.model_fields_set - {"scopes", "coarsen"}
            if limited or endpoint.limits is not None:
                part = ("limits",) if endpoint.limits is not None else ("access", min(limited))
                where = file.at("endpoints", name, *part)
                yield f"{where} is counted by each pod by itself, and there are several; give redis: redis://HOST:6379/0"
