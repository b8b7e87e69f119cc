"""Runs a fitted estimator behind the public signature."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fairlead.adapters.runtimes.sklearn import reading
from fairlead.adapters.runtimes.sklearn.files import read
from fairlead.contracts.errors import BrokenModel, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec

_Array = np.ndarray[Any, Any]

_METHOD = {"label": "predict", "prediction": "predict", "probabilities": "predict_proba", "output": "transform"}
"""The estimator's method behind each output; ``probabilities_1`` is the second of what ``predict_proba`` lists."""


class SklearnRuntime:
    """Loads skops files, trusted pickles, and MLflow folders of the ``sklearn`` flavour."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> SklearnModel:  # noqa: ARG002 - it takes no options
        """Raises Untrusted for types or pickles nobody vouched for, BrokenModel for what is no fitted estimator."""
        estimator = read(artefact)
        try:
            check_is_fitted(estimator)
        except NotFittedError:
            raise BrokenModel(f"the {type(estimator).__name__} is not fitted; fit it, then save it") from None
        except TypeError:
            raise BrokenModel(f"a {type(estimator).__name__} is no estimator; save a fitted scikit-learn one") from None
        python_function = artefact.details.get("mlmodel", {}).get("flavors", {}).get("python_function", {})
        return SklearnModel(estimator, artefact.signature, str(python_function.get("predict_fn", "predict")))


class SklearnModel:
    """An estimator that takes columns (as a DataFrame), a matrix or texts, as it was fitted.

    The outputs are those that ``reading.outputs`` names; a public signature that names some of them gets those, in its
    own types. ``predict_fn`` is the method that MLflow's pyfunc would call. ``estimator`` is the fitted object itself.
    """

    def __init__(self, estimator: Any, public: Signature | None, predict_fn: str = "predict") -> None:
        self.traits = Traits(platform="sklearn_skops")
        natural = reading.outputs(estimator)
        public = public or Signature(reading.inputs(estimator))
        inputs = public.inputs or reading.inputs(estimator)
        ours = {spec.name for spec in natural}
        known = bool(public.outputs) and {spec.name for spec in public.outputs} <= ours
        self.estimator: Any = estimator
        self._feed = _feeder(estimator, inputs)
        self._one_pass = ours == {"label", "probabilities"} and reading.label_is_likeliest(estimator)
        self.signature = replace(
            public,
            inputs=inputs,
            outputs=public.outputs if known else natural,
            batched=True,
            prediction=public.prediction if known and public.prediction else _prediction(natural, predict_fn),
            tensor=public.tensor or not public.inputs,
        )
        if not known:
            self.signature = replace(self.signature, outputs=self._measured())

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - estimators take none
        answers = self._answers(inputs)
        return {spec.name: _typed(answers[spec.name], spec) for spec in self.signature.outputs}

    def close(self) -> None:
        self.estimator = _Closed()

    def _answers(self, inputs: Tensors) -> Tensors:
        fed = self._feed(inputs)
        results: dict[str, Any] = {}
        if self._one_pass:
            results["predict_proba"] = self.estimator.predict_proba(fed)
            results["predict"] = self.estimator.classes_[results["predict_proba"].argmax(axis=1)]
        answers = {}
        for spec in self.signature.outputs:
            name, _, index = spec.name.partition("_")
            method = _METHOD[name]
            if method not in results:
                results[method] = getattr(self.estimator, method)(fed)
            answers[spec.name] = _dense(results[method][int(index)] if index else results[method])
        return answers

    def _measured(self) -> tuple[TensorSpec, ...]:
        """The outputs with the width that a neutral row gives (and the type, but for a classifier), if it runs."""
        row = {spec.name: _neutral(spec) for spec in self.signature.inputs}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answers = self._answers(row)
        except Exception:  # noqa: BLE001 - a neutral row may be outside what the estimator takes
            return self.signature.outputs
        return tuple(_like(spec, answers[spec.name]) for spec in self.signature.outputs)


def _like(spec: TensorSpec, answer: _Array) -> TensorSpec:
    datatype = DataType.of(answer.dtype) if spec.name in ("prediction", "output") else spec.datatype
    return replace(spec, datatype=datatype, shape=(-1, *answer.shape[1:]))


class _Closed:
    def __getattr__(self, name: str) -> Any:
        raise ModelFailed("the model was closed; load it again")


def _prediction(outputs: tuple[TensorSpec, ...], predict_fn: str) -> tuple[str, ...]:
    chosen = tuple(spec.name for spec in outputs if _METHOD[spec.name.partition("_")[0]] == predict_fn)
    return chosen or (outputs[0].name,)


def _feeder(estimator: Any, inputs: tuple[TensorSpec, ...]) -> Callable[[Tensors], Any]:
    """What turns tensors into what the estimator was fitted on. The estimator never sees the caller's own arrays."""
    names = [spec.name for spec in inputs]
    if reading.takes_text(estimator):
        if len(names) != 1:
            raise BrokenModel(f"the model takes one list of texts, the signature names {len(names)} inputs")
        return lambda tensors: tensors[names[0]].reshape(-1).tolist()
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    if fitted and len(names) == 1 and names != fitted:
        return lambda tensors: pd.DataFrame(np.array(tensors[names[0]]), columns=fitted)
    if fitted:
        absent = [name for name in fitted if name not in names]
        if absent:
            raise BrokenModel(f"the model was fitted on the column {absent[0]!r}, which the signature does not name")
        return lambda tensors: _frame(tensors, fitted)
    if len(names) == 1 and not inputs[0].column:
        return lambda tensors: np.array(tensors[names[0]])
    if not hasattr(estimator, "n_features_in_"):
        return lambda tensors: _frame(tensors, names)
    return lambda tensors: np.concatenate([tensors[name].reshape(-1, 1) for name in names], axis=1)


def _frame(tensors: Tensors, names: list[str]) -> pd.DataFrame:
    """Columns keep their dtype: strings stay objects, so that a missing value stays what the edge made of it."""
    return pd.DataFrame(
        {name: pd.Series(tensors[name].reshape(-1), copy=True, dtype=tensors[name].dtype) for name in names}
    )


def _dense(result: Any) -> _Array:
    return result.toarray() if scipy.sparse.issparse(result) else np.asarray(result)


def _typed(array: _Array, spec: TensorSpec) -> _Array:
    if len(spec.shape) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if spec.datatype is DataType.BYTES and array.dtype.kind != "O":
        return array.astype(str).astype(object)
    return np.ascontiguousarray(array, spec.datatype.numpy)


def _neutral(spec: TensorSpec) -> _Array:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    if spec.datatype is DataType.BYTES:
        return np.full(shape, spec.missing_value if isinstance(spec.missing_value, str) else "", object)
    return np.zeros(shape, spec.datatype.numpy)
