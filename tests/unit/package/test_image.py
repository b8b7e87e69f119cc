"""What an image is made of, and what is refused. That tools build it is in tests/integration/test_image.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.package import image
from fairlead.package.image import Base, Facts

DIGEST = "sha256:" + "a" * 64
FACTS = Facts(
    endpoint="churn",
    uri=f"models:/churn/3#{DIGEST}",
    runtime="onnx",
    fairlead="0.1.0",
    python="3.11",
    base=Base("docker.io/library/python:3.11-slim-bookworm", DIGEST),
    lineage={"model": "churn", "model.version": "3", "revision": "abc123", "data": ""},
)


def dockerfile(**changed: object) -> str:
    return image.dockerfile(replace(FACTS, **changed), image.EPOCH, "fairlead-0.1.0-py3-none-any.whl")  # type: ignore[arg-type]


def last_stage(text: str) -> str:
    return text[text.rindex("\nFROM ") :]


def test_both_stages_stand_on_one_base_by_its_digest() -> None:
    text = dockerfile()
    assert f"ARG BASE=docker.io/library/python@{DIGEST}\n" in text
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert "latest" not in text


def test_it_is_hardened_and_says_when_it_is_ready() -> None:
    stage = last_stage(dockerfile())
    assert "\nUSER 10001:10001\n" in stage
    assert "\nSTOPSIGNAL SIGTERM\n" in stage
    assert 'ENTRYPOINT ["/opt/fairlead/bin/fairlead"]' in stage
    assert "/readyz" in re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", stage, re.MULTILINE)[1]  # type: ignore[index]
    assert 'VOLUME ["/var/lib/fairlead"]' in stage
    assert "--require-hashes" in dockerfile()
    assert "--no-index" in dockerfile()


def test_what_starts_names_a_version_its_digest_and_asks_for_keys() -> None:
    assert image.command(FACTS)[:2] == ["serve", f"churn=models:/churn/3#{DIGEST}"]
    assert image.command(FACTS)[-1] == "--access"
    assert image.command(replace(FACTS, access=False))[-1] == "--insecure"
    assert "--trust-pickle" in image.command(replace(FACTS, trust_pickle=True))


def test_new_weights_change_no_line_that_makes_a_layer() -> None:
    one = dockerfile()
    other = dockerfile(
        uri="models:/churn/4#sha256:" + "b" * 64, lineage={"model.version": "4"}, created="2026-01-02", example="{}"
    )
    layers = re.compile(r"^(?:COPY|RUN|ADD|WORKDIR).*?(?<!\\)$", re.MULTILINE | re.DOTALL)
    assert layers.findall(one) == layers.findall(other)
    assert one != other


def test_weights_are_a_layer_only_where_they_are_baked_in() -> None:
    assert "COPY --chown=0:0 weights/ /opt/weights/" in dockerfile(baked="weights")
    assert image.environment(replace(FACTS, baked="weights"))["FAIRLEAD_WEIGHTS"] == "/opt/weights"
    assert "weights/" not in dockerfile()


def test_labels_say_where_it_comes_from_and_nothing_that_is_empty() -> None:
    found = image.labels(FACTS)
    assert found["org.opencontainers.image.version"] == "3"
    assert found["org.opencontainers.image.revision"] == "abc123"
    assert found["org.opencontainers.image.base.digest"] == DIGEST
    assert found["dev.fairlead.model"] == "churn"
    assert "dev.fairlead.data" not in found


def test_nothing_in_a_label_is_replaced_or_ends_it() -> None:
    text = dockerfile(example='{"a": "$HOME \\ `id`"}\nRUN id')
    (line,) = [one for one in text.splitlines() if "dev.fairlead.example" in one]
    assert line.strip() == 'dev.fairlead.example="{\\"a\\": \\"\\$HOME \\\\ `id`\\"} RUN id"'


def test_a_base_nobody_could_be_asked_about_must_be_given() -> None:
    text = dockerfile(base=Base("docker.io/library/python:3.11-slim-bookworm"))
    assert "\nARG BASE\n" in text
    assert "--build-arg BASE=docker.io/library/python:3.11-slim-bookworm@sha256:DIGEST" in text
    by_hand = image.by_hand(replace(FACTS, base=Base("python:3.11")), "dir", "churn:4", "linux/arm64")
    assert "--platform linux/arm64 --build-arg BASE=python:3.11@sha256:DIGEST -t churn:4 dir" in by_hand


@pytest.mark.parametrize("name", ["churn", "churn:latest", "registry.example.com/churn", "", "Churn:4", "churn:4 x"])
def test_an_image_without_a_version_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--image"):
        image.tagged(name)


@pytest.mark.parametrize("name", ["churn:4", "registry.example.com:5000/team/churn:v4", "localhost/churn:2026.1"])
def test_an_image_with_a_version_is_taken(name: str) -> None:
    assert image.tagged(name) == name


@pytest.mark.parametrize("name", ["python", "python:latest", "python@sha256:abc", "python:3.11@latest"])
def test_a_base_that_is_another_tomorrow_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--base"):
        image.base(name)


def test_a_base_is_taken_by_digest_or_version() -> None:
    assert image.base(f"r.example.com:5000/py:3.11@{DIGEST}") == Base("r.example.com:5000/py:3.11", DIGEST)
    assert str(image.base(f"r.example.com:5000/py:3.11@{DIGEST}")) == f"r.example.com:5000/py@{DIGEST}"
    assert image.base("python:3.11-slim") == Base("python:3.11-slim")
    assert image.base(image.usual("3.12")).name.endswith("3.12-slim-bookworm")


def test_a_gpu_is_refused_where_nothing_would_use_it() -> None:
    image.check_cuda("", "sklearn", False)
    image.check_cuda("12.4", "onnx", True)
    with pytest.raises(UsageError, match="'sklearn' runs on the CPU"):
        image.check_cuda("12.4", "sklearn", True)
    with pytest.raises(UsageError, match="--base"):
        image.check_cuda("12.4", "onnx", False)
    with pytest.raises(UsageError, match=r"MAJOR\.MINOR"):
        image.check_cuda("twelve", "onnx", True)


def test_a_gpu_is_written_down_and_gets_one_worker() -> None:
    facts = replace(FACTS, cuda="12.4")
    assert image.environment(facts)["FAIRLEAD_CUDA"] == "12.4"
    assert image.environment(facts)["NVIDIA_REQUIRE_CUDA"] == "cuda>=12.4"
    assert image.labels(facts)["dev.fairlead.driver"] == ">=525.60"
    words = image.command(facts)
    assert words[words.index("--workers") + 1] == "1"
    assert words[words.index("--provider") + 1] == "cuda"
    assert image.replaced("12.4", "onnx") == {"onnxruntime": "onnxruntime-gpu"}
    assert image.replaced("", "onnx") == {}


def test_ready_is_asked_with_and_without_tls() -> None:
    assert "HTTPConnection('127.0.0.1', 8080" in image.ready(8080)[-1]
    assert "HTTPSConnection('127.0.0.1', 8443" in image.ready(8443, secure=True)[-1]
    for command in (image.ready(8080), image.ready(8443, secure=True)):
        compile(command[-1], "ready", "exec")
    assert json.loads(json.dumps(image.ready(1))) == image.ready(1)


def test_the_sentence_for_no_tool_says_what_to_install_and_why() -> None:
    assert "install podman, buildah or docker" in image.tools(["docker does not work here: no daemon"])
    assert "no daemon" in image.tools(["docker does not work here: no daemon"])
    assert image.ignored().startswith("*\n")
