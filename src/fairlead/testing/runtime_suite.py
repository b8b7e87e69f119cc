"""What every runtime must do: the check-suite of ``contracts/runtime.py``.

A runtime plugin runs it from its own tests::

    @pytest.mark.parametrize("check", runtime_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_runtime(check):
        check(MyRuntime(), runtime_suite.Sample(artefact=..., inputs=..., wrong=...))

Every check raises AssertionError with one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import FairleadError, MissingExtra, ModelError
from fairlead.contracts.runtime import Artefact, LoadedModel, Runtime, RuntimeOptions
from fairlead.contracts.types import Parameters, Tensors

_CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Sample:
    """What the suite needs to try a runtime.

    ``artefact``: a model it can load.  ``inputs``: at least three different rows for it (rows on axis 0).
    ``wrong``: an artefact that it must refuse (broken bytes, another format, a class that is not there).
    ``unchecked``: the model truly declares no inputs.
    """

    artefact: Artefact
    inputs: Tensors
    wrong: Artefact
    parameters: Parameters = field(default_factory=dict)
    unchecked: bool = False

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    def some(self, rows: slice) -> Tensors:
        return {name: array[rows] for name, array in self.inputs.items()}


def signature_is_complete(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        signature = model.signature
        _must(sample.unchecked or bool(signature.inputs), "the signature names no inputs")
        _must(sample.unchecked or bool(signature.outputs), "the signature names no outputs")
        for specs in (signature.inputs, signature.outputs):
            names = [spec.name for spec in specs]
            _must(len(set(names)) == len(names), f"a name is used twice in {names}")
            if signature.batched:
                for spec in specs:
                    _must(spec.shape[:1] == (-1,), f"{spec.name} of a batched model has the shape {spec.shape}")
        outputs = {spec.name for spec in signature.outputs}
        _must(set(signature.prediction) <= outputs, f"prediction {signature.prediction} is not among {outputs}")
        _must("_" in model.traits.platform, "traits.platform must read <project>_<format>")


def answers_fit_the_signature(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        answer = _predict(model, sample, sample.inputs)
        specs = model.signature.outputs
        if specs:
            _must([*answer] == [spec.name for spec in specs], f"outputs are {[*answer]}, not those of the signature")
        for spec in specs:
            array = answer[spec.name]
            _must(array.dtype == spec.datatype.numpy, f"{spec.name} is {array.dtype}, not {spec.datatype}")
            _must(array.ndim == len(spec.shape), f"{spec.name} has shape {array.shape}, not {spec.shape}")
            sizes = zip(spec.shape, array.shape, strict=True)
            _must(all(want in (-1, got) for want, got in sizes), f"{spec.name} has shape {array.shape}")
        if model.signature.batched:
            for name, array in answer.items():
                _must(len(array) == sample.rows, f"{name} has {len(array)} rows for {sample.rows} rows of input")


def inputs_are_left_alone(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        given = {name: array.copy() for name, array in sample.inputs.items()}
        answer = _predict(model, sample, given)
        for name, array in given.items():
            _must(_equal(array, sample.inputs[name]), f"predict changed its input {name}")
            for output, values in answer.items():
                _must(not np.shares_memory(array, values), f"the output {output} is the memory of the input {name}")


def read_only_inputs_work(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        frozen = {name: array.copy() for name, array in sample.inputs.items()}
        for array in frozen.values():
            array.flags.writeable = False
        _same(_predict(model, sample, frozen), _predict(model, sample, sample.inputs), "read-only inputs")


def answers_are_not_used_again(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        first = _predict(model, sample, sample.inputs)
        kept = {name: array.copy() for name, array in first.items()}
        _predict(model, sample, {name: array[::-1].copy() for name, array in sample.inputs.items()})
        _same(first, kept, "an earlier answer after a later call")


def is_deterministic(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model, _loaded(runtime, sample) as other:
        first = _predict(model, sample, sample.inputs)
        _same(_predict(model, sample, sample.inputs), first, "the same rows again")
        _same(_predict(other, sample, sample.inputs), first, "the same rows to the model loaded again")


def one_by_one_equals_many(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        if not model.signature.batched:
            return
        many = _predict(model, sample, sample.inputs)
        for row in range(sample.rows):
            alone = _predict(model, sample, sample.some(slice(row, row + 1)))
            _same(alone, {name: array[row : row + 1] for name, array in many.items()}, f"row {row} alone")


def threads_do_not_mix(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        if not model.traits.releases_gil or not model.signature.batched:
            return
        rows = [sample.some(slice(row, row + 1)) for row in range(sample.rows)]
        expected = [_predict(model, sample, row) for row in rows]
        with ThreadPoolExecutor(8) as pool:
            turns = [pool.submit(_predict, model, sample, rows[turn % len(rows)]) for turn in range(200)]
            for turn, future in enumerate(turns):
                _same(future.result(), expected[turn % len(rows)], "a row in one of eight threads")


def max_rows_is_true(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model:
        limit = model.traits.max_rows
        _must(limit >= 0, f"max_rows is {limit}")
        if limit and model.signature.batched:
            repeats = -(-limit // sample.rows)
            full = {name: np.concatenate([array] * repeats)[:limit] for name, array in sample.inputs.items()}
            answer = _predict(model, sample, full)
            _must(all(len(array) == limit for array in answer.values()), f"{limit} rows at once are not answered")


def close_is_final_and_repeatable(runtime: Runtime, sample: Sample) -> None:
    with _loaded(runtime, sample) as model, _loaded(runtime, sample) as other:
        model.close()
        model.close()
        try:
            _predict(model, sample, sample.inputs)
        except FairleadError:
            pass
        else:
            raise AssertionError("a closed model still answers")
        _predict(other, sample, sample.inputs)


def wrong_artefacts_are_refused(runtime: Runtime, sample: Sample) -> None:
    nowhere = replace(sample.artefact, path=Path("/nowhere/model"), target="nowhere.at_all:Nothing")
    for artefact in (sample.wrong, nowhere):
        try:
            runtime.load(artefact, RuntimeOptions())
        except (ModelError, MissingExtra) as error:
            text = str(error)
            _must(bool(text) and "\n" not in text, f"the refusal is not one sentence: {text!r}")
        else:
            raise AssertionError(f"{artefact.path or artefact.target} was not refused")


CHECKS: tuple[Callable[[Runtime, Sample], None], ...] = (
    signature_is_complete,
    answers_fit_the_signature,
    inputs_are_left_alone,
    read_only_inputs_work,
    answers_are_not_used_again,
    is_deterministic,
    one_by_one_equals_many,
    threads_do_not_mix,
    max_rows_is_true,
    close_is_final_and_repeatable,
    wrong_artefacts_are_refused,
)


@contextmanager
def _loaded(runtime: Runtime, sample: Sample) -> Iterator[LoadedModel]:
    model = runtime.load(sample.artefact, RuntimeOptions())
    try:
        yield model
    finally:
        model.close()


def _predict(model: LoadedModel, sample: Sample, inputs: Tensors) -> Tensors:
    """In pieces that the model takes."""
    limit = model.traits.max_rows
    rows = len(next(iter(inputs.values())))
    if not limit or not model.signature.batched or rows <= limit:
        return model.predict(inputs, sample.parameters)
    pieces = [
        model.predict({name: array[at : at + limit] for name, array in inputs.items()}, sample.parameters)
        for at in range(0, rows, limit)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _same(found: Tensors, expected: Tensors, what: str) -> None:
    _must([*found] == [*expected], f"{what}: outputs {[*found]}, expected {[*expected]}")
    for name, array in found.items():
        _must(_equal(array, expected[name]), f"{what}: the output {name} differs")


def _equal(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype.kind == "f" and a.shape == b.shape:
        return bool(np.allclose(a, b, rtol=_CLOSE, atol=_CLOSE, equal_nan=True))
    return bool(np.array_equal(a, b))


def _must(true: bool, sentence: str) -> None:
    if not true:
        raise AssertionError(sentence)
