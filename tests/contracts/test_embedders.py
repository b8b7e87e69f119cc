"""The embedder suite over every embedder that is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from embedder_files import encoder, static
from fairlead.contracts.embedder import Embedder, EmbedderOptions
from fairlead.contracts.errors import BrokenModel, InvalidParameter
from fairlead.kit import plugins
from fairlead.testing import embedder_suite
from tokenizer_files import folder

MODELS: dict[str, Callable[[Path], Path]] = {"onnx": encoder, "static": static}


def made(name: str, path: Path, **options: bool) -> Embedder:
    model = str(MODELS[name](folder(path / "model", None)))
    tokenizer = plugins.load("fairlead.tokenizers", "hf")(model)
    found: Embedder = plugins.load("fairlead.embedders", name)(EmbedderOptions("e", model, tokenizer, **options))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("name", plugins.names("fairlead.embedders"))
@pytest.mark.parametrize("check", embedder_suite.CHECKS, ids=lambda check: check.__name__)
async def test_installed(name: str, check: Callable[[Embedder], Awaitable[None]], tmp_path: Path) -> None:
    if name not in MODELS:
        pytest.skip(f"no model for the embedder {name} is written here; run the suite in its own package")
    await check(made(name, tmp_path))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("mean_tokens", lambda one: one.mean(axis=0)), ("cls_token", lambda one: one[0]),
     ("lasttoken", lambda one: one[-1]), ("max_tokens", lambda one: one.max(axis=0))],
)  # fmt: skip
async def test_pooling_is_that_of_the_files(
    mode: str, expected: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    embedder = made("onnx", tmp_path)
    path = tmp_path / "model"
    (path / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    table = np.load(path / "table.npy")
    await embedder.start()
    rows = [embedder.read("hello"), embedder.read("hi")]
    found = await embedder.embed(rows)
    for row, vector in zip(rows, found, strict=True):
        wanted = expected(table[row])
        assert np.allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    await embedder.stop()


async def test_an_encoder_with_other_steps_is_refused(tmp_path: Path) -> None:
    embedder = made("onnx", tmp_path)
    (tmp_path / "model" / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(BrokenModel, match="Dense"):
        await embedder.start()
    await embedder.stop()


async def test_a_length_of_one_is_as_asked(tmp_path: Path) -> None:
    raw = made("static", tmp_path, normalize=False)
    await raw.start()
    found = await raw.embed([raw.read("hello")])
    assert not np.isclose(np.linalg.norm(found), 1.0)
    with pytest.raises(InvalidParameter):
        raw.read("  ")
    await asyncio.gather(raw.stop())


@pytest.mark.parametrize("cut", [4, 30, 2000])
async def test_a_file_that_is_cut_off_is_told(tmp_path: Path, cut: int) -> None:
    embedder = made("static", tmp_path)
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BrokenModel):
        await embedder.start()
