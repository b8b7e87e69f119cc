"""A transport to a model in memory, for tests; ``fairlead.testing.upstream_suite`` holds for it too."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.contracts.errors import FairleadError, InvalidTensor, ModelFailed, NotFound
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import DataType, Parameters, Tensors
from fairlead.contracts.upstream import Described, Place, Told, Unreached


class MemoryTransport:
    """``models``: by name, what the other server has.  ``down``: why nobody answers, while it is set.

    ``asked``: the rows of each request.
    """

    def __init__(self, place: Place, models: Mapping[str, LoadedModel]) -> None:
        self.down = ""
        self.asked: list[int] = []
        self.closed = 0
        self._place, self._models = place, models

    async def describe(self) -> Described:
        model = self._model()
        inputs, outputs = (
            tuple(Told(spec.name, spec.datatype.value, spec.shape, spec.required) for spec in specs)
            for specs in (model.signature.inputs, model.signature.outputs)
        )
        return Described(model.traits.platform, inputs, outputs)

    async def infer(
        self,
        inputs: Tensors,
        datatypes: Mapping[str, DataType],  # noqa: ARG002 - the contract: nothing is encoded here
        parameters: Parameters,
        seconds: float,  # noqa: ARG002 - the contract
    ) -> Tensors:
        model = self._model()
        for spec in model.signature.inputs:
            if spec.name not in inputs or inputs[spec.name].ndim != len(spec.shape):
                raise InvalidTensor(f"tensor {spec.name!r} is not as the model takes it")
        self.asked.append(len(next(iter(inputs.values()))))
        try:
            return model.predict(inputs, parameters)
        except FairleadError:
            raise
        except Exception as error:
            raise ModelFailed(f"the model raised {type(error).__name__}") from error

    def close(self) -> None:
        self.closed += 1

    def _model(self) -> LoadedModel:
        if self.down:
            raise Unreached(self.down)
        if self._place.model not in self._models:
            raise NotFound(f"it has no model {self._place.model!r}")
        return self._models[self._place.model]
