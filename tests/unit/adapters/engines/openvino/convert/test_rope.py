"""Rotary positions, against the rules of the papers; the exact numbers are compared with transformers elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fairlead.adapters.engines.openvino.convert.fields import Fields
from fairlead.adapters.engines.openvino.convert.rope import Asked, Rope, rope
from fairlead.contracts.errors import BrokenModel

PLAIN = 10_000.0 ** (-np.arange(0, 64, 2) / 64)


def of(scaling: dict[str, Any] | None, context: int = 4096, original: int = 0) -> Rope:
    part = Fields(scaling, "rope_scaling") if scaling is not None else None
    return rope(Asked("Llama", 10_000.0, 64, context, original, part))


def test_plain() -> None:
    for scaling in (None, {"rope_type": "default"}, {"rope_type": "default", "rope_theta": 5.0}):
        found = of(scaling)
        np.testing.assert_allclose(found.frequencies, PLAIN)
        assert (found.turned, found.gain, found.context) == (64, 1.0, 0)


def test_linear() -> None:
    np.testing.assert_allclose(of({"type": "linear", "factor": 4.0}).frequencies, PLAIN / 4)


def test_dynamic_is_plain_up_to_its_context() -> None:
    found = of({"type": "dynamic", "factor": 2.0})
    np.testing.assert_allclose(found.frequencies, PLAIN)
    assert found.context == 4096
    assert "its context is 4096 tokens here" in found.note


def test_llama3_leaves_the_fast_and_stretches_the_slow() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    found = np.array(of({**scaling, "original_max_position_embeddings": 1024}).frequencies)
    length = 2 * math.pi / PLAIN
    np.testing.assert_allclose(found[length < 256], PLAIN[length < 256])
    np.testing.assert_allclose(found[length > 1024], PLAIN[length > 1024] / 8)
    between = (length > 256) & (length < 1024)
    assert between.any()
    assert ((found < PLAIN) & (found > PLAIN / 8))[between].all()


def test_yarn_leaves_the_fast_and_stretches_the_slow() -> None:
    found = of({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024})
    numbers = np.array(found.frequencies)
    assert numbers[0] == pytest.approx(PLAIN[0])
    assert numbers[-1] == pytest.approx(PLAIN[-1] / 4)
    assert found.gain == pytest.approx(0.1 * math.log(4) + 1)
    assert of({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}).gain == 1.5
    both = {"rope_type": "yarn", "factor": 4.0, "mscale": 0.5, "mscale_all_dim": 0.5}
    assert of(both).gain == 1.0
    assert of({"rope_type": "yarn", "original_max_position_embeddings": 1024}) == found, "the factor of the contexts"


@pytest.mark.parametrize("kind", ["longrope", "su"])
def test_longrope_is_exact_up_to_the_original_context(kind: str) -> None:
    short, long = [1.0 + i / 10 for i in range(32)], [2.0 + i for i in range(32)]
    found = of({"type": kind, "short_factor": short, "long_factor": long}, 4096, 1024)
    np.testing.assert_allclose(found.frequencies, PLAIN / np.array(short))
    assert found.gain == pytest.approx(math.sqrt(1 + math.log(4) / math.log(1024)))
    assert found.context == 1024
    assert "context is 1024 tokens here, and 4096 elsewhere" in found.note
    assert not of({"type": kind, "short_factor": short, "long_factor": long}, 1024, 1024).note


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, "expected 32 numbers over 0"),
        ({"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0,
          "original_max_position_embeddings": 8}, "must be over low_freq_factor"),
        ({"type": "linear", "factor": "x"}, "expected a number over 0"),
        ({"type": 3}, "expected a text"),
    ],
)  # fmt: skip
def test_scalings_that_make_no_sense(scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        of(scaling)
