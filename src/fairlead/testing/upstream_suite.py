"""What every transport to another server must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", upstream_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_my_transport(check):
        with my_server(upstream_suite.MODELS) as address:
            await check(MyTransport, address)

The server has the models of ``MODELS``, which are pure: one server does for all checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import InputError, ModelFailed, NotFound
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.contracts.upstream import Address, Place, Transport, Unreached
from fairlead.testing.models import EchoModel, FailingModel

Make = Callable[[Place], Transport]

_EVERYTHING: Final = Signature(
    tuple(TensorSpec(f"in_{name.value}", name, (-1, -1)) for name in DataType),
    tuple(TensorSpec(f"out_{name.value}", name, (-1, -1)) for name in DataType),
)
MODELS: Final[dict[str, LoadedModel]] = {"everything": EchoModel(_EVERYTHING), "failing": FailingModel(-1.0)}
"""What the server must serve."""


async def a_model_is_described(make: Make, address: Address) -> None:
    found = await _with(make, Place(address, "everything"), lambda one: one.describe())
    told = [(one.name, one.datatype, one.shape) for one in (*found.inputs, *found.outputs)]
    specs = (*_EVERYTHING.inputs, *_EVERYTHING.outputs)
    _expect(told == [(spec.name, spec.datatype.value, spec.shape) for spec in specs], "names, datatypes and shapes")


async def a_model_that_is_not_there_is_not_found(make: Make, address: Address) -> None:
    for place in (Place(address, "nothing"), *([Place(address, "failing", "77")] if address.port else [])):
        try:
            await _with(make, place, lambda one: one.describe())
        except NotFound:
            continue
        raise AssertionError(f"{place.model} {place.version}: NotFound")


async def every_datatype_comes_back_as_it_was(make: Make, address: Address) -> None:
    for rows, wide in ((1, 1), (7, 3), (300, 50)):
        inputs = _values(rows, wide)
        outputs = await _infer(make, Place(address, "everything"), inputs, _EVERYTHING)
        for name in DataType:
            given, back = inputs[f"in_{name.value}"], outputs[f"out_{name.value}"]
            _expect(back.dtype == given.dtype, f"{name}: its dtype, {back.dtype}")
            _expect(back.shape == given.shape, f"{name}: its shape, {back.shape}")
            _expect(back.tolist() == given.tolist(), f"{name}: its values")


async def what_the_server_refuses_is_an_error_of_the_input(make: Make, address: Address) -> None:
    await _raises(InputError, make, Place(address, "failing"), {"x": np.zeros((1, 2, 2))})


async def a_model_that_raises_is_an_error_of_the_model(make: Make, address: Address) -> None:
    await _raises(ModelFailed, make, Place(address, "failing"), {"x": np.full((1, 2), -1.0)})


async def where_nobody_listens_there_is_no_answer(make: Make, address: Address) -> None:
    if not address.port:
        return  # in memory
    await _raises(Unreached, make, Place(replace(address, host="127.0.0.1", port=9), "failing"), {"x": np.ones((1, 2))})


async def many_at_once_do_not_mix(make: Make, address: Address) -> None:
    transport = make(Place(address, "failing"))
    await transport.describe()

    async def one(number: float) -> bool:
        inputs = {"x": np.full((2, 2), number)}
        outputs = await transport.infer(inputs, {"x": DataType.FP64}, {}, 10.0)
        return bool((outputs["y"] == number).all())

    try:
        _expect(all(await asyncio.gather(*(one(float(number)) for number in range(40)))), "each its own answer")
    finally:
        transport.close()


CHECKS = (
    a_model_is_described,
    a_model_that_is_not_there_is_not_found,
    every_datatype_comes_back_as_it_was,
    what_the_server_refuses_is_an_error_of_the_input,
    a_model_that_raises_is_an_error_of_the_model,
    where_nobody_listens_there_is_no_answer,
    many_at_once_do_not_mix,
)


def _values(rows: int, wide: int) -> Tensors:
    random = np.random.default_rng(7)
    made: Tensors = {}
    texts = ["a", b"\xff\x00", "", "\u00fc"]
    for name in DataType:
        drawn = random.integers(0, 2 if name is DataType.BOOL else 100, (rows, wide))
        if name is DataType.BYTES:
            made[f"in_{name.value}"] = np.array([[texts[one % 4] for one in row] for row in drawn], object)
        else:
            made[f"in_{name.value}"] = drawn.astype(name.numpy)
    return made


async def _infer(make: Make, place: Place, inputs: Tensors, signature: Signature | None = None) -> Tensors:
    kinds = {spec.name: spec.datatype for spec in signature.inputs} if signature else {}
    transport = make(place)
    try:
        await transport.describe()
        return await transport.infer(inputs, kinds, {}, 10.0)
    finally:
        transport.close()


async def _raises(kind: type[Exception], make: Make, place: Place, inputs: Tensors) -> None:
    try:
        await asyncio.wait_for(_infer(make, place, inputs), 10)
    except kind:
        return
    raise AssertionError(f"{kind.__name__} is raised")


async def _with(make: Make, place: Place, ask: Callable[[Transport], Any]) -> Any:
    transport = make(place)
    try:
        return await ask(transport)
    finally:
        transport.close()


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
