"""The ``lightgbm`` runtime: text files of ``Booster.save_model``.

**How it predicts.** ``Booster.predict`` on a float64 matrix (LightGBM's own C call; it has no faster one in Python).
Measured on one core (lightgbm 4.7.0, 100 trees, 30 features): one row 25 us, 64 rows 257 us, 1024 rows 5.0 ms; 1,000
trees, 64 features: 46 us, 3.5 ms, 55 ms. It is thread-safe, and releases the interpreter lock.

**Threads.** One, so that no idle OpenMP thread spins beside the event loop; ``RuntimeOptions.threads`` overrules. A
second one halves the time of 64 rows (measured: 100 us, 1.8 ms) and changes that of one row by nothing.

**Answers** are those of the library's scikit-learn classes: ``label`` and ``probabilities`` for the objectives
``binary``, ``multiclass`` and ``multiclassova`` (labels are 0, 1, ...: the file does not keep the names that
``LGBMClassifier`` was fitted on), ``prediction`` for every other; an objective of the user's own leaves raw scores.
``save_model`` writes the trees up to ``best_iteration`` only, so all of them answer.

**Missing.** NaN (zero too where the model was fitted with ``zero_as_missing``).

**Categories.** A column that was categorical in the data frame of the fit takes the strings or numbers of that frame;
an unknown one counts as missing, as LightGBM has it. Where the file does not tell them it takes codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np

from fairlead.adapters.runtimes.boosters import lightgbm_text as text
from fairlead.adapters.runtimes.boosters.model import Booster, BoosterModel, classes, classifier, two_classes, value
from fairlead.adapters.runtimes.boosters.table import Array, Categories, Features
from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Tensors, TensorSpec
from fairlead.kit.sentences import cause


class LightgbmRuntime:
    """Loads LightGBM text files, whatever their names end in."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> BoosterModel:
        """Raises BrokenModel for a file that is cut short or altered, or that this LightGBM does not read."""
        path = artefact.path
        if path is None or not path.is_file():
            raise BrokenModel(f"there is no LightGBM file at {path}")
        data = path.read_bytes()
        try:
            head = text.header(data)
            text.check(data, head)
            native = lightgbm.Booster(model_str=data.decode())
            booster = _booster(native, head, data, path.name, options.threads or 1)
            booster.answer(np.zeros((1, booster.features.width)))
        except Exception as error:  # what is wrong inside a file shows anywhere
            said = str(error) if isinstance(error, text.Flaw) else cause(error)
            raise BrokenModel(
                f"{path.name} is a LightGBM model that is broken or cut short, or that lightgbm "
                f"{lightgbm.__version__} does not read: {said}; save or fetch it again"
            ) from error
        return BoosterModel(booster, artefact.signature)


def _booster(native: Any, head: dict[str, str], data: bytes, file: str, threads: int) -> Booster:
    kept = {
        place: Categories(_values(values), strict=False) for place, values in text.categories(data).items() if values
    }
    names = text.names(head)
    features = Features(names, native.num_feature(), DataType.FP64, kept if names else {})

    def run(rows: Array) -> Array:
        found: Array = native.predict(rows, num_threads=threads)
        return found

    outputs, answer = _answers(run, head)
    return Booster(file, features, outputs, answer, "lightgbm_text")


def _answers(
    run: Callable[[Array], Array], head: dict[str, str]
) -> tuple[tuple[TensorSpec, ...], Callable[[Array], Tensors]]:
    """The outputs and what gives them, by the objective of the file."""
    objective = head.get("objective", "").partition(" ")[0]
    count = int(head["num_class"])
    if objective == "binary":
        return classifier(2, DataType.FP64), lambda rows: two_classes(run(rows))
    if objective in ("multiclass", "multiclassova"):
        return classifier(count, DataType.FP64), lambda rows: classes(run(rows))
    return value(count, DataType.FP64), lambda rows: {"prediction": run(rows)}


def _values(values: list[Any]) -> tuple[str, ...] | tuple[float, ...]:
    """All numbers (a boolean is one), or all strings."""
    if all(isinstance(one, int | float) for one in values):
        return tuple(map(float, values))
    return tuple(one if isinstance(one, str) else json.dumps(one) for one in values)
