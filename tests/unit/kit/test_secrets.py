from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

import msgspec
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.secrets import Secret
from fairlead.kit import config, log, secrets
from fairlead.kit.spec.read import parse
from fairlead.testing.clock import ManualClock

VALUE = "hunter2-hunter2"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("A_TOKEN", VALUE)
    return secrets.secret("env:A_TOKEN")


def test_nothing_shows_a_secret(given: Secret) -> None:
    @dataclass
    class Holder:
        one: Secret

    holder = Holder(given)
    shown = [repr(given), str(given), f"{given}", f"{given:>40}", f"{given!a}", f"{given}"]
    shown += [repr(holder), repr(asdict(holder)), repr(copy.deepcopy(holder)), json.dumps({"s": given}, default=str)]
    shown += [msgspec.json.encode({"s": given}, enc_hook=str).decode()]
    assert given.reveal() == VALUE
    assert not [one for one in shown if VALUE in one]
    assert "env:A_TOKEN" in shown[0]
    for number in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(given, number)


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "token", ManualClock()
    path.write_text("first\n")
    found = secrets.secret(f"file:{path}", clock)
    assert found.reveal() == "first"
    path.write_text("second\n")
    assert found.reveal() == "first"  # looked at once a second
    clock.advance(1.0)
    assert found.reveal() == "second"
    (tmp_path / "new").write_text("third")
    (tmp_path / "new").replace(path)
    clock.advance(1.0)
    assert found.reveal() == "third"
    path.unlink()
    clock.advance(1.0)
    with caplog.at_level(logging.WARNING, "fairlead.secrets"):
        assert found.reveal() == "third"  # what is known is kept
    assert "secret kept" in caplog.text
    path.write_text("fourth")
    clock.advance(1.0)
    assert found.reveal() == "fourth"


@pytest.mark.parametrize("text", [VALUE, f"Bearer {VALUE}", f"vault9:{VALUE}", f"{VALUE}:x", "env:", "env: x", ":x"])
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="must be a reference to a secret, env:... or file:...") as caught:
        secrets.secret(text)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"endpoints: {{f: {{upstream: {{urls: ['http://a'], token: {VALUE}}}}}}}",
            "f.yaml:1: endpoints.f.upstream.token",
        ),
        ("endpoints: {f: {upstream: {urls: ['http://a'], token: 20251129}}}", "token: expected text"),
        (f"endpoints: {{f: {{upstream: {{urls: ['http://a'], token: [{VALUE}]}}}}}}", "token: expected text"),
        (f"endpoints: {{f: {{upstream: [{VALUE}]}}}}", "endpoints.f.upstream: expected"),
        (f"endpoints: {{f: {{model: m, upstream: {{urls: ['http://a'], token: {VALUE}}}}}}}", "upstream.token"),
        (f"state: [{VALUE}]\nendpoints: {{f: {{model: m}}}}", "state: expected text"),
        (f"endpoints: {{f: {{model: m, record: {{salt: {{x: {VALUE}}}}}}}}}", "salt: expected text"),
    ],
)
def test_a_secret_in_a_spec_is_refused_and_not_repeated(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "f.yaml")
    assert words in str(caught.value)
    assert VALUE not in str(caught.value)
    assert "20251129" not in str(caught.value)


def test_references_stand_in_urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_TOKEN", "p@ss/w:rd%")
    (tmp_path / "url").write_text("postgresql://u:p@h/db\n")
    assert secrets.expanded("postgresql://u:${env:A_TOKEN}@h/db") == "postgresql://u:p%40ss%2Fw%3Ard%25@h/db"
    assert secrets.expanded(f"${{file:{tmp_path / 'url'}}}") == "postgresql://u:p@h/db"
    assert secrets.expanded("${env:A_TOKEN}x", url=False) == "p@ss/w:rd%x"
    assert secrets.expanded("sqlite:///a$b{c}") == "sqlite:///a$b{c}"
    for text, words in (("x${A_TOKEN}", r"\$\{A_TOKEN\} is no reference"), ("${hunter 2", r"\$\{\.\.\.\} is no")):
        with pytest.raises(UsageError, match=words):
            secrets.expanded(text)
    with pytest.raises(UsageError, match="'NOT_THERE' is not set"):
        secrets.expanded("${env:NOT_THERE}")


def test_a_home_shows_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_TOKEN", VALUE)
    located = config.Located("http://bob:${env:A_TOKEN}@h", f"postgresql://bob:{VALUE}@h/db", "s3://b/e")
    home = config.home(tmp_path, located=located, environ={})
    assert home.tracking == f"http://bob:{VALUE}@h"
    assert VALUE in home.state
    assert VALUE not in f"{home} {home!r}"
    assert "http://***@h" in repr(home)
    spec = parse(f"state: postgresql://bob:{VALUE}@h/db\nendpoints: {{f: {{model: m}}}}", "f.yaml")
    assert VALUE not in repr(spec)


@pytest.mark.parametrize("as_json", [True, False])
def test_no_line_of_the_log_shows_what_a_url_keeps(as_json: bool) -> None:
    stream = StringIO()
    logger = logging.getLogger("fairlead")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        log.configure(stream, json=as_json)
        url = f"postgresql://bob:{VALUE}@h/db"
        logger.info(f"at {url}", extra={"fields": {"url": url, "other": "me@home"}})  # noqa: G004
        try:
            raise ValueError(f"cannot open {url}")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    said = stream.getvalue()
    assert VALUE not in said
    assert said.count("***@h/db") == 3
    assert "me@home" in said
