"""A Kubernetes API server in memory, for tests: what clients of its API must reckon with.

Kept: discovery, resourceVersion and its conflicts (409), uid preconditions, generations, server-side apply with field
managers and their conflicts, dry runs, merge patches, label selectors, namespaces, immutable selectors, defaults, and
readiness that comes later or never.  Not kept: watches, admission, subresources, quotas, garbage collection.
``fairlead.testing.cluster_api`` serves it over HTTP.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.kit.clock import Clock, SystemClock
from fairlead.testing import cluster_fields, cluster_status
from fairlead.testing.cluster_fields import Manager, Path

Object = dict[str, Any]
KINDS: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "ConfigMap": ("configmaps", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "ServiceAccount": ("serviceaccounts", True),
        "Pod": ("pods", True),
    },
    "apps/v1": {"Deployment": ("deployments", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
    "autoscaling/v2": {"HorizontalPodAutoscaler": ("horizontalpodautoscalers", True)},
    "rbac.authorization.k8s.io/v1": {"Role": ("roles", True), "RoleBinding": ("rolebindings", True)},
    "monitoring.coreos.com/v1": {
        "ServiceMonitor": ("servicemonitors", True),
        "PrometheusRule": ("prometheusrules", True),
    },
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
    "gateway.networking.k8s.io/v1": {"HTTPRoute": ("httproutes", True)},
    "gateway.networking.k8s.io/v1beta1": {"HTTPRoute": ("httproutes", True)},
}
"""API to kinds, their plural and whether they are in namespaces."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Refusal(Exception):
    """What the server answers instead: ``status`` as ``metav1.Status``."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        self.status |= {"message": message, "details": details}


@dataclass(slots=True)
class _Kept:
    body: Object
    at: float
    managers: dict[Manager, set[Path]] = field(default_factory=dict)
    scaled: bool = False


class FakeCluster:
    """``ready_after``: seconds from a change to readiness.  ``broken``: images that cannot be pulled.

    ``forbidden``: ``(method, plural)`` that nobody may.  ``before``: called with method, plural and name of each
    request before it is answered; it may change the cluster, or raise.  ``asked``: those calls.
    """

    def __init__(self, clock: Clock | None = None, ready_after: float = 0.0) -> None:
        self.ready_after = ready_after
        self.broken: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        self.before: Callable[[str, str, str], None] | None = None
        self.asked: list[tuple[str, str, str]] = []
        self._clock = clock or SystemClock()
        self._objects: dict[tuple[str, str, str], _Kept] = {}
        self._count = 100
        self._lock = threading.RLock()
        for name in ("default", "ml"):
            self.request("POST", "/api/v1/namespaces", {}, {"kind": "Namespace", "metadata": {"name": name}})

    def get(self, plural: str, name: str, namespace: str = "ml") -> Object | None:
        """An object as a test looks at it."""
        kept = self._objects.get((plural, namespace if plural != "namespaces" else "", name))
        return self._shown(kept) if kept else None

    def names(self, plural: str) -> list[str]:
        return sorted(name for of, _, name in self._objects if of == plural)

    def scale(self, name: str, replicas: int, namespace: str = "ml") -> None:
        """As an autoscaler does."""
        kept = self._objects["deployments", namespace, name]
        made = copy.deepcopy(kept.body)
        made["spec"]["replicas"] = replicas
        self._changed(kept, made, ("kube-controller-manager", "Update"))
        kept.scaled = True

    def request(
        self, method: str, path: str, params: Mapping[str, str], body: Object | None = None, kind: str = ""
    ) -> Object:
        """One request. Raises Refusal."""
        api, rest = _split(path)
        if api not in KINDS:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        if not rest:
            return _discovered(api)
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        self.asked.append((method, plural, name))
        if self.before is not None:
            self.before(method, plural, name)
        if (method, plural) in self.forbidden:
            raise _forbidden(method, api, plural, name)
        with self._lock:
            return self._answered(method, api, (plural, namespace, name), params, body, kind)

    def _answered(
        self,
        method: str,
        api: str,
        key: tuple[str, str, str],
        params: Mapping[str, str],
        body: Object | None,
        kind: str,
    ) -> Object:
        plural, namespace, name = key
        if method == "GET" and not name:
            return {"kind": "List", "apiVersion": api, "items": self._listed(plural, namespace, params)}
        if method == "GET":
            return self._shown(self._found(key))
        if method == "DELETE":
            return self._deleted(key, body or {})
        if namespace and ("namespaces", "", namespace) not in self._objects:
            raise Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        given, dry = copy.deepcopy(body or {}), params.get("dryRun") == "All"
        manager = (params.get("fieldManager", "unknown"), "Apply" if "apply" in kind else "Update")
        if method == "POST":
            key = (plural, namespace, given["metadata"]["name"])
            if key in self._objects:
                raise Refusal(409, "AlreadyExists", f'{plural} "{key[2]}" already exists')
            return self._made(api, key, given, manager, dry)
        if method == "PUT":
            kept = self._found(key)
            if not dry and _managed(kept, given):
                self._count += 1
                kept.body["metadata"]["resourceVersion"] = str(self._count)
            return self._written(kept, given, manager, dry)
        if "apply" in kind:
            return self._applied(api, key, given, manager, force=params.get("force") == "true", dry=dry)
        kept = self._found(key)
        return self._written(kept, _merged(kept.body, given), manager, dry)

    def _found(self, key: tuple[str, str, str]) -> _Kept:
        if key not in self._objects:
            raise Refusal(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self._objects[key]

    def _listed(self, plural: str, namespace: str, params: Mapping[str, str]) -> list[Object]:
        inside = {key: one for key, one in self._objects.items() if key[1] == namespace}
        found = [self._shown(one) for key, one in inside.items() if key[0] == plural]
        if plural == "pods":
            deployments = [one.body for key, one in inside.items() if key[0] == "deployments"]
            pods = [(one, cluster_status.bad(one, self.broken)) for one in deployments]
            found += [cluster_status.pod(one, image) for one, image in pods if image]
        return [one for one in found if _selected(one, params.get("labelSelector", ""))]

    def _made(self, api: str, key: tuple[str, str, str], given: Object, manager: Manager, dry: bool) -> Object:
        plural, namespace, name = key
        kind = next(one for one, (of, _) in KINDS[api].items() if of == plural)
        given = {"apiVersion": api, "kind": kind, **{name: value for name, value in given.items() if name != "status"}}
        given["metadata"] = {**given["metadata"], "name": name}
        if namespace:
            given["metadata"]["namespace"] = namespace
        _checked(given)
        said = set(cluster_fields.flat(given))
        _defaulted(given)
        self._count += 1
        given["metadata"] |= {"uid": f"uid-{self._count}", "resourceVersion": str(self._count), "generation": 1}
        kept = _Kept(given, self._clock.now(), {manager: said})
        if not dry:
            self._objects[key] = kept
        return self._shown(kept)

    def _written(self, kept: _Kept, given: Object, manager: Manager, dry: bool) -> Object:
        """PUT and merge patch: of the revision that was read."""
        now = kept.body["metadata"]
        _current(kept.body, given)
        made = {**given, "apiVersion": kept.body["apiVersion"], "kind": kept.body["kind"]}
        made.pop("status", None)
        for name in ("uid", "generation", "name", "namespace"):
            if name in now:
                made["metadata"][name] = now[name]
        _checked(made, kept.body)
        _defaulted(made)
        if dry:
            return made
        self._changed(kept, made, manager)
        return self._shown(kept)

    def _applied(
        self, api: str, key: tuple[str, str, str], given: Object, manager: Manager, *, force: bool, dry: bool
    ) -> Object:
        if key not in self._objects:
            return self._made(api, key, given, manager, dry)
        kept = self._objects[key]
        _current(kept.body, given)
        said, there = cluster_fields.flat(given), cluster_fields.flat(kept.body)
        others = {path for name, paths in kept.managers.items() if name != manager for path in paths}
        clash = [path for path in said if path in others and there.get(path) != said[path]]
        if clash and not force:
            raise _conflict(kept, clash, manager)
        made = copy.deepcopy(kept.body)
        for path in kept.managers.get(manager, set()) - set(said) - others:
            cluster_fields.drop(made, path)
        for path, value in said.items():
            cluster_fields.put(made, path, value)
        _checked(made, kept.body)
        _defaulted(made)
        if dry:
            return made
        self._changed(kept, made, manager)
        for name, paths in kept.managers.items():
            if name != manager:
                paths.difference_update(clash)
        kept.managers[manager] = set(said)
        return self._shown(kept)

    def _changed(self, kept: _Kept, made: Object, manager: Manager) -> None:
        """What is the same writes nothing. A spec that changed is a new generation."""
        old, new = cluster_fields.flat(kept.body), cluster_fields.flat(made)
        if old == new:
            return
        self._count += 1
        moved = {path for path in {**old, **new} if old.get(path) != new.get(path)}
        for paths in kept.managers.values():
            paths.difference_update(moved)
        kept.managers.setdefault(manager, set()).update(moved & set(new))
        generation = kept.body["metadata"]["generation"] + (made.get("spec") != kept.body.get("spec"))
        made["metadata"] |= {"resourceVersion": str(self._count), "generation": generation}
        if generation != kept.body["metadata"]["generation"]:
            kept.at = self._clock.now()
        kept.body = made

    def _deleted(self, key: tuple[str, str, str], options: Object) -> Object:
        kept = self._found(key)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != kept.body["metadata"]["uid"]:
            raise Refusal(409, "Conflict", f"Precondition failed: UID in precondition: {wanted}")
        del self._objects[key]
        return {"kind": "Status", "status": "Success"}

    def _shown(self, kept: _Kept) -> Object:
        found = copy.deepcopy(kept.body)
        managers = cluster_fields.managed(kept.managers)
        found["metadata"]["managedFields"] = managers + (
            [{"manager": "hpa", "operation": "Update", "subresource": "scale"}] if kept.scaled else []
        )
        said = cluster_status.status(found, self._clock.now() - kept.at, self.ready_after, self.broken)
        return {**found, "status": said} if said else found


def _forbidden(method: str, api: str, plural: str, name: str) -> Refusal:
    """As rules of access (RBAC) refuse."""
    said = f'User "deployer" cannot {method.lower()} resource "{plural}" in API group "{api.rpartition("/")[0]}"'
    return Refusal(403, "Forbidden", f'{plural} "{name}" is forbidden: {said}')


def _managed(kept: _Kept, given: Object) -> bool:
    """What a PUT says of managers is so, before the fields that it changes become its own; whether that is news."""
    said = given["metadata"].pop("managedFields", [])
    _current(kept.body, given)
    managers = cluster_fields.managers(said)
    if not managers or managers == kept.managers:
        return False
    kept.managers = managers
    given["metadata"].pop("resourceVersion", None)
    return True


def _conflict(kept: _Kept, clash: list[Path], manager: Manager) -> Refusal:
    """As server-side apply tells whose the fields are."""
    causes = []
    for path in clash:
        who = next(name for (name, by), paths in kept.managers.items() if (name, by) != manager and path in paths)
        message = f'conflict with "{who}" using {kept.body["apiVersion"]}'
        causes.append({"reason": "FieldManagerConflict", "message": message, "field": cluster_fields.shown(path)})
    return Refusal(409, "Conflict", f"Apply failed with {len(clash)} conflict", causes=causes)


def _current(body: Object, given: Object) -> None:
    """A write that names a revision must name the newest."""
    if given["metadata"].get("resourceVersion") not in (None, body["metadata"]["resourceVersion"]):
        what = f'{body["kind"]} "{body["metadata"]["name"]}"'
        message = "the object has been modified; please apply your changes to the latest version and try again"
        raise Refusal(409, "Conflict", f"Operation cannot be fulfilled on {what}: {message}")


def _discovered(api: str) -> Object:
    listed = [{"name": plural, "kind": name, "namespaced": inside} for name, (plural, inside) in KINDS[api].items()]
    return {"kind": "APIResourceList", "groupVersion": api, "resources": listed}


def _selected(body: Object, selector: str) -> bool:
    labels = body["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, _, value in (one.partition("=") for one in selector.split(",") if one))


def _split(path: str) -> tuple[str, list[str]]:
    parts = path.strip("/").split("/")
    return (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])


def _merged(body: Object, patch: Object) -> Object:
    """RFC 7396."""
    made = copy.deepcopy(body)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = (
                _merged(made[key], value) if isinstance(value, dict) and isinstance(made.get(key), dict) else value
            )
    return made


def _checked(made: Object, before: Object | None = None) -> None:
    name, kind = made["metadata"]["name"], made["kind"]
    if not _NAME.fullmatch(name):
        _invalid(kind, name, "metadata.name", "a lowercase RFC 1123 subdomain must consist of lower case characters")
    if kind == "Deployment":
        labels = made["spec"]["template"]["metadata"]["labels"]
        selector = made["spec"]["selector"]["matchLabels"]
        if any(labels.get(key) != value for key, value in selector.items()):
            _invalid(kind, name, "spec.template.metadata.labels", "`selector` does not match template `labels`")
        if before is not None and before["spec"]["selector"] != made["spec"]["selector"]:
            _invalid(kind, name, "spec.selector", "field is immutable")


def _invalid(kind: str, name: str, place: str, message: str) -> None:
    causes = [{"reason": "FieldValueInvalid", "field": place, "message": message}]
    raise Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {place}: {message}', causes=causes)


def _defaulted(made: Object) -> None:
    if made["kind"] == "Deployment":
        made["spec"].setdefault("replicas", 1)
        made["spec"].setdefault("progressDeadlineSeconds", 600)
        made["spec"]["template"]["spec"].setdefault("restartPolicy", "Always")
    if made["kind"] == "Service":
        made["spec"].setdefault("clusterIP", "10.0.0.1")
        made["spec"].setdefault("type", "ClusterIP")
