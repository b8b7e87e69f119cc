from __future__ import annotations

import threading

import numpy as np
import pytest

from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import Tensors
from fairlead.testing.models import EchoModel, FailingModel, Model, RecordingModel, SlowModel

ROWS: Tensors = {"x": np.array([[1.0, 2.0], [3.0, 4.0]])}


def test_every_fake_is_a_loaded_model() -> None:
    fakes: list[LoadedModel] = [Model(dict), EchoModel(), FailingModel(), RecordingModel(), SlowModel()]
    assert all(fake.signature.batched for fake in fakes)


def test_echo_answers_a_copy() -> None:
    answer = EchoModel().predict(ROWS, {})
    assert answer["y"].tolist() == ROWS["x"].tolist()
    assert not np.shares_memory(answer["y"], ROWS["x"])


def test_failing_model_fails_on_a_marked_row_only() -> None:
    model = FailingModel(mark=3.0, error=KeyError("bad row"))
    assert model.predict({"x": ROWS["x"][:1]}, {})["y"].shape == (1, 2)
    with pytest.raises(KeyError, match="bad row"):
        model.predict(ROWS, {})


def test_recording_model_keeps_batches_and_parameters() -> None:
    model = RecordingModel()
    model.predict(ROWS, {"a": 1})
    model.predict({"x": ROWS["x"][:1]}, {})
    assert model.rows == [2, 1]
    assert model.parameters == [{"a": 1}, {}]


def test_slow_model_stands_still_until_released() -> None:
    model = SlowModel()
    thread = threading.Thread(target=model.predict, args=(ROWS, {}))
    thread.start()
    assert model.entered.wait(5)
    assert model.rows == []
    model.release.set()
    thread.join(5)
    assert model.rows == [2]
    model.hold()
    assert not model.release.is_set()


def test_slow_model_gives_up() -> None:
    with pytest.raises(TimeoutError):
        SlowModel(patience=0.0).predict(ROWS, {})


def test_close_is_counted() -> None:
    model = EchoModel()
    model.close()
    model.close()
    assert model.closed == 2
