"""What every embedder must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", embedder_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_my_embedder(check):
        await check(MyEmbedder(EmbedderOptions("mine", "./model", tokenizer)))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from fairlead.contracts.embedder import Embedder
from fairlead.contracts.errors import ContextTooLong, InvalidParameter

TEXTS = ("hello", "the weather in Berlin", "hello hello hello hello hello hello hello hello", "a b")


async def vectors_have_the_shape_it_tells(made: Embedder) -> None:
    await made.start()
    found = await made.embed([made.read(one) for one in TEXTS])
    _expect(found.shape == (len(TEXTS), made.size) and found.dtype == np.float32, "float32 of [texts, size]")
    _expect(bool(np.isfinite(found).all()), "and finite")
    _expect(made.size > 0 and made.most > 0, "size and most are known once it was started")
    await made.stop()


async def a_text_is_the_same_alone_and_among_others(made: Embedder) -> None:
    await made.start()
    rows = [made.read(one) for one in TEXTS]
    together = await made.embed(rows)
    backwards = (await made.embed(rows[::-1]))[::-1]
    alone = np.concatenate([await made.embed([one]) for one in rows])
    _expect(np.allclose(together, alone, atol=1e-5), "alone as among others")
    _expect(np.allclose(together, backwards, atol=1e-5), "in any order")
    await made.stop()


async def many_may_ask_at_once(made: Embedder) -> None:
    await made.start()
    rows = [made.read(one) for one in TEXTS]
    alone = await made.embed(rows)
    for found in await asyncio.gather(*[made.embed(rows) for _ in range(8)]):
        _expect(np.allclose(found, alone, atol=1e-5), "the same vectors")
    await made.stop()


async def what_it_cannot_take_is_told(made: Embedder) -> None:
    await made.start()
    for wrong in ("", [], [-1], [1 << 40]):
        try:
            made.read(wrong)
        except InvalidParameter:
            continue
        raise AssertionError(f"an embedder: {wrong!r} is refused")
    try:
        made.read([made.read("hello")[0]] * (made.most + 1))
    except ContextTooLong:
        await made.stop()
        return
    raise AssertionError("an embedder: a text of more than most tokens is refused")


CHECKS: list[Callable[[Embedder], Awaitable[None]]] = [
    vectors_have_the_shape_it_tells,
    a_text_is_the_same_alone_and_among_others,
    many_may_ask_at_once,
    what_it_cannot_take_is_told,
]


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"an embedder: {what}")
