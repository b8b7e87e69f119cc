"""The pods of a unit: a Deployment, its container, and what is mounted into it."""

from __future__ import annotations

import posixpath
from typing import Any, Final

from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.deploy import Pods
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.contained import HOME, USER
from fairlead.wiring.kubernetes import carried, units
from fairlead.wiring.kubernetes.asked import (
    ARMS,
    SPEC,
    SPEC_FOLDER,
    Rendering,
    image,
    labels,
    secret,
    selected,
    thing,
    whole,
)
from fairlead.wiring.kubernetes.carried import Needs
from fairlead.wiring.kubernetes.units import Unit

SETTLE: Final = 5
"""Seconds in which the cluster learns that a pod gets no more calls; it answers them meanwhile."""
_MARGIN: Final = 5
_START: Final = 600
"""Seconds that a pod may take to start: weights are pulled then."""
_EVERY: Final = 5
_AWS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def deployment(
    file: SpecFile, how: Rendering, unit: Unit, arm: str, told: dict[str, Any], count: Any
) -> dict[str, Any]:
    """``arm``: empty where there is one.  ``told``: the pods' spec.  ``count``: pods; None: an autoscaler has them."""
    name = f"{unit.name}-{arm}" if arm else unit.name
    asked = units.pods(file, unit)[1]
    more = {"arm": arm} if arm else {}
    body: dict[str, Any] = {} if count is None else {"replicas": count}
    marks = labels(file, unit.name, **more)
    pod = {
        "metadata": {"labels": marks, "annotations": carried.stamp(told, file.name)},
        "spec": spec(file, unit.name, asked, carried.needs(file, told), [_container(file, how, unit, arm, told)], name),
    }
    seconds = SETTLE + carried.grace(file, unit.endpoints) + _MARGIN
    pod["spec"]["terminationGracePeriodSeconds"] = Noted(
        int(-(-seconds // 1)), f"{SETTLE} s to be left alone, the longest stream or server.grace, and {_MARGIN} s"
    )
    body |= {
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 2 * _START,
        "strategy": Noted(
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "none ends before another is ready",
        ),
        "selector": {"matchLabels": selected(unit.name, arm)},
        "template": pod,
    }
    return thing(file, "apps/v1", "Deployment", name, {"spec": body}, marks)


def spec(
    file: SpecFile,
    instance: str,
    asked: Pods,
    needs: Needs,
    containers: list[Any],
    config: str,
    shared: str = "256Mi",
    *,
    serves: bool = True,
) -> dict[str, Any]:
    """Of a pod, without the time that it has to end. ``config``: its ConfigMap; empty: it is no pod of ours.

    ``shared``: memory between its processes.  ``serves``: it answers calls, and has the certificate for that.
    """
    found: dict[str, Any] = {
        "serviceAccountName": instance,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": spread(instance),
        **placed(asked),
        "containers": containers,
        "volumes": _volumes(file, asked, needs, config, shared, serves=serves and bool(config)),
    }
    if file.spec.deploy.pull_secret:
        found["imagePullSecrets"] = [{"name": file.spec.deploy.pull_secret}]
    return found


def spread(instance: str) -> list[Any]:
    """Over zones and nodes, where there are several."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selected(instance)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def placed(asked: Pods) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if asked.nodes:
        found["nodeSelector"] = dict(asked.nodes)
    if asked.gpus:
        found["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return found


def resources(asked: Pods, where: str) -> dict[str, Any]:
    """Memory is a bound, cores are not: a container that is throttled is late."""
    memory = Noted(asked.memory, f"{where}.memory")
    cpu = str(whole(asked.cpu)) if asked.cpu >= 1 else f"{round(asked.cpu * 1000)}m"
    limits: dict[str, Any] = {"memory": asked.memory}
    if asked.gpus:
        limits[f"nvidia.com/mig-{asked.mig}" if asked.mig else "nvidia.com/gpu"] = asked.gpus
    return {"requests": {"cpu": Noted(cpu, f"{where}.cpu"), "memory": memory}, "limits": limits}


def contained() -> dict[str, Any]:
    """What a container may do: nothing but run."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def environment(file: SpecFile, needs: Needs) -> list[Any]:
    """Secrets by reference, never by value."""
    name = secret(file)
    found: list[Any] = [
        Noted({"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}, where)
        for key, where in sorted(needs.variables.items())
    ]
    if needs.s3:
        found += [
            Noted(
                {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": True}}},
                "of the bucket, unless the pod's ServiceAccount may use it (deploy.identity)",
            )
            for key in _AWS
            if key not in needs.variables
        ]
    return found


def mounts(file: SpecFile, asked: Pods, needs: Needs, *, serves: bool = True) -> list[Any]:
    """Of a pod of ours. ``serves``: it answers calls."""
    found: list[Any] = [*own(), {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True}]
    for place, folder in enumerate(_folders(needs)):
        found.append({"name": f"secret-{place}", "mountPath": folder, "readOnly": True})
    if serves and (tls := file.spec.server.tls) is not None:
        where = file.at("server", "tls")
        found.append(Noted({"name": "tls", "mountPath": posixpath.dirname(tls.cert), "readOnly": True}, where))
    return [*found, *claims(asked)]


def own() -> list[Any]:
    """Where a container may write."""
    folders = {"home": HOME, "tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - in the container
    return [{"name": name, "mountPath": path} for name, path in folders.items()]


def claims(asked: Pods) -> list[Any]:
    return [
        {"name": f"claim-{place}", "mountPath": path, "readOnly": True}
        for place, path in enumerate(sorted(asked.volumes))
    ]


def _container(file: SpecFile, how: Rendering, unit: Unit, arm: str, told: dict[str, Any]) -> dict[str, Any]:
    server, needs = file.spec.server, carried.needs(file, told)
    name, asked = units.pods(file, unit)
    flags = ["--arm", ARMS[arm]] if arm else []
    flags += ["--insecure"] if how.insecure else []
    ports = [{"name": "http", "containerPort": server.port}]
    ports += [{"name": "grpc", "containerPort": server.grpc_port}] if server.grpc_port else []
    return {
        "name": "server",
        "image": image(file, how),
        "args": ["up", SPEC, "--no-controller", *flags],
        "workingDir": HOME,
        "ports": ports,
        "env": [{"name": "FAIRLEAD_HOME", "value": HOME}, *environment(file, needs)],
        "resources": resources(asked, file.at("endpoints", name, "deploy")),
        "startupProbe": probe(file, "/healthz", failures=_START // _EVERY),
        "readinessProbe": Noted(
            probe(file, "/readyz", failures=2), "every endpoint of the pod is live, and it is not ending"
        ),
        "livenessProbe": probe(file, "/healthz", failures=6),
        "lifecycle": {
            "preStop": {"sleep": {"seconds": Noted(SETTLE, "then SIGTERM: what it has is answered, streams too")}}
        },
        "securityContext": contained(),
        "volumeMounts": mounts(file, asked, needs),
    }


def probe(file: SpecFile, path: str, failures: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"path": path, "port": "http"}
    if file.spec.server.tls is not None:
        asked["scheme"] = "HTTPS"
    return {"httpGet": asked, "periodSeconds": _EVERY, "timeoutSeconds": 3, "failureThreshold": failures}


def _volumes(file: SpecFile, asked: Pods, needs: Needs, config: str, shared: str, *, serves: bool) -> list[Any]:
    found: list[Any] = [
        {"name": "home", "emptyDir": {"sizeLimit": asked.storage}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared}},
    ]
    if config:
        found.append({"name": "spec", "configMap": {"name": config}})
    for place, (folder, paths) in enumerate(_folders(needs).items()):
        items = [{"key": posixpath.basename(path), "path": posixpath.basename(path)} for path in paths]
        note = ", ".join(needs.files[path] for path in paths)
        found.append(
            Noted(
                {"name": f"secret-{place}", "secret": {"secretName": secret(file), "items": items}},
                f"for {folder}: {note}",
            )
        )
    if serves and (tls := file.spec.server.tls) is not None:
        items = [{"key": "tls.crt", "path": posixpath.basename(tls.cert)}]
        items += [{"key": "tls.key", "path": posixpath.basename(tls.key)}] if tls.key else []
        note = f"{file.at('server', 'tls')}: of type kubernetes.io/tls"
        found.append(Noted({"name": "tls", "secret": {"secretName": f"{secret(file)}-tls", "items": items}}, note))
    for place, (_, claim) in enumerate(sorted(asked.volumes.items())):
        found.append({"name": f"claim-{place}", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    return found


def _folders(needs: Needs) -> dict[str, list[str]]:
    """Folder to the paths of secrets in it."""
    found: dict[str, list[str]] = {}
    for path in sorted(needs.files):
        found.setdefault(posixpath.dirname(path), []).append(path)
    return found
