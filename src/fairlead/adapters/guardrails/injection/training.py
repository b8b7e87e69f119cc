"""Trains the classifier of detector ``injection``: multinomial logistic regression on hashed character n-grams.

The same examples give the same file. A part of the groups is held out; the figures in the file are of that part, and of
what the caller marked as only for testing. The score at which one of a hundred harmless texts would be blocked is found
on another part, which is neither trained on nor tested with, and becomes 0.5.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from fairlead.adapters.guardrails.injection.grams import BITS, grams, plain, windows
from fairlead.contracts.errors import InputError
from fairlead.contracts.guardrail import Example

HELD: Final = 0.3
"""Share of the groups that is held out."""
TUNED: Final = 0.15
"""Share of the groups that says where the threshold is."""
ALARMS: Final = 0.01
PENALTY: Final = 2e-4
LEAST: Final = 50
"""Examples of every side, at least."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def train(examples: Sequence[Example], about: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    """``contracts.guardrail.Trainer``."""
    labels = ["", *sorted({one.label for one in examples} - {""})]
    parts: dict[str, list[Example]] = {"train": [], "tune": [], "held": [], "beside": []}
    for one in examples:
        parts[_part(one)].append(one)
    for name in ("train", "tune", "held"):
        attacks = sum(one.label != "" for one in parts[name])
        if min(attacks, len(parts[name]) - attacks) < (LEAST if name == "train" else LEAST // 5):
            raise InputError(f"too few examples: {len(parts[name])} to {name} with, {attacks} of them attacks")
    weights = _fit(_matrix(parts["train"]), _classes(parts["train"], labels), len(labels))
    harmless = [one for one in parts["tune"] if not one.label]
    limit = float(np.quantile(_scores(weights, harmless), 1 - ALARMS, method="higher"))
    weights[-1, 1:] -= np.log(limit / (1 - limit))  # so that the limit becomes 0.5
    weights = weights.astype(np.float16).astype(np.float64)
    figures = {
        "examples": {name: _counted(part) for name, part in parts.items()},
        "held_out": _figures(weights, parts["held"]),
        "held_out_by_source": _by_source(weights, parts["held"]),
        "only_tested": _by_source(weights, parts["beside"]),
    }
    told = {**about, "labels": labels, "bits": BITS, **figures}
    return _model(weights, told), figures


def _part(one: Example) -> str:
    if one.held is not None:
        return "beside" if one.held else "train"
    place = int.from_bytes(hashlib.sha256((one.group or one.text).encode()).digest()[:8], "big") / 2**64
    return "held" if place < HELD else "tune" if place < HELD + TUNED else "train"


def _matrix(examples: Sequence[Example]) -> Any:
    """One row for each example: its first window."""
    ids, values, ends = [], [], [0]
    for one in examples:
        found, weight = grams(next(windows(plain(one.text))))
        ids.append(found)
        values.append(weight)
        ends.append(ends[-1] + len(found))
    shape = (len(examples), 1 << BITS)
    return csr_matrix((np.concatenate(values).astype(np.float64), np.concatenate(ids), ends), shape=shape)


def _classes(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([labels.index(one.label) for one in examples])


def _fit(rows: Any, classes: np.ndarray[Any, np.dtype[np.int64]], count: int) -> Matrix:
    """Weights [features + 1, classes], the last row the intercepts. Both sides weigh the same together."""
    wanted = np.eye(count)[classes]
    attack = classes > 0
    weigh = np.where(attack, 0.5 / attack.sum(), 0.5 / (~attack).sum())[:, None]
    features = rows.shape[1]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(features + 1, count)
        logits = rows @ weights[:-1] + weights[-1]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        value = -float((weigh * wanted * np.log(np.maximum(shares, 1e-12))).sum())
        off = weigh * (shares - wanted)
        slope = np.vstack([rows.T @ off, off.sum(axis=0, keepdims=True)])
        slope[:-1] += PENALTY * weights[:-1]
        return value + PENALTY / 2 * float((weights[:-1] ** 2).sum()), slope.ravel()

    found = minimize(loss, np.zeros((features + 1) * count), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x.reshape(features + 1, count))


def _scores(weights: Matrix, examples: Sequence[Example]) -> Matrix:
    """How sure it is, by the worst window, that a text attacks."""
    told = []
    for one in examples:
        worst = 0.0
        for window in windows(plain(one.text)):
            ids, values = grams(window)
            logits = values @ weights[ids] + weights[-1]
            shares = np.exp(logits - logits.max())
            worst = max(worst, float(1 - shares[0] / shares.sum()))
        told.append(worst)
    return np.array(told)


def _figures(weights: Matrix, examples: Sequence[Example]) -> dict[str, float]:
    scores = _scores(weights, examples)
    attack = np.array([one.label != "" for one in examples])
    bad, good = scores[attack], scores[~attack]
    found = {}
    if len(bad) and len(good):
        limit = np.quantile(good, 1 - ALARMS, method="higher")
        found["auc"] = round(float(area(bad, good)), 4)
        found["caught_at_1_percent"] = round(float((bad > limit).mean()), 4)
    if len(bad):
        found["caught"] = round(float((bad >= 0.5).mean()), 4)
    if len(good):
        found["false_alarms"] = round(float((good >= 0.5).mean()), 4)
    return found


def area(bad: Matrix, good: Matrix) -> float:
    """Under the ROC curve: how often an attack scores above what is harmless (Mann and Whitney), a tie half."""
    order = np.sort(good)
    below = np.searchsorted(order, bad, "left") + np.searchsorted(order, bad, "right")
    return float(below.mean() / 2 / len(good))


def _by_source(weights: Matrix, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    sources = sorted({one.source for one in examples})
    told: dict[str, dict[str, float]] = {}
    for source in sources:
        part = [one for one in examples if one.source == source]
        told[source] = {"examples": len(part), **_figures(weights, part)}
    return told


def _counted(examples: Sequence[Example]) -> dict[str, int]:
    attacks = sum(one.label != "" for one in examples)
    return {"attacks": attacks, "harmless": len(examples) - attacks}


def _model(weights: Matrix, about: Mapping[str, Any]) -> bytes:
    """ids int64 [k], values float32 [k] to the shares of the labels, float32 [labels]."""
    half = weights.astype(np.float16)
    nodes = [
        helper.make_node("Gather", ["weights", "ids"], ["rows16"], axis=0),
        helper.make_node("Cast", ["rows16"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["values", "one"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "zero"], ["summed"], keepdims=0),
        helper.make_node("Add", ["summed", "intercepts"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=0),
    ]
    constants = [
        numpy_helper.from_array(half[:-1], "weights"),
        numpy_helper.from_array(half[-1].astype(np.float32), "intercepts"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "guard",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["k"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["k"]),
        ],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, [weights.shape[1]])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"fairlead_guard": json.dumps(about, sort_keys=True)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
