"""Bodies of objects as they are compared, kept and put back: without what the cluster writes itself. Pure."""

from __future__ import annotations

import base64
import binascii
import copy
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairlead.contracts.errors import ObjectTooLarge, TargetError
from fairlead.contracts.target import Body, Field
from fairlead.kit.differing import differences

OWNER: Final = "fairlead.dev/deployment"
"""Label: the deployment that made an object."""
MANAGED: Final = ("app.kubernetes.io/managed-by", "fairlead")
SECRET: Final = "(secret)"  # noqa: S105 - what is shown in its place
LARGEST_NOTE: Final = 1_000_000
"""Bytes; a Secret holds 1 MiB."""
_OWN: Final = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_REVISION: Final = "deployment.kubernetes.io/revision"
_NOTE: Final = "record"
_HIDDEN: Final = ("data", "stringData", "metadata.annotations")
"""Where a Secret keeps what it keeps."""


def owned(body: Body, owner: str, namespace: str) -> dict[str, Any]:
    """``body`` with the labels that say whose it is."""
    made: dict[str, Any] = copy.deepcopy(dict(body))
    metadata = made["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED[0]: MANAGED[1], OWNER: owner}
    if namespace:
        metadata["namespace"] = namespace
    made.pop("status", None)
    return made


def owner_of(body: Body) -> str:
    labels = body["metadata"].get("labels") or {}
    return str(labels.get(OWNER, "")) if labels.get(MANAGED[0]) == MANAGED[1] else ""


def plain(body: Body) -> dict[str, Any]:
    """Without status and what the cluster counts."""
    made: dict[str, Any] = copy.deepcopy({key: value for key, value in body.items() if key != "status"})
    for name in _OWN:
        made["metadata"].pop(name, None)
    annotations = made["metadata"].get("annotations") or {}
    annotations.pop(_REVISION, None)
    if not annotations:
        made["metadata"].pop("annotations", None)
    return made


def fields(before: Body, after: Body) -> tuple[Field, ...]:
    """Where two differ. Values of a Secret are never in it, nor its annotations, where kubectl keeps them too."""
    hidden = after.get("kind") == "Secret"
    return tuple(
        Field(path, _shown(old, hide), _shown(new, hide))
        for path, old, new in differences(plain(before), plain(after))
        for hide in (hidden and path.startswith(_HIDDEN),)
    )


def without_values(text: str, secret: Body) -> str:
    """What was said of a Secret that was refused, without what is in it."""
    values = [value for part in ("data", "stringData") for value in (secret.get(part) or {}).values()]
    for value in sorted({str(one) for one in values if str(one)}, key=len, reverse=True):
        text = text.replace(value, SECRET)
    return text


def _shown(value: Any, hide: bool) -> Any:
    return SECRET if hide and value is not None else value


def put_back(before: Body, now: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body that replaces what is there ``now`` (None: nothing is). Replicas stay what a scaler made of them."""
    made = plain(before)
    if now is not None:
        made["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
        count = (now.get("spec") or {}).get("replicas")
        if count is not None and _scaled(now) and "replicas" in (made.get("spec") or {}):
            made["spec"]["replicas"] = count
    return made


def managers(before: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Who is to be said to have set the fields of what was put back; empty: those who are.

    A write that puts fields back makes them its own (operation ``Update``), and who had applied them could neither
    drop them later nor be told apart. Subresources, as a scaler's, stay as they are.
    """
    there = now["metadata"].get("managedFields") or []
    wanted = [one for one in before if not one.get("subresource")]
    wanted += [one for one in there if one.get("subresource")]
    return wanted if before and _untimed(wanted) != _untimed(there) else []


def _untimed(managers: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(
        json.dumps({name: value for name, value in one.items() if name != "time"}, sort_keys=True) for one in managers
    )


def _scaled(now: Mapping[str, Any]) -> bool:
    """Whether somebody else than a deployment of ours says how many replicas there are."""
    managers = now["metadata"].get("managedFields") or []
    return any(one.get("subresource") == "scale" for one in managers)


def note_of(name: str, text: str, revision: str) -> dict[str, Any]:
    """A note as a Secret: what was there before may hold some."""
    data = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    if len(data) > LARGEST_NOTE:
        raise ObjectTooLarge(
            f"what deployment {name!r} changes is {len(data)} bytes compressed, more than the {LARGEST_NOTE} that a "
            "Secret holds; deploy it in parts, under several names"
        )
    metadata: dict[str, Any] = {"name": note_name(name), "labels": {MANAGED[0]: MANAGED[1], OWNER: name}}
    if revision:
        metadata["resourceVersion"] = revision
    kind = "fairlead.dev/deployment"
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": {_NOTE: data}}


def note_name(name: str) -> str:
    return f"fairlead.deployment.{name}"


def text_of(body: Body) -> str:
    try:
        return gzip.decompress(base64.b64decode(body["data"][_NOTE])).decode()
    except (KeyError, TypeError, OSError, EOFError, binascii.Error, zlib.error, UnicodeDecodeError):
        raise TargetError(f"Secret/{body['metadata']['name']} is no record of a deployment; remove it") from None
