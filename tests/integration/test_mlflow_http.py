"""Models pulled over HTTP from an MLflow server: what breaks goes on, who asks shows a credential, nothing is half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.mlflow_server import Served, basic, running

from fairlead.adapters.stores.mlflow.proxied import fetched
from fairlead.adapters.stores.mlflow.registry import MlflowRegistry
from fairlead.contracts.errors import DigestMismatch, RegistryError, RegistryUnreachable, SourceNotFound, UsageError
from fairlead.kit import config
from fairlead.kit.config import Home
from fairlead.package.sources import fetch, parse

ROOT = "0/abc/artifacts/model"
WEIGHTS = bytes(range(256)) * 12_000  # 3 MB
FILES = {
    f"{ROOT}/MLmodel": b"flavors: {}\n",
    f"{ROOT}/data/weights.bin": WEIGHTS,
    f"{ROOT}/data/empty": b"",
    f"{ROOT}/code/a b.py": b"# a name with a blank",
}
BIG = f"{ROOT}/data/weights.bin"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with running(Served(dict(FILES))) as served:
        yield served


def home(folder: Path, url: str) -> Home:
    return Home(folder / "home", url, "", "ada")


def pulled(folder: Path, served: Served, uri: str = "models:/churn@champion", url: str = "") -> dict[str, bytes]:
    where = home(folder, url or served.url)
    found = fetch(parse(uri), lambda: MlflowRegistry(where.tracking), where)
    assert found.path is not None
    return {one.relative_to(found.path).as_posix(): one.read_bytes() for one in found.path.rglob("*") if one.is_file()}


WHOLE = {path.removeprefix(f"{ROOT}/"): data for path, data in FILES.items()}


@pytest.mark.parametrize("uri", ["models:/churn@champion", "models:/churn/1", "runs:/abc/model"])
def test_a_model_is_pulled_whole_by_each_of_its_names(server: Served, tmp_path: Path, uri: str) -> None:
    assert pulled(tmp_path, server, uri) == WHOLE
    assert len(server.asked) == len(FILES)


def test_one_file_and_what_is_not_there(server: Served, tmp_path: Path) -> None:
    where = home(tmp_path, server.url)
    server.files["0/abc/artifacts/one.onnx"] = b"1"
    found = fetch(parse("runs:/abc/one.onnx"), lambda: MlflowRegistry(where.tracking), where)
    assert found.path is not None
    assert found.path.read_bytes() == b"1"
    for uri in ("runs:/abc/none", "models:/churn/2", "runs:/none/model"):
        with pytest.raises(SourceNotFound):
            fetch(parse(uri), lambda: MlflowRegistry(where.tracking), where)


def test_a_connection_that_breaks_goes_on_where_it_broke(server: Served, tmp_path: Path) -> None:
    server.cut, server.cuts = 1_000_000, 3
    assert pulled(tmp_path, server) == WHOLE
    ranges = [asked for path, asked in server.asked if path == BIG]
    assert ranges == ["", "bytes=983040-", "bytes=1966080-", "bytes=2949120-"]  # whole pieces of 64 KiB


def test_a_server_without_ranges_sends_the_file_again(server: Served, tmp_path: Path) -> None:
    server.cut, server.cuts, server.ranges = 1_000_000, 1, False
    assert pulled(tmp_path, server) == WHOLE
    assert len([one for one in server.asked if one[0] == BIG]) == 2


@pytest.mark.parametrize("left", [b"12345678", b"of another file, which was longer"])
def test_what_is_all_there_already_is_fetched_anew(server: Served, tmp_path: Path, left: bytes) -> None:
    """Killed before it had its name: the server has nothing behind that, and nobody knows how long the file is."""
    server.files["0/abc/artifacts/one.onnx"] = b"12345678"
    (tmp_path / "one.onnx.part").write_bytes(left)
    found = fetched("mlflow-artifacts:/0/abc/artifacts/one.onnx", tmp_path, server.url)
    assert found is not None
    assert found.read_bytes() == b"12345678"
    assert not (tmp_path / "one.onnx.part").exists()


def test_one_that_always_breaks_is_given_up_and_the_next_pull_goes_on(server: Served, tmp_path: Path) -> None:
    server.cut, server.cuts, server.ranges = 1_000_000, 1000, False
    with pytest.raises(RegistryUnreachable):
        pulled(tmp_path, server)
    left = [one.name for one in (tmp_path / "home" / "cache").iterdir() if one.is_dir()]
    assert len(left) == 1  # no slot: nobody finds half of it
    assert left[0].startswith(".fetching-")
    server.cuts, server.ranges = 0, True
    server.asked.clear()
    assert pulled(tmp_path, server) == WHOLE
    assert (BIG, "bytes=983040-") in server.asked
    assert [one.name for one in (tmp_path / "home" / "cache").iterdir() if one.name.startswith(".fetching")] == []


PULL = """
import sys
from pathlib import Path
from fairlead.adapters.stores.mlflow.registry import MlflowRegistry
from fairlead.kit.config import Home
from fairlead.package.sources import fetch, parse
home = Home(Path(sys.argv[1]) / "home", sys.argv[2], "", "ada")
fetch(parse("models:/churn/1"), lambda: MlflowRegistry(home.tracking), home)
"""


def test_a_pull_that_is_killed_is_gone_on_with_by_the_next_process(server: Served, tmp_path: Path) -> None:
    server.cut, server.cuts, server.stall = 2_000_000, 1, True
    process = subprocess.Popen([sys.executable, "-c", PULL, str(tmp_path), server.url])
    ends = time.monotonic() + 60
    part: list[Path] = []
    while not (part and part[0].stat().st_size >= 1_000_000) and time.monotonic() < ends:
        part = list((tmp_path / "home" / "cache").rglob("weights.bin.part"))
        time.sleep(0.05)
    had = part[0].stat().st_size
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    server.asked.clear()
    assert pulled(tmp_path, server, "models:/churn/1") == WHOLE
    assert (BIG, f"bytes={had}-") in server.asked


def test_artefacts_of_a_run_begin_again_for_they_may_have_changed(server: Served, tmp_path: Path) -> None:
    server.cut, server.cuts, server.ranges = 1_000_000, 1000, False
    with pytest.raises(RegistryUnreachable):
        pulled(tmp_path, server, "runs:/abc/model")
    server.cuts, server.ranges = 0, True
    server.asked.clear()
    assert pulled(tmp_path, server, "runs:/abc/model") == WHOLE
    assert (BIG, "") in server.asked


def test_other_bytes_than_the_digest_says_are_refused_and_not_kept(server: Served, tmp_path: Path) -> None:
    where = home(tmp_path, server.url)
    found = fetch(parse("models:/churn/1"), lambda: MlflowRegistry(where.tracking), where)
    other = home(tmp_path / "other", server.url)
    server.files[BIG] = WEIGHTS[:-1] + b"x"
    pinned = parse(f"models:/churn/1#sha256:{found.digest}")
    with pytest.raises(DigestMismatch):
        fetch(pinned, lambda: MlflowRegistry(other.tracking), other)
    server.files[BIG] = WEIGHTS
    assert fetch(pinned, lambda: MlflowRegistry(other.tracking), other).digest == found.digest


def test_a_listing_that_leads_out_of_its_folder_is_refused(server: Served, tmp_path: Path) -> None:
    server.listed = [{"path": "../../../evil", "is_dir": False, "file_size": 1}]
    with pytest.raises(UsageError, match="Invalid path"):
        pulled(tmp_path, server)
    assert not list(tmp_path.rglob("evil"))


def test_a_file_shorter_than_its_listing_is_an_error(server: Served, tmp_path: Path) -> None:
    server.listed = [{"path": "MLmodel", "is_dir": False, "file_size": 1000}]
    with pytest.raises(RegistryError, match="12 bytes, and its listing says 1000"):
        pulled(tmp_path, server)


def test_a_password_comes_by_reference(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.credential = basic("ada", "p@ss/word")
    (tmp_path / "secret").write_text("p@ss/word\n")
    host = server.url.removeprefix("http://")
    for reference, environ in (("env:PW", {"PW": "p@ss/word"}), (f"file:{tmp_path / 'secret'}", {})):
        monkeypatch.setattr(os, "environ", {**os.environ, **environ})
        url = config.home(tmp_path, f"http://ada:${{{reference}}}@{host}").tracking
        assert pulled(tmp_path / reference[:3], server, url=url) == WHOLE


def test_so_does_a_token(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.credential = "Bearer t0ken"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert pulled(tmp_path, server) == WHOLE


@pytest.mark.parametrize("uri", ["models:/churn@champion", "runs:/abc/model"])
def test_who_shows_none_is_told_how_and_what_was_shown_is_not(server: Served, tmp_path: Path, uri: str) -> None:
    server.credential = "Bearer t0ken"
    url = server.url.replace("http://", "http://ada:wr0ng@")
    with pytest.raises(RegistryError, match=r"refuses who asks .*; show it a token") as caught:
        pulled(tmp_path, server, uri, url)
    assert "wr0ng" not in str(caught.value)
