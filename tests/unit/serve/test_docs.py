from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from samples import MATRIX, TABLE
from test_openapi import ENDPOINTS, EXAMPLE

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.docs import Described, page
from fairlead.serve.edges.v1 import V1
from fairlead.serve.edges.v2 import V2

BASE = "http://127.0.0.1:9999"
IMAGE = Described("net", "1", ("1",), "", Signature((TensorSpec("image", DataType.FP32, (-1, 3, 64, 64)),)))


def blocks(text: str) -> list[str]:
    return [html.unescape(block) for block in re.findall(r'<pre tabindex="0">(.*?)</pre>', text, re.DOTALL) if block]


class Checker(HTMLParser):
    """Every element is closed, every id is used once, every control points at an element."""

    VOID = ("meta", "link", "br", "input", "circle", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("aria-controls", "for") or (name == "href" and (value or "").startswith("#")):
                self.targets.append((value or "").lstrip("#"))
            elif name in ("src", "href"):
                assert not (value or "").startswith(("http", "//")), "nothing comes from elsewhere"

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("texts", [[], ["writer", "<b>"]], ids=len)
@pytest.mark.parametrize("endpoints", [[], ENDPOINTS, [IMAGE]], ids=len)
def test_the_page_is_sound(endpoints: list[Described], texts: list[str]) -> None:
    checker = Checker()
    checker.feed(page(endpoints, texts=texts).decode())
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert set(checker.targets) <= set(checker.ids)


def test_names_are_escaped() -> None:
    signature = Signature((TensorSpec("<i>", DataType.FP32, (-1,)),))
    text = page([Described("a<script>", "<1>", ("<1>",), "<p>", signature)]).decode()
    assert "a<script>" not in text
    assert "<i>" not in text
    assert "&lt;i&gt;" in text


def test_curl_lines_are_calls_that_the_edges_take() -> None:
    text = page([Described("table", "3", ("3",), "", TABLE, EXAMPLE)], BASE).decode()
    lines = [block for block in blocks(text) if block.startswith("curl")]
    assert len(lines) == 3
    for line, edge in zip(lines[:2], (V2(), V1()), strict=True):
        words = shlex.split(line.replace("\\\n", " "))
        assert words[2].startswith(f"{BASE}/v")
        body = words[words.index("-d") + 1]
        request = edge.read(body.encode(), {}, TABLE)
        assert request.inputs["city"].tolist() == [["a, b"]]


def test_a_large_row_is_a_call_of_zeros() -> None:
    (line,) = [block for block in blocks(page([IMAGE], BASE).decode()) if "curl" in block]
    producer = line.partition("|")[0]
    body = subprocess.run(["sh", "-c", producer], check=True, capture_output=True).stdout
    length = re.search(r"inference-header-content-length: (\d+)", line)
    assert length is not None
    request = V2().read(body, {b"inference-header-content-length": length[1].encode()}, IMAGE.signature)
    assert request.inputs["image"].shape == (1, 3, 64, 64)


def test_python_snippets_are_python() -> None:
    text = page([*ENDPOINTS, IMAGE], BASE).decode()
    snippets = [block for block in blocks(text) if "client.predict" in block]
    assert len(snippets) == len(ENDPOINTS) + 1
    for snippet in snippets:
        compile(snippet, "snippet", "exec")
        assert f"Client('{BASE}')" in snippet


def test_forms_post_the_body_that_curl_posts() -> None:
    text = page([Described("m", "1", ("1",), "", MATRIX, {"x": np.ones((1, 3), np.float32)})]).decode()
    bodies = [html.unescape(body) for body in re.findall(r"<textarea[^>]*>(.*?)</textarea>", text, re.DOTALL)]
    assert [list(json.loads(body)) for body in bodies] == [["inputs"], ["instances"], ["instances"]]
    assert re.findall(r'data-path="([^"]*)"', text)[0] == "/v2/models/m/infer"
