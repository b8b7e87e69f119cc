"""What `fairlead deploy` is made of: a target by name, and whose the objects are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Body, Target, Where
from fairlead.kit import plugins

GROUP: Final = "fairlead.targets"
_LABELS: Final = ("app.kubernetes.io/part-of", "app.kubernetes.io/name")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?")


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
