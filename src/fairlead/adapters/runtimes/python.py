"""The ``python`` runtime: a plain class that a user wrote, named ``package.module:Class``.

::

    class Predictor:
        inputs = [("x", "FP32", [-1, 4])]            # optional; without it any tensors are taken, unchecked
        outputs = [("y", "FP32", [-1])]              # optional; without it any answer is given, unchecked

        def load(self, path):                        # optional; path is None when no file goes with the class
            ...

        def predict(self, inputs):                   # name -> array, the first dimension counts rows
            return {"y": inputs["x"].sum(axis=1)}    # or one array, or a tuple in the order of ``outputs``

``predict`` may take ``parameters`` too: a mapping of the request's parameters. Further optional attributes:
``signature`` (a ``Signature``, instead of inputs and outputs), ``batched`` (True: calls may ride together),
``max_rows`` and ``releases_gil`` (see ``Traits``), and a method ``close``.
The arrays are the predictor's own: it may change them, and may answer with the same array every time.

The module is imported from the Python path; putting the current folder on it is the command line's business.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel, FairleadError, MissingExtra, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec
from fairlead.kit import plugins
from fairlead.kit.sentences import cause


class PythonRuntime:
    """Makes and loads one instance of the class. ``Signature.inputs`` is empty when the class declares none."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> PythonModel:  # noqa: ARG002 - it takes no options
        """Raises BrokenModel for a class that is not there, is no predictor or fails to load; MissingExtra for an
        import that is not installed."""
        target = artefact.target
        predictor_class = _imported(target)
        _check(predictor_class, target)
        try:
            predictor = predictor_class()
            if hasattr(predictor, "load"):
                predictor.load(None if artefact.path is None else str(artefact.path))
            signature = _signature(predictor, artefact.signature, target)
        except FairleadError:
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise BrokenModel(f"{target} failed to load: {cause(error)}") from error
        return PythonModel(predictor, signature)


class PythonModel:
    """A user's predictor behind the runtime contract."""

    def __init__(self, predictor: Any, signature: Signature) -> None:
        self.signature = signature
        self.traits = Traits(
            releases_gil=bool(getattr(predictor, "releases_gil", False)),
            max_rows=int(getattr(predictor, "max_rows", 0)),
            platform="fairlead_python",
        )
        self._predictor: Any = predictor
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._takes_parameters = "parameters" in inspect.signature(predictor.predict).parameters

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        if self._predictor is None:
            raise ModelFailed("the model was closed; load it again")
        own = {name: array.copy() for name, array in inputs.items()}
        extra = {"parameters": dict(parameters)} if self._takes_parameters else {}
        try:
            answer = self._predictor.predict(own, **extra)
        except SystemExit as error:  # it would end the server, or the thread that others wait for
            raise ModelFailed(f"predict left with {cause(error)}; let it raise another exception") from error
        return {name: self._array(name, value) for name, value in self._named(answer).items()}

    def close(self) -> None:
        predictor, self._predictor = self._predictor, None
        if hasattr(predictor, "close"):
            predictor.close()

    def _named(self, answer: Any) -> Mapping[str, Any]:
        if isinstance(answer, Mapping):
            absent = [name for name in self._specs if name not in answer]
            if absent:
                raise ModelFailed(f"predict gave no output {absent[0]!r}; it gave {', '.join(map(str, answer))}")
            return {name: answer[name] for name in self._specs} if self._specs else answer
        values = answer if isinstance(answer, tuple) else (answer,)
        names = tuple(self._specs) or (("output",) if len(values) == 1 else _numbered(len(values)))
        if len(names) != len(values):
            raise ModelFailed(f"predict gave {len(values)} outputs where {len(names)} are declared: {', '.join(names)}")
        return dict(zip(names, values, strict=True))

    def _array(self, name: str, value: Any) -> np.ndarray[Any, Any]:
        array = np.asarray(value)
        spec = self._specs.get(name)
        datatype = spec.datatype if spec else DataType.of(array.dtype)
        if datatype is DataType.BYTES and array.dtype.kind != "O":
            return array.astype(str).astype(object)
        return np.array(array, datatype.numpy, order="C")  # a copy: the predictor may fill the same array next time


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"output_{index}" for index in range(count))


def _imported(target: str) -> Any:
    try:
        return plugins.attribute(target)
    except ModuleNotFoundError as error:
        raise plugins.missing(error, target) from error
    except (FairleadError, MissingExtra) as error:
        raise BrokenModel(str(error)) from error
    except (Exception, SystemExit) as error:  # importing a user's module runs the user's code
        raise BrokenModel(f"importing {target} failed: {cause(error)}") from error


def _check(predictor_class: Any, target: str) -> None:
    if not inspect.isclass(predictor_class):
        kind = type(predictor_class).__name__
        raise BrokenModel(f"{target} is a {kind}, not a class; name a class with a predict method")
    if not callable(getattr(predictor_class, "predict", None)):
        raise BrokenModel(f"{target} has no method predict(self, inputs)")
    for name in ("load", "predict"):
        method = getattr(predictor_class, name, None)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise BrokenModel(f"{target}.{name} is async; make it a plain def, the server runs it in a thread")


def _signature(predictor: Any, packaged: Signature | None, target: str) -> Signature:
    declared = getattr(predictor, "signature", None)
    if isinstance(declared, Signature):
        return declared
    inputs = _specs(getattr(predictor, "inputs", ()), f"{target}.inputs")
    outputs = _specs(getattr(predictor, "outputs", ()), f"{target}.outputs")
    if packaged is not None and not inputs:
        return packaged
    return Signature(inputs, outputs, batched=bool(getattr(predictor, "batched", True)))


def _specs(declared: Any, where: str) -> tuple[TensorSpec, ...]:
    try:
        return tuple(
            one if isinstance(one, TensorSpec) else TensorSpec(str(one[0]), DataType(one[1]), tuple(map(int, one[2])))
            for one in declared
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise BrokenModel(
            f'{where} must list (name, datatype, shape), for example ("x", "FP32", [-1, 4]): {error}'
        ) from error
