"""Models of language by their folders: `fairlead serve` tells what they are, and the official SDK calls them."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from embedder_files import encoder, static
from stories import stories
from tokenizer_files import folder


def test_embedding_models_by_their_folders(start, run, tmp_path: Path) -> None:
    (static(folder(tmp_path / "small", None)) / "modules.json").write_text("[]")
    encoder(folder(tmp_path / "large", None))
    process = start("serve", "./small", "big=./large", "--port", "0")
    url = process.url()
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    assert {one.id for one in client.models.list()} == {"small", "big"}
    for name in ("small", "big"):
        found = client.embeddings.create(model=name, input=["hello", "hello world"])
        vectors = np.array([one.embedding for one in found.data])
        assert vectors.shape == (2, 8)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert found.usage.prompt_tokens == 16
        short = client.embeddings.create(model=name, input="hello", dimensions=4).data[0].embedding
        assert np.isclose(np.linalg.norm(short), 1, atol=1e-5)
    with pytest.raises(openai.BadRequestError, match="takes 64; shorten it by 36"):
        client.embeddings.create(model="big", input="x" * 100)
    ids = httpx.post(f"{url}/tokenize", json={"model": "small", "prompt": "hi"}).json()
    assert ids["tokens"] == [104, 105]
    client.close()
    looked = run("doctor", url)
    assert looked.returncode == 0, looked.stderr
    assert "small is ready" in looked.stdout
    assert "call /v1/embeddings" in looked.stdout
    assert "no endpoint 'other'" in run("doctor", f"{url}/other").stderr
    assert process.stop() == 0


def test_precision_without_a_language_model_is_told(run, tmp_path: Path) -> None:
    (static(folder(tmp_path / "small", None)) / "modules.json").write_text("[]")
    found = run("serve", "./small", "--precision", "int4")
    assert found.returncode == 2
    assert "none is named" in found.stderr


def test_the_story_over_http(start, tmp_path: Path) -> None:
    published = stories()
    text = json.loads((published.folder.parent / "greedy_reference.json").read_text())["text"]
    process = start("serve", f"story={published.folder}", "--precision", "f16", "--port", "0")
    client = openai.OpenAI(base_url=f"{process.url(90)}/v1", api_key="none")
    whole = client.completions.create(model="story", prompt="", max_tokens=200, temperature=0)
    assert whole.choices[0].text == text
    stream = client.completions.create(model="story", prompt="", max_tokens=200, temperature=0, stream=True)
    assert "".join(one.choices[0].text for one in stream if one.choices) == text
    cut = client.completions.create(model="story", prompt="", max_tokens=200, temperature=0, stop="Lily")
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (text.partition("Lily")[0], "stop")
    with pytest.raises(openai.BadRequestError, match="tokens"):
        client.completions.create(model="story", prompt="word " * 2000, max_tokens=10)
    with pytest.raises(openai.BadRequestError, match="chat template"):
        client.chat.completions.create(model="story", messages=[{"role": "user", "content": "hi"}])
    client.close()
    assert process.stop() == 0


def test_limits_hold_for_vectors_too(start, tmp_path: Path) -> None:
    (static(folder(tmp_path / "small", None)) / "modules.json").write_text("[]")
    spec = tmp_path / "fairlead.yaml"
    spec.write_text(
        "server: {port: 0}\nendpoints:\n  small:\n    embedding: {model: ./small}\n"
        "    limits: {requests_per_minute: 2, tokens_per_minute: 1000}\n"
    )
    process = start("up", str(spec))
    url = process.url()
    answers = [httpx.post(f"{url}/v1/embeddings", json={"model": "small", "input": "hello"}) for _ in range(4)]
    assert [one.status_code for one in answers].count(200) in (1, 2)
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert "ratelimit" in answers[0].headers
    assert process.stop() == 0
