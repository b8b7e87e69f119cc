"""Where a cluster keeps objects of a kind: asked of the cluster (API discovery), so that kinds of others work too."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from fairlead.adapters.targets.kubernetes.client import Client
from fairlead.contracts.errors import ObjectRejected
from fairlead.contracts.target import Body, Ref
from fairlead.kit.config import nearest


@dataclass(frozen=True, slots=True)
class Kind:
    plural: str
    namespaced: bool


class Kinds:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, dict[str, Kind]] = {}

    def ref(self, body: Body) -> Ref:
        """What a body is called. Raises ObjectRejected for a kind that the cluster does not have."""
        api, metadata = str(body["apiVersion"]), body["metadata"]
        kind = self.of(api, str(body["kind"]))
        namespace = str(metadata.get("namespace") or self._client.access.namespace) if kind.namespaced else ""
        return Ref(api, str(body["kind"]), str(metadata["name"]), namespace)

    def path(self, ref: Ref) -> str:
        return f"{self.collection(ref)}/{quote(ref.name, safe='')}"

    def collection(self, ref: Ref) -> str:
        inside = f"/namespaces/{quote(ref.namespace, safe='')}" if ref.namespace else ""
        return f"{_root(ref.api)}{inside}/{self.of(ref.api, ref.kind).plural}"

    def of(self, api: str, kind: str) -> Kind:
        if api not in self._known or kind not in self._known[api]:
            self._known[api] = self._asked(api)  # once more, where it was: a definition may have been made meanwhile
        if kind not in self._known[api]:
            close = nearest(kind, list(self._known[api])) or "; install what defines it (its CustomResourceDefinition)"
            raise ObjectRejected(f"the cluster knows no kind {kind!r} of {api}{close}")
        return self._known[api][kind]

    def _asked(self, api: str) -> dict[str, Kind]:
        found = self._client.get(_root(api)) or {}
        listed = [one for one in found.get("resources") or [] if "/" not in one["name"]]
        return {one["kind"]: Kind(one["name"], bool(one["namespaced"])) for one in listed}


def _root(api: str) -> str:
    return f"/apis/{api}" if "/" in api else f"/api/{api}"
