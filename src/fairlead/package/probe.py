"""Ask a fitted model what a missing value is to it, and make the rows that a conversion must survive. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec

_Array = np.ndarray[Any, Any]
_Predict = Callable[[Tensors], Tensors]

_ROWS = 16
_UNSEEN = "never seen before"
_BLANK = ""


def missing_values(
    predict: _Predict, signature: Signature, rows: Tensors, tokens: Mapping[str, str] | str | None = None
) -> Signature:
    """The signature with a rule for missing values in every input, found by trying them on ``rows``.

    Numbers: NaN where the model answers it with numbers, else forbidden; integers and booleans have no room for it.
    Strings: the token the model was fitted with, when the caller names it (``tokens``: one for all, or by input); else
    NaN or None where the model answers that differently from a word it never saw (it knows a missing value then); else
    the empty string, an unseen word like any other; and forbidden where the model refuses unseen words.
    """
    few = {name: array[:_ROWS] for name, array in rows.items()}
    trials = _trials(signature, few, tokens)
    answers = _all_answers(predict, list(trials.values()))
    found = dict(zip(trials, answers, strict=True))
    return replace(signature, inputs=tuple(_rule(spec, found, tokens) for spec in signature.inputs))


def as_edges_send(rows: Tensors, signature: Signature) -> Tensors:
    """``rows`` as they reach the model: missing values follow the signature's rules, forbidden ones drop their row."""
    count = len(next(iter(rows.values())))
    keep = np.ones(count, bool)
    sent = dict(rows)
    for spec in signature.inputs:
        array = rows[spec.name]
        holes = array != array  # noqa: PLR0124 - NaN differs from itself, in object arrays too
        if spec.datatype is DataType.BYTES:
            holes = np.asarray(holes | (array == None), bool)  # noqa: E711 - element by element
        if not holes.any():
            continue
        if spec.missing is Missing.FORBID:
            keep &= ~holes.reshape(count, -1).any(axis=1)
        elif spec.datatype is DataType.BYTES:
            sent[spec.name] = np.where(holes, np.array(_hole(spec), object), array)
    return sent if keep.all() else {name: array[keep] for name, array in sent.items()}


def cases(signature: Signature, held_out: Tensors) -> dict[str, Tensors]:
    """Named rows on which a converted model must answer like its original.

    ``held-out``: the rows given.  ``missing``: some of them with each input missing in turn, then all of them.
    ``unseen``: the same with a word that no fit has seen.  ``extreme``: the same with numbers far outside.
    """
    rows = as_edges_send(held_out, signature)
    few = {name: array[:_ROWS] for name, array in rows.items()}
    texts = [spec for spec in signature.inputs if spec.datatype is DataType.BYTES]
    numbers = [spec for spec in signature.inputs if spec.datatype not in (DataType.BYTES, DataType.BOOL)]
    holes = {spec.name: _hole(spec) for spec in signature.inputs if spec.missing is not Missing.FORBID}
    low = {spec.name: _far(rows[spec.name], -1) for spec in numbers}
    high = {spec.name: _far(rows[spec.name], +1) for spec in numbers}
    made = {
        "held-out": rows,
        "missing": _in_turn(few, signature.inputs, holes),
        "unseen": _in_turn(few, texts, dict.fromkeys((spec.name for spec in texts), _UNSEEN)),
        "extreme": _joined([_in_turn(few, numbers, low), _in_turn(few, numbers, high)]),
    }
    return {name: case for name, case in made.items() if case}


def _token(spec: TensorSpec, tokens: Mapping[str, str] | str | None) -> str | None:
    return tokens if isinstance(tokens, str) or tokens is None else tokens.get(spec.name)


def _trials(
    signature: Signature, few: Tensors, tokens: Mapping[str, str] | str | None
) -> dict[tuple[str, str], Tensors]:
    """The rows to try: by input and what is tried in it."""
    trials = {}
    for spec in signature.inputs:
        if spec.datatype.is_float:
            trials[spec.name, "nan"] = _holed(few, spec, np.nan)
        elif spec.datatype is DataType.BYTES and _token(spec, tokens) is None:
            for name, value in (("blank", _BLANK), ("nan", np.nan), ("none", None)):
                trials[spec.name, name] = _holed(few, spec, value)
    return trials


def _rule(
    spec: TensorSpec, found: Mapping[tuple[str, str], Tensors | None], tokens: Mapping[str, str] | str | None
) -> TensorSpec:
    if spec.datatype is not DataType.BYTES:
        return replace(spec, missing=Missing.NAN if found.get((spec.name, "nan")) is not None else Missing.FORBID)
    token = _token(spec, tokens)
    if token is not None:
        return replace(spec, missing=Missing.VALUE, missing_value=token)
    blank = found[spec.name, "blank"]
    for name, rule in (("nan", Missing.NAN), ("none", Missing.NONE)):
        answer = found[spec.name, name]
        if answer is not None and (blank is None or not _same(answer, blank)):
            return replace(spec, missing=rule)
    if blank is None:
        return replace(spec, missing=Missing.FORBID)
    return replace(spec, missing=Missing.VALUE, missing_value=_BLANK)


def _all_answers(predict: _Predict, trials: list[Tensors]) -> list[Tensors | None]:
    """The answer to each trial, None where the model refuses it or says NaN; in one run when none is refused."""
    if not trials:
        return []
    together = _outputs(predict, _joined(trials))
    if together is None:
        answers = [_outputs(predict, rows) for rows in trials]
    else:
        size = len(next(iter(trials[0].values())))
        starts = range(0, size * len(trials), size)
        answers = [{name: array[at : at + size] for name, array in together.items()} for at in starts]
    return [None if answer is None or _has_nan(answer) else answer for answer in answers]


def _outputs(predict: _Predict, rows: Tensors) -> Tensors | None:
    try:
        return predict(rows)
    except Exception:  # noqa: BLE001 - refusing is what is asked about
        return None


def _has_nan(outputs: Tensors) -> bool:
    return any(array.dtype.kind == "f" and np.isnan(array).any() for array in outputs.values())


def _same(a: Tensors, b: Tensors) -> bool:
    return all(
        np.allclose(a[name], b[name], rtol=1e-9, atol=0)
        if a[name].dtype.kind == "f"
        else np.array_equal(a[name], b[name])
        for name in a
    )


def _holed(rows: Tensors, spec: TensorSpec, value: Any) -> Tensors:
    """``rows`` with one value of the input replaced in each row (all of it, for a column)."""
    array = rows[spec.name].copy()
    flat = array.reshape(len(array), -1)
    if flat.shape[1]:
        flat[np.arange(len(flat)), np.arange(len(flat)) % flat.shape[1]] = value
    return {**rows, spec.name: array}


def _hole(spec: TensorSpec) -> Any:
    return {Missing.NONE: None, Missing.VALUE: spec.missing_value}.get(spec.missing, np.nan)


def _far(array: _Array, side: int) -> Any:
    """A value ten ranges outside what the rows hold, within the dtype."""
    known = array[np.isfinite(array)].astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    span = 10 * max(high - low, 1.0)
    far = high + span if side > 0 else low - span
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        return int(np.clip(far, max(limits.min, -(2**53)), min(limits.max, 2**53)))
    return far


def _in_turn(few: Tensors, specs: Sequence[TensorSpec], values: Mapping[str, Any]) -> Tensors:
    chosen = [spec for spec in specs if spec.name in values]
    if not chosen:
        return {}
    everywhere = few
    for spec in chosen:
        everywhere = _holed(everywhere, spec, values[spec.name])
    return _joined([*(_holed(few, spec, values[spec.name]) for spec in chosen), everywhere])


def _joined(blocks: Sequence[Tensors]) -> Tensors:
    blocks = [block for block in blocks if block]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} if blocks else {}
