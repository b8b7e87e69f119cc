"""TensorFlow on SavedModels of a few operations: what is found out about them, and what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'fairlead[tensorflow]'")

from fairlead.adapters.runtimes.tensorflow.runtime import TensorflowModel, TensorflowRuntime  # noqa: E402
from fairlead.contracts.errors import BrokenModel  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import DataType, Signature, TensorSpec  # noqa: E402
from fairlead.package.savedmodel import risky  # noqa: E402
from fairlead.testing import runtime_suite  # noqa: E402
from tensorflow_files import net, save  # noqa: E402

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
FLOATS = tf.TensorSpec((None, 4), tf.float32, name="x")


def load(path: Path, signature: Signature | None = None, threads: int = 0) -> TensorflowModel:
    return TensorflowRuntime().load(Artefact("tensorflow", path, signature=signature), RuntimeOptions(threads))


@pytest.mark.parametrize("check", runtime_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("rows", [None, 1])
def test_a_saved_model_keeps_the_contract(tmp_path: Path, rows: int | None, check: Any) -> None:
    artefact = Artefact("tensorflow", net(tmp_path / "net", rows))
    broken = net(tmp_path / "broken")
    whole = (broken / "saved_model.pb").read_bytes()
    (broken / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    given = {"x": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    check(TensorflowRuntime(), runtime_suite.Sample(artefact, given, replace(artefact, path=broken)))


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    model = load(net(tmp_path / "net"))
    assert model.signature == Signature(
        (TensorSpec("x", DataType.FP32, (-1, 4)),),
        (TensorSpec("best", DataType.INT64, (-1,)), TensorSpec("logits", DataType.FP32, (-1, 3))),
    )
    assert (model.traits.max_rows, model.traits.platform) == (0, "tensorflow_savedmodel")
    found = model.predict({"x": ROWS}, {})
    np.testing.assert_allclose(found["logits"], ROWS @ (np.arange(12, dtype=np.float32).reshape(4, 3) / 10), rtol=1e-6)
    assert found["best"].tolist() == [2, 2]


def test_strings_and_halves(tmp_path: Path) -> None:
    def shout(text: Any, half: Any) -> dict[str, Any]:
        return {"text": tf.strings.upper(text), "half": half * tf.constant(2, tf.bfloat16)}

    texts, halves = tf.TensorSpec((None,), tf.string, name="text"), tf.TensorSpec((None,), tf.bfloat16, name="half")
    model = load(save(tmp_path / "m", shout, texts, halves))
    assert {spec.name: spec.datatype for spec in model.signature.inputs} == {"half": "FP32", "text": "BYTES"}
    found = model.predict({"text": np.array(["ab", b"\xff"], object), "half": np.array([1.5, 2], np.float32)}, {})
    assert (found["text"].tolist(), found["half"].tolist()) == (["AB", b"\xff"], [3.0, 4.0])


def test_rows_that_hang_together_ride_alone(tmp_path: Path) -> None:
    together = load(save(tmp_path / "mean", lambda x: {"y": x - tf.reduce_mean(x, axis=0, keepdims=True)}, FLOATS))
    assert (together.signature.batched, together.traits.max_rows) == (True, 1)
    five = load(net(tmp_path / "five", 5))
    assert (five.signature.batched, five.signature.inputs[0].shape) == (False, (5, 4))
    one = load(net(tmp_path / "one", 1))
    assert (one.signature.batched, one.traits.max_rows, one.signature.inputs[0].shape) == (True, 1, (-1, 4))
    summed = load(save(tmp_path / "sum", lambda x: {"y": tf.reduce_sum(x)}, FLOATS))
    assert (summed.signature.batched, summed.signature.outputs[0].shape) == (False, ())


def test_the_signature_that_is_served(tmp_path: Path) -> None:
    plain = tf.function(lambda x: {"y": x + 1}, input_signature=[FLOATS])
    other = tf.function(lambda x: {"z": x + 2}, input_signature=[FLOATS])
    module = tf.Module()
    module.kept = [plain, other]
    only = save(tmp_path / "only", lambda x: x, FLOATS, module=module, more={"mine": other})
    assert [spec.name for spec in load(only).signature.outputs] == ["z"]
    two = save(tmp_path / "two", lambda x: x, FLOATS, more={"a": plain, "b": other})
    with pytest.raises(BrokenModel, match="two has the signatures a, b and none is called serving_default"):
        load(two)
    bare = save(tmp_path / "bare", lambda x: {"y": x}, FLOATS, more={})
    with pytest.raises(BrokenModel, match=r"bare has no signature \(it has the functions traced\); save it with"):
        load(bare)


def test_what_no_protocol_can_carry(tmp_path: Path) -> None:
    waves = save(tmp_path / "waves", lambda x: {"y": tf.signal.fft(tf.cast(x, tf.complex64))}, FLOATS)
    with pytest.raises(BrokenModel, match="waves gives 'y' as complex64"):
        load(waves)
    anything = save(tmp_path / "any", lambda x: {"y": x}, tf.TensorSpec(None, tf.float32, name="x"))
    with pytest.raises(BrokenModel, match="takes 'x' of any number of dimensions"):
        load(anything)


def test_a_public_signature_names_the_only_input(tmp_path: Path) -> None:
    path = save(tmp_path / "m", lambda x: {"y": x + 1}, FLOATS)
    said = Signature((TensorSpec("input", DataType.FP64, (-1, 4)),), (TensorSpec("out", DataType.FP64, (-1, 4)),))
    model = load(path, said)
    found = model.predict({"input": ROWS.astype(np.float64)}, {})
    assert (found["out"].dtype, found["out"].tolist()) == (np.float64, (ROWS + 1).tolist())
    with pytest.raises(BrokenModel, match=r"takes x FP32 \[-1, 4\], and the package says x BYTES \[-1\]"):
        load(path, Signature((TensorSpec("x", DataType.BYTES, (-1,)),)))


def test_threads_are_those_of_the_process(tmp_path: Path) -> None:
    path = net(tmp_path / "m")
    load(path)  # TensorFlow has begun: the number is fixed
    now = tf.config.threading.get_intra_op_parallelism_threads()
    with pytest.raises(BrokenModel, match=f"m asks for {now + 7} threads, and TensorFlow has taken another number"):
        load(path, threads=now + 7)


def test_the_interpreter_is_free_while_it_runs(tmp_path: Path) -> None:
    def slow(x: Any) -> dict[str, Any]:
        grown = tf.linalg.matmul(tf.fill((900, 900), x[0, 0]), tf.ones((900, 900)))
        for _ in range(8):
            grown = tf.linalg.matmul(grown, tf.ones((900, 900)))
        return {"y": x + tf.reduce_sum(grown) * 0}

    model = load(save(tmp_path / "m", slow, FLOATS))
    began = threading.Event()
    done = threading.Event()

    def run() -> None:
        began.set()
        model.predict({"x": ROWS}, {})
        done.set()

    turns = 0
    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 100  # with the lock held there would be one turn, or none


def test_what_reaches_beyond_the_model_is_seen(tmp_path: Path) -> None:
    assert risky(net(tmp_path / "net")) == []
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], tf.constant([1], tf.int64)), -1)
    module = tf.Module()
    module.table = table
    words = tf.TensorSpec((None,), tf.string, name="x")
    assert risky(save(tmp_path / "table", lambda x: {"y": table.lookup(x)}, words, module=module)) == []
    reads = save(tmp_path / "reads", lambda x: {"y": tf.map_fn(tf.io.read_file, x)}, words)
    assert risky(reads) == ["ReadFile"]

    def writes(x: Any) -> dict[str, Any]:
        tf.io.write_file("/tmp/never", "x")
        return {"y": x}

    assert risky(save(tmp_path / "writes", writes, words)) == ["WriteFile"]
    calls = save(tmp_path / "calls", lambda x: {"y": tf.py_function(lambda t: t, [x], tf.string)}, words)
    assert risky(calls) == ["EagerPyFunc"]
    saves = save(
        tmp_path / "saves", lambda x: {"y": tf.raw_ops.ShardedFilename(basename=x[0], shard=0, num_shards=1)}, words
    )
    assert risky(saves) == ["ShardedFilename"]


def test_a_vocabulary_that_is_read_from_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    module = tf.Module()
    module.table = table
    words = tf.TensorSpec((None,), tf.string, name="x")
    path = save(tmp_path / "m", lambda x: {"y": table.lookup(x)}, words, module=module)
    assert risky(path) == ["InitializeTableFromTextFileV2"]
    assert load(path).predict({"x": np.array(["b", "zz"], object)}, {})["y"].tolist() == [1, 2]
