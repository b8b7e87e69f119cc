"""The ``xgboost`` runtime: files of ``Booster.save_model`` and ``XGBModel.save_model``, JSON or UBJSON.

**How it predicts.** ``Booster.inplace_predict`` on a float32 matrix: the same answers as through a ``DMatrix``,
lock-free in any number of threads, and faster. Measured on one core (xgboost 3.2.0, 100 trees, 30 features): one row
111 us against 151 us, 64 rows 154 us against 205 us, 1024 rows 0.74 ms against 0.96 ms; 1,000 trees, 64 features: 225
against 284 us, 0.70 against 0.77 ms. ``gblinear`` has no in-place prediction and is not thread-safe: ``DMatrix``, one
call at a time.

**Threads.** One: up to 64 rows xgboost works on one block, so a second thread brings nothing (measured) and would spin
beside the event loop. From a thousand rows on two halve the time; ``RuntimeOptions.threads`` overrules. The call
releases the interpreter lock.

**Answers** are those of the library's scikit-learn classes, ``best_iteration`` honoured: ``label`` and
``probabilities`` for a file whose objective classifies (labels are 0, 1, ...: XGBoost has no others; several targets
give a label each), ``prediction`` for every other (``binary:logitraw``: the margin), and for a file that a regressor
or ranker saved whatever its objective. An objective of the user's own is not in the file: ``prediction`` is what
xgboost makes of the file alone.

**Missing.** NaN, whatever ``missing=`` was at the fit: files do not keep it.

**Categories.** Where the file keeps them (fitted with xgboost 3.1 or later on a data frame) a categorical column takes
the strings or numbers of that frame, and an unknown one is refused, as xgboost does. Without them, and for strings
outside ASCII (which xgboost 3.2 garbles in the file), it takes codes: places in the sorted list of categories.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from fairlead.adapters.runtimes.boosters import xgboost_file
from fairlead.adapters.runtimes.boosters.model import Booster, BoosterModel, classes, classifier, two_classes, value
from fairlead.adapters.runtimes.boosters.table import Array, Categories, Features
from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Tensors, TensorSpec
from fairlead.kit.sentences import cause

_SILENT = 0


class XgboostRuntime:
    """Loads XGBoost model files, whatever their names end in."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> BoosterModel:
        """Raises BrokenModel for a file that is cut short, or that this xgboost does not read."""
        path = artefact.path
        if path is None or not path.is_file():
            raise BrokenModel(f"there is no XGBoost file at {path}")
        threads = options.threads or 1
        native, learner = _read(path, threads)
        try:
            booster = _booster(native, learner, path.name, threads)
            width = booster.features.width
            booster.answer(np.zeros((1, width), booster.features.datatype.numpy))
        except BrokenModel:
            raise
        except Exception as error:  # what is wrong inside a file shows anywhere
            raise BrokenModel(f"{path.name} cannot be run by xgboost {xgboost.__version__}: {_said(error)}") from error
        return BoosterModel(booster, artefact.signature)


def _read(path: Path, threads: int) -> tuple[Any, dict[str, Any]]:
    """The booster, and the ``learner`` of its file."""
    data = path.read_bytes()
    if not data.startswith(b"{"):
        raise BrokenModel(
            f"{path.name} is in XGBoost's old binary format, which xgboost {xgboost.__version__} does not read;"
            " load it with the xgboost that wrote it and save it as .ubj or .json"
        )
    with xgboost.config_context(verbosity=_SILENT):
        try:
            learner = xgboost_file.document(data)
            xgboost_file.check(learner)
            native = xgboost.Booster({"nthread": threads, "verbosity": _SILENT})
            native.load_model(bytearray(data))
            native.set_param({"nthread": threads, "verbosity": _SILENT})
        except Exception as error:  # any file may be broken in any way
            said = str(error) if type(error) is ValueError else _said(error)
            raise BrokenModel(
                f"{path.name} is an XGBoost model that is broken or cut short: {said}; save or fetch it again"
            ) from error
    return native, learner


def _booster(native: Any, learner: dict[str, Any], file: str, threads: int) -> Booster:
    width = native.num_features()
    if not width or not native.num_boosted_rounds():
        raise BrokenModel(f"{file} is an XGBoost model without a tree; fit it, then save it")
    names = tuple(map(str, native.feature_names or ()))
    features = Features(names, width, DataType.FP32, _categories(native, learner) if names else {})
    run = _runner(native, learner["gradient_booster"]["name"], threads)
    outputs, answer = _answers(run, learner, _estimator(native))
    return Booster(file, features, outputs, answer, "xgboost_booster")


Run = Callable[[Array, str], Array]
"""Features [n, width] and ``value`` or ``margin`` to [n] or [n, k]."""


def _runner(native: Any, kind: str, threads: int) -> Run:
    if kind == "gblinear":
        lock = threading.Lock()

        def linear(rows: Array, what: str) -> Array:
            with lock:
                matrix = xgboost.DMatrix(rows, nthread=threads)
                found: Array = native.predict(matrix, output_margin=what == "margin", validate_features=False)
                return found

        return linear
    best = native.attr("best_iteration")
    iterations = (0, int(best) + 1) if best is not None else (0, 0)

    def run(rows: Array, what: str) -> Array:
        found: Array = native.inplace_predict(
            rows, iteration_range=iterations, predict_type=what, validate_features=False
        )
        return found

    return run


def _answers(
    run: Run, learner: dict[str, Any], estimator: str
) -> tuple[tuple[TensorSpec, ...], Callable[[Array], Tensors]]:
    """The outputs and what gives them, by the objective of the file."""
    objective = learner["objective"]["name"]
    count = int(learner["learner_model_param"]["num_class"])
    targets = int(learner["learner_model_param"].get("num_target", 1))
    if estimator in ("regressor", "ranker"):
        objective = ""
    if objective == "binary:logistic" and targets > 1:
        outputs = (TensorSpec("label", DataType.INT64, (-1, targets)), _chances(targets))
        return outputs, lambda rows: _labels(run(rows, "value"))
    if objective == "binary:logistic":
        return classifier(2, DataType.FP32), lambda rows: two_classes(run(rows, "value"))
    if objective == "binary:hinge":
        label = (TensorSpec("label", DataType.INT64, (-1,)),)
        return label, lambda rows: {"label": (run(rows, "value") > 0.5).astype(np.int64)}
    if objective == "multi:softprob":
        return classifier(count, DataType.FP32), lambda rows: classes(run(rows, "value"))
    if objective == "multi:softmax":
        return classifier(count, DataType.FP32), lambda rows: classes(_softmax(run(rows, "margin")))
    trial = run(np.zeros((1, int(learner["learner_model_param"]["num_feature"])), np.float32), "value")
    width = trial.shape[1] if trial.ndim == 2 else 1
    shape = (-1,) if width == 1 else (-1, width)
    return value(width, DataType.FP32), lambda rows: {"prediction": run(rows, "value").reshape(shape)}


def _chances(count: int) -> TensorSpec:
    return TensorSpec("probabilities", DataType.FP32, (-1, count))


def _labels(chances: Array) -> Tensors:
    return {"label": (chances > 0.5).astype(np.int64), "probabilities": chances}


def _softmax(margins: Array) -> Array:
    raised = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _estimator(native: Any) -> str:
    """``classifier``, ``regressor`` or ``ranker`` where one of xgboost's scikit-learn classes saved the file."""
    kept = native.attr("scikit_learn")
    return str(json.loads(kept).get("_estimator_type", "")) if kept else ""


def _categories(native: Any, learner: dict[str, Any]) -> dict[int, Categories]:
    """Place of each categorical feature to its categories, where the file keeps them."""
    kept = xgboost_file.grown(learner).get("cats", {}).get("enc", [])
    known = {
        place: _decoded(encoded)
        for place, (kind, encoded) in enumerate(zip(native.feature_types or (), kept, strict=False))
        if kind == "c"
    }
    return {place: Categories(values, strict=True) for place, values in known.items() if values}


def _decoded(encoded: dict[str, Any]) -> tuple[str, ...] | tuple[float, ...]:
    """Strings stand as one run of bytes with the offsets of their ends; numbers as they are.

    Empty where a byte is not ASCII: xgboost 3.2 counts letters for offsets and cuts bytes by them, so the file holds
    other strings than the frame did.
    """
    values, ends = [*encoded["values"]], encoded.get("offsets")
    if ends is None:
        return tuple(map(float, values))
    if any(not 0 <= byte < 128 for byte in values):
        return ()
    text = bytes(map(int, values)).decode()
    return tuple(text[start:end] for start, end in itertools.pairwise(ends))


def _said(error: Exception) -> str:
    """The first line of what xgboost says, without the time and the place in its source."""
    return re.sub(r"^XGBoostError: \[[\d:]+\] \S+:\d+: ", "", cause(error))
