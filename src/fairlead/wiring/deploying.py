"""What `fairlead deploy` is made of: a target by name, whose the objects are, and what is written down of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.contracts.plans import Happening
from fairlead.contracts.target import Body, Target, Where
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.wiring import auditing, stores, watching

GROUP: Final = "fairlead.targets"
_LABELS: Final = ("app.kubernetes.io/part-of", "app.kubernetes.io/name")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?")
_SPEC: Final = "fairlead.yaml"
"""Under this name a ConfigMap has the spec of its pods."""
_WHY: Final = 300
"""Characters of an error that are written down."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of a deployment. ``act``: ``deploy``, ``deploy.rollback`` or ``deploy.undo``.

    ``digest``: of its objects, SHA-256.  ``outcome``: ``allowed``, or the code of the error; ``why``: that error.
    ``revision``: its number among the good ones; 0: it is none.  ``back_to``: the number that it went back to.
    """

    act: str
    name: str
    target: str
    namespace: str = ""
    digest: str = ""
    changed: int = 0
    removed: int = 0
    revision: int = 0
    back_to: int = 0
    outcome: str = "allowed"
    why: str = ""


def target(name: str, where: Where) -> Target:
    """Raises UsageError for a name that none has, and for a configuration that leads nowhere."""
    found: Target = plugins.load(GROUP, name)(where)
    return found


def owner(name: str, bodies: Sequence[Body]) -> str:
    """The deployment's name: as given, else what all objects say that they are part of. Raises UsageError."""
    for label in () if name else _LABELS:
        said = {(body["metadata"].get("labels") or {}).get(label) for body in bodies}
        if len(said) == 1 and None not in said:
            name = str(said.pop())
            break
    if not name:
        raise UsageError(f"the objects have no label {' or '.join(_LABELS)} in common; name the deployment with --name")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: expected at most 40 of a-z, 0-9, - and ., as a label of objects takes them")
    return name


def namespace(bodies: Sequence[Body]) -> str:
    """Where most objects are, when they say it, so that two namespaces have two deployments; empty: as is configured.

    One that is made along with them cannot hold what is remembered before.
    """
    made = {body["metadata"]["name"] for body in bodies if body["kind"] == "Namespace"}
    said = Counter(str(body["metadata"].get("namespace") or "") for body in bodies)
    found = said.most_common(1)[0][0] if said else ""
    return "" if found in made else found


def endpoints(bodies: Sequence[Body]) -> list[str]:
    """Those that the pods of these objects serve, as their ConfigMaps say."""
    found: list[str] = []
    for body in bodies:
        text = (body.get("data") or {}).get(_SPEC) if body["kind"] == "ConfigMap" else None
        try:
            told: Any = yaml.safe_load(text) if isinstance(text, str) else None
        except yaml.YAMLError:
            continue
        served = told.get("endpoints") if isinstance(told, dict) else None
        found += map(str, served) if isinstance(served, dict) else ()
    return list(dict.fromkeys(found))


def written(home: Home, what: Deployed, served: Sequence[str], tell: Callable[[str], None], apart: str = "") -> None:
    """Into the audit log, and the timeline of each endpoint. What cannot be written is told and changes nothing.

    ``apart``: why the timeline is not that of ``home``.
    """
    about = {"deployment": what.name, "target": what.target, "namespace": what.namespace, "digest": what.digest}
    numbers = {"changed": what.changed, "removed": what.removed, "revision": what.revision, "back_to": what.back_to}
    counted = {key: str(value) for key, value in numbers.items() if value}
    auditing.act(home, what.act, outcome=what.outcome, why=what.why[:_WHY], **about, **counted)
    if apart:
        tell(f"not in the timeline: {apart}")
    if apart or not served or not watching.has_state():
        return
    now, evidence = SystemClock.wall_ms(), {**about, **numbers, "who": auditing.actor(home), "outcome": what.outcome}
    try:
        store = stores.state(home)
        for endpoint in served:
            timeline.write(store, Happening(endpoint, "deploy", _sentence(what), now, evidence))
    except FairleadError as error:
        tell(f"not in the timeline: {error}")


def _sentence(what: Deployed) -> str:
    if what.why:
        return f"deployment {what.name} to {what.target} failed: {what.why[:_WHY]}"
    if what.act == "deploy.undo":
        return f"deployment {what.name} to {what.target} was interrupted; what was there is back"
    done = f"went back to revision {what.back_to}" if what.back_to else "deployed"
    return f"{what.name} {done} on {what.target}: {what.changed} changed, {what.removed} removed; all ready"
