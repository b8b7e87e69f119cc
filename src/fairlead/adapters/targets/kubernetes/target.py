"""A Kubernetes cluster as a target: server-side apply, and shares of Gateway API routes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fairlead.adapters.targets.kubernetes import bodies, ready, shares
from fairlead.adapters.targets.kubernetes.access import POD, access
from fairlead.adapters.targets.kubernetes.client import WAIT, Client, FieldsTaken
from fairlead.adapters.targets.kubernetes.kinds import Kinds
from fairlead.contracts.errors import ObjectConflict, ObjectRejected, TargetError, TargetForbids
from fairlead.contracts.target import Body, Change, Difference, Note, Ref, Route, Seen, State, Where

DEPLOYER: Final = "fairlead-deploy"
"""Field manager of what files say."""
CONTROLLER: Final = "fairlead-controller"
"""Field manager of shares."""
_OURS: Final = (DEPLOYER, CONTROLLER)
_TRIES: Final = 5


def _settled(once: Callable[[], Seen]) -> Seen:
    """What changed between reading and writing (a rollout moved weights, a hook had it read again) is done again."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ObjectConflict):
            return once()
        time.sleep(WAIT)
    return once()


class KubernetesTarget:
    """Target. ``pod``: where a pod finds its service account, for tests."""

    def __init__(self, where: Where, pod: Path = POD) -> None:
        self._client = Client(access(where, pod), where.seconds, where.tries)
        self._kinds = Kinds(self._client)

    def find(self, body: Body) -> Ref:
        return self._kinds.ref(body)

    def observe(self, ref: Ref) -> Seen | None:
        found = self._client.get(self._kinds.path(ref))
        if found is None:
            return None
        seen = self._seen(ref, found)
        return self._explained(seen) if ref.kind == "Deployment" and seen.state is not State.READY else seen

    def diff(self, body: Body, owner: str) -> Difference:
        ref = self.find(body)
        found = self._client.get(self._kinds.path(ref))
        before = None if found is None else self._seen(ref, found)
        taken: dict[str, str] = {}
        try:
            try:
                after = self._applied(ref, body, owner, found, force="false", dryRun="All")
            except FieldsTaken as error:
                taken = {path: who for path, who in error.fields.items() if who not in _OURS}
                after = self._applied(ref, body, owner, found, dryRun="All")
        except ObjectRejected as error:  # a namespace that the same deployment may make
            if found is None and ref.namespace and f'namespaces "{ref.namespace}" not found' in str(error):
                return Difference(ref, Change.CREATE, awaits=ref.namespace)
            raise
        if found is None:
            return Difference(ref, Change.CREATE)
        fields = bodies.fields(found, after)
        return Difference(ref, Change.UPDATE if fields else Change.SAME, fields, before, taken)

    def apply(self, body: Body, owner: str) -> Seen:
        ref = self.find(body)

        def once() -> Seen:
            found = self._client.get(self._kinds.path(ref)) if ref.kind == "HTTPRoute" else None
            return self._seen(ref, self._applied(ref, body, owner, found))

        return _settled(once)

    def _applied(self, ref: Ref, body: Body, owner: str, found: Body | None, **more: str) -> dict[str, Any]:
        """What files of a deployment say holds against other managers: whose the object is, and who set its fields,
        was looked at before."""
        made = bodies.owned(body, owner, ref.namespace)
        if ref.kind == "HTTPRoute":
            made = shares.keeping(made, found, ref)
        try:
            return self._client.apply(
                self._kinds.path(ref), made, **{"fieldManager": DEPLOYER, "force": "true", **more}
            )
        except ObjectRejected as error:
            if ref.kind != "Secret":
                raise
            raise ObjectRejected(bodies.without_values(str(error), body)) from None

    def restore(self, before: Seen) -> Seen:
        ref = before.ref

        def once() -> Seen:
            now = self._client.get(self._kinds.path(ref))
            return self._seen(ref, self._managed(before, self._replaced(before, now)))

        return _settled(once)

    def _replaced(self, before: Seen, now: Body | None) -> Body:
        """What is there once its body is as it was."""
        ref, made = before.ref, bodies.put_back(before.body, now)
        if now is None:
            return self._client.create(self._kinds.collection(ref), made, fieldManager=DEPLOYER)
        if ref.kind == "HTTPRoute":
            made = shares.put_back(made, now, ref)
        if not bodies.fields(now, made):
            return now
        return self._client.replace(self._kinds.path(ref), made, fieldManager=DEPLOYER)

    def _managed(self, before: Seen, now: Body) -> Body:
        """What is there once its fields are theirs who had set them. A write of its own, that changes nothing else:
        the server adds to what a write says of managers the fields that it changes."""
        ref, managers = before.ref, bodies.managers(before.managers, now)
        if not managers:
            return now
        whole = {**now, "apiVersion": ref.api, "kind": ref.kind}
        whole["metadata"] = {**now["metadata"], "managedFields": managers}
        return self._client.replace(self._kinds.path(ref), whole, fieldManager=DEPLOYER)

    def remove(self, seen: Seen) -> None:
        """What stands below it goes first, so that its end is not only said."""
        options = {"preconditions": {"uid": seen.id}, "propagationPolicy": "Foreground"}
        self._client.delete(self._kinds.path(seen.ref), {"apiVersion": "v1", "kind": "DeleteOptions", **options})

    def note(self, name: str) -> Note:
        found = self._client.get(self._kinds.path(self._noted(name)))
        if found is None:
            return Note(name, "")
        return Note(name, bodies.text_of(found), str(found["metadata"]["resourceVersion"]))

    def write(self, note: Note, text: str) -> Note:
        ref = self._noted(note.name)
        made = bodies.note_of(note.name, text, note.revision)
        if note.revision:
            found = self._client.replace(self._kinds.path(ref), made)
        else:
            found = self._client.create(self._kinds.collection(ref), made)
        return Note(note.name, text, str(found["metadata"]["resourceVersion"]))

    def route(self, endpoint: str) -> Route | None:
        any_one = Ref(shares.API, "HTTPRoute", "", self._client.access.namespace)
        try:
            path = self._kinds.collection(any_one)
        except ObjectRejected:
            return None  # a cluster without the Gateway API shares out nothing
        listed = self._client.get(path, labelSelector=f"{shares.ENDPOINT}={endpoint}") or {}
        found = []
        for body in listed.get("items") or []:
            ref = Ref(shares.API, "HTTPRoute", str(body["metadata"]["name"]), any_one.namespace)
            whole = {**body, "apiVersion": ref.api, "kind": ref.kind}  # a list leaves them out
            found += [one] if (one := shares.route(ref, whole)) else []
        if len(found) > 1:
            names = ", ".join(one.ref.name for one in found)
            raise TargetError(f"endpoint {endpoint!r} has several routes with two arms: {names}; leave one")
        return found[0] if found else None

    def shift(self, route: Route, weights: Mapping[str, int], fence: int) -> Route:
        patch = shares.shifted(route, weights, fence)
        body = self._client.merge(self._kinds.path(route.ref), patch, fieldManager=CONTROLLER)
        if (found := shares.route(route.ref, body)) is None:
            raise TargetError(f"{route.ref} has no two arms any more; look at its backends")
        return found

    def close(self) -> None:
        self._client.close()

    def _seen(self, ref: Ref, body: Mapping[str, Any]) -> Seen:
        metadata = body["metadata"]
        state, why = ready.ready({**body, "kind": ref.kind})
        kept = bodies.plain({**body, "apiVersion": ref.api, "kind": ref.kind})
        revision, identity = str(metadata.get("resourceVersion", "")), str(metadata.get("uid", ""))
        managers = metadata.get("managedFields") or ()
        return Seen(ref, kept, revision, identity, state, why, bodies.owner_of(body), managers)

    def _explained(self, seen: Seen) -> Seen:
        """With what its pods say, where this account may read them."""
        labels = ((seen.body.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        try:
            pods = self._client.get(f"/api/v1/namespaces/{seen.ref.namespace}/pods", labelSelector=selector) or {}
        except TargetForbids:
            return seen
        said = next((why for pod in pods.get("items") or [] if (why := ready.trouble(pod))), "")
        why = f"{seen.why}; {said}" if said else seen.why
        return replace(seen, why=why)

    def _noted(self, name: str) -> Ref:
        return Ref("v1", "Secret", bodies.note_name(name), self._client.access.namespace)
