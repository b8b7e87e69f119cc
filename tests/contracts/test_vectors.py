"""What every index of vectors must do: the approximate one is held against the one that looks at everything."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.kit import plugins
from fairlead.testing.vectors import BruteIndex

MAKERS = {"brute": lambda: BruteIndex}
MAKERS |= {name: lambda name=name: plugins.load("fairlead.vectors", name) for name in plugins.names("fairlead.vectors")}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]()


def test_the_nearest_first_and_no_more_than_asked_for(make):
    index = make(3)
    for key, vector in enumerate(([1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [-1, 0, 0])):
        index.add(key, np.array(vector, np.float32) * 7)
    found = index.nearest(np.array([2, 0, 0], np.float32), 3)
    assert [near.key for near in found] == [0, 1, 2]
    assert [round(near.similarity, 4) for near in found] == [1.0, 0.9939, 0.0]
    assert len(index) == 4


def test_an_empty_index_finds_nothing(make):
    assert list(make(3).nearest(np.ones(3, np.float32), 5)) == []


def test_what_was_removed_is_not_found_and_a_key_again_replaces(make):
    index = make(2)
    index.add(7, np.array([1, 0], np.float32))
    index.add(7, np.array([0, 1], np.float32))
    assert len(index) == 1
    assert index.nearest(np.array([0, 1], np.float32), 5)[0].similarity == pytest.approx(1.0)
    index.remove(7)
    index.remove(7)
    index.remove(99)
    assert list(index.nearest(np.array([0, 1], np.float32), 5)) == []


def test_most_of_the_nearest_are_found(make):
    dice = np.random.default_rng(0)
    vectors = dice.normal(size=(800, 16)).astype(np.float32)
    index, exact = make(16), BruteIndex(16)
    for key, vector in enumerate(vectors):
        index.add(key, vector)
        exact.add(key, vector)
    asked = dice.normal(size=(50, 16)).astype(np.float32)
    right = sum(index.nearest(one, 1)[0].key == exact.nearest(one, 1)[0].key for one in asked)
    assert right >= 47
