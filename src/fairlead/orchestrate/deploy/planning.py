"""What a deployment would change: asked of the target object by object, refused where it is somebody else's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.errors import ObjectConflict, ObjectRejected, UsageError
from fairlead.contracts.target import Body, Change, Difference, Ref, Target
from fairlead.orchestrate.deploy.journal import Record, plain

KEPT: Final = ("Namespace", "CustomResourceDefinition", "PersistentVolume", "PersistentVolumeClaim")
"""Kinds that are never taken away: what others keep in them would go too."""
_SHOWN, _LONG = 12, 60
"""Fields of an object that are listed, and characters of a value."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``bodies`` and their ``differences``, in order.  ``gone``: made earlier, no longer among the bodies."""

    bodies: tuple[Body, ...]
    differences: tuple[Difference, ...]
    gone: tuple[Ref, ...] = ()

    @property
    def changed(self) -> list[Difference]:
        return [one for one in self.differences if one.change is not Change.SAME]


def planned(target: Target, bodies: Sequence[Body], owner: str, record: Record, *, adopt: bool = False) -> Plan:
    """Raises ObjectConflict for an object that another made, or a field that another has set, unless it is to be
    adopted; ObjectRejected for a namespace that is not there; and what the target raises."""
    differences = tuple(target.diff(body, owner) for body in bodies)
    refs = [one.ref for one in differences]
    keys = [ref.key for ref in refs]
    for place, ref in enumerate(refs):
        if ref.key in keys[:place]:
            raise UsageError(f"{ref} is there twice, under two versions of its API; leave one of them out")
    coming = {ref.name for ref in refs if ref.kind == "Namespace"}
    for one in differences:
        if one.awaits and one.awaits not in coming:
            raise ObjectRejected(f"{one.ref}: there is no namespace {one.awaits!r}; make it, or name another")
    foreign = [one for one in differences if one.before is not None and one.before.owner != owner]
    if foreign and not adopt:
        whose = {one.before.owner for one in foreign if one.before}
        made = f"deployment {', '.join(sorted(whose))}" if whose != {""} else "somebody else"
        raise ObjectConflict(
            f"{', '.join(str(one.ref) for one in foreign)}: made by {made}, not by deployment {owner!r}; "
            "--adopt takes them over, --name names the deployment"
        )
    taken = [f"{one.ref}: {path} is set by {who}" for one in differences for path, who in one.taken.items()]
    if taken and not adopt:
        raise ObjectConflict(
            f"{'; '.join(taken[:_SHOWN])}{f'; and {len(taken) - _SHOWN} more' if len(taken) > _SHOWN else ''}; "
            "leave it out of the files, or take it over with --adopt"
        )
    return Plan(tuple(bodies), differences, tuple(ref for ref in record.made if ref.key not in keys))


def lines(plan: Plan, *, prune: bool) -> list[str]:
    """For people."""
    found = []
    for one in plan.differences:
        found.append(f"{one.change.value:<8}{one.ref}")
        found += [
            f"{'':8}  {place.path}: {_value(place.before)} -> {_value(place.after)}" for place in one.fields[:_SHOWN]
        ]
        if len(one.fields) > _SHOWN:
            found.append(f"{'':8}  and {len(one.fields) - _SHOWN} more")
    for ref in plan.gone:
        fate = "remove" if prune and ref.kind not in KEPT else "keep"
        why = "no longer in the files" + ("" if fate == "remove" else f"; {_why_kept(ref)}")
        found.append(f"{fate:<8}{ref} ({why})")
    return found


def document(plan: Plan, *, prune: bool) -> list[dict[str, Any]]:
    """For `--json`."""
    found = [
        {
            **plain(one.ref),
            "change": one.change.value,
            "fields": [{"path": place.path, "before": place.before, "after": place.after} for place in one.fields],
        }
        for one in plan.differences
    ]
    fates = [(ref, "remove" if prune and ref.kind not in KEPT else "keep") for ref in plan.gone]
    return found + [{**plain(ref), "change": fate, "fields": []} for ref, fate in fates]


def _why_kept(ref: Ref) -> str:
    return "its kind is never taken away" if ref.kind in KEPT else "--prune takes it away"


def _value(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
