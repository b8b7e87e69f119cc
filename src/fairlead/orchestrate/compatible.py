"""May callers of one version be given another? Pure comparison of two signatures."""

from __future__ import annotations

from fairlead.contracts.types import Missing, Signature, TensorSpec

_STRICT = (Missing.FORBID,)


def compatible(old: Signature, new: Signature) -> list[str]:
    """Why a call that ``old`` answers might fail, or be answered in another form, with ``new``; empty: it cannot."""
    reasons = _inputs(old, new)
    given = {spec.name: spec for spec in new.outputs}
    for spec in old.outputs:
        if spec.name not in given:
            reasons.append(f"output {spec.name!r} is gone")
        else:
            reasons += _typed(f"output {spec.name!r}", spec, given[spec.name])
    params = {spec.name: spec for spec in new.params}
    for param in old.params:
        if param.name not in params:
            reasons.append(f"parameter {param.name!r} is gone")
        elif params[param.name].datatype is not param.datatype:
            reasons.append(f"parameter {param.name!r} was {param.datatype} and is {params[param.name].datatype}")
    if old.batched and not new.batched:
        reasons.append("it no longer takes many rows in a call")
    if old.tensor != new.tensor:
        reasons.append("one takes a table, the other an unnamed tensor")
    if _predicted(old) != _predicted(new) and set(_predicted(old)) <= set(given):
        reasons.append(f"/invocations would answer {_predicted(new)} and not {_predicted(old)}")
    return reasons


def _inputs(old: Signature, new: Signature) -> list[str]:
    reasons = []
    taken = {spec.name: spec for spec in new.inputs}
    sent = {spec.name: spec for spec in old.inputs}
    for spec in old.inputs:
        if spec.name not in taken:
            reasons.append(f"input {spec.name!r} is no longer taken")
            continue
        there = taken[spec.name]
        reasons += _typed(f"input {spec.name!r}", spec, there)
        if there.required and not spec.required:
            reasons.append(f"input {spec.name!r} was optional and is required")
        if there.missing in _STRICT and spec.missing not in _STRICT:
            reasons.append(f"input {spec.name!r} no longer takes missing values")
    reasons += [
        f"input {name!r} is new and required" for name, spec in taken.items() if spec.required and name not in sent
    ]
    return reasons


def _typed(where: str, old: TensorSpec, new: TensorSpec) -> list[str]:
    if old.datatype is not new.datatype:
        return [f"{where} was {old.datatype} and is {new.datatype}"]
    fits = len(old.shape) == len(new.shape) and all(b in (-1, a) for a, b in zip(old.shape, new.shape, strict=True))
    return [] if fits else [f"{where} had shape {list(old.shape)} and has {list(new.shape)}"]


def _predicted(signature: Signature) -> tuple[str, ...]:
    return signature.prediction or tuple(spec.name for spec in signature.outputs)
