"""Every parser that sees a stranger's bytes, for a second: a value or a typed error. For longer: bench.parsers."""

from __future__ import annotations

import time
from random import Random

import pytest
from bench.parsers import EXAMPLES, TARGETS, inputs


@pytest.mark.parametrize("name", TARGETS)
def test_a_strangers_bytes(name: str) -> None:
    ends = time.monotonic() + 1.0
    for count, data in enumerate(inputs(name, Random(f"short/{name}"))):
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name} failed on {data!r}") from error
        if time.monotonic() > ends and count > len(EXAMPLES[name]):
            break


def test_every_target_has_examples() -> None:
    assert set(EXAMPLES) == set(TARGETS)
