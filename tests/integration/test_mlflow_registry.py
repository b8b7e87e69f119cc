"""The registry on a real MLflow, in process: what plain MLflow logs we read, and what we log plain MLflow loads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fairlead.adapters.stores.mlflow.registry import MlflowRegistry
from fairlead.contracts.errors import RegistryError, RegistryUnreachable, SourceNotFound, Untrusted, UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package.bundle import Opener
from fairlead.package.sources import fetch, parse
from fairlead.package.trust import TrustBook

ROWS = np.random.default_rng(0).random((30, 3))

SAVE = """
import sys, json, warnings
warnings.simplefilter("ignore")
import numpy as np, mlflow, mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
rows = np.random.default_rng(0).random((30, 3))
model = LogisticRegression().fit(rows, (rows[:, 0] > 0.5).astype(int))
for kind in ("skops", "cloudpickle"):
    mlflow.sklearn.save_model(model, f"{sys.argv[1]}/{kind}", serialization_format=kind, pip_requirements=["skops"],
                              signature=infer_signature(rows, model.predict(rows)), input_example=rows[:3])
print(json.dumps(model.predict(rows).tolist()))
"""

LOAD = """
import sys, json, warnings
warnings.simplefilter("ignore")
import numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[2]).predict(np.random.default_rng(0).random((30, 3))).tolist()))
"""

pytestmark = pytest.mark.slow


def python(code: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    folder = tmp_path_factory.mktemp("saved")
    return folder, json.loads(python(SAVE, str(folder), cwd=folder))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("home")
    return Home(root, f"sqlite:///{root}/mlflow.db", "", "ada")


@pytest.fixture(scope="module")
def registry(home: Home) -> MlflowRegistry:
    return MlflowRegistry(home.tracking)


@pytest.fixture
def clean_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing may be left in the current folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("model", ["churn", "a model's name"])
def test_what_we_log_plain_mlflow_loads(
    registry: MlflowRegistry, home: Home, saved: tuple[Path, list[int]], clean_folder: Path, tmp_path: Path, model: str
) -> None:
    run = registry.run("exp / é", "train", params={"c": 1}, metrics={"auc": 0.9}, tags={"a": "b"}, files={})
    first = registry.log(saved[0] / "skops", model, run_id=run)
    second = registry.log(saved[0] / "skops", model)
    registry.set_alias(model, "champion", first.version)
    for uri in (f"models:/{model}/{second.version}", f"models:/{model}@champion"):
        assert json.loads(python(LOAD, home.tracking, uri, cwd=tmp_path)) == saved[1]
    assert Path(first.source.removeprefix("file://")).is_relative_to(home.root)


def test_a_run_s_model_and_a_logged_model_are_downloaded(
    registry: MlflowRegistry, saved: tuple[Path, list[int]], clean_folder: Path, tmp_path: Path
) -> None:
    run = registry.run(
        "exp", "train", params={}, metrics={}, tags={}, files={"one.txt": saved[0] / "skops" / "MLmodel"}
    )
    version = registry.log(saved[0] / "skops", "from-run", run_id=run)
    logged = next(part for part in version.source.split("/") if part.startswith("m-"))
    wanted = sorted(path.name for path in (saved[0] / "skops").iterdir())
    for number, uri in enumerate((f"runs:/{run}/from-run", f"models:/{logged}", "models:/from-run/1")):
        path = registry.download(uri, tmp_path / str(number))
        assert sorted(one.name for one in path.iterdir()) == wanted
    one = registry.download(f"runs:/{run}/one.txt", tmp_path / "one")
    assert one.read_bytes() == (saved[0] / "skops" / "MLmodel").read_bytes()


def test_a_pickled_version_is_refused_trusted_with_one_command_and_opened(
    registry: MlflowRegistry, home: Home, saved: tuple[Path, list[int]], clean_folder: Path
) -> None:
    registry.log(saved[0] / "cloudpickle", "pickled")
    registry.set_alias("pickled", "champion", "1")
    book = TrustBook(home, lambda: registry, SystemClock())
    opener = Opener(home, lambda: registry, book)
    with pytest.raises(Untrusted, match="fairlead models trust pickled@champion"):
        opener.open("models:/pickled@champion")
    book.record(fetch(parse("models:/pickled@champion"), lambda: registry, home), "reviewed")
    bundle = opener.open("models:/pickled@champion")
    assert (bundle.artefact.format, bundle.artefact.trusted, bundle.notes) == ("sklearn", True, ())
    assert bundle.example is not None
    assert bundle.example["input"].tolist() == ROWS[:3].tolist()


def test_names_that_mlflow_refuses_are_wrong_use(registry: MlflowRegistry, saved: tuple[Path, list[int]]) -> None:
    registry.log(saved[0] / "skops", "named")
    with pytest.raises(UsageError, match="reserved"):
        registry.set_alias("named", "latest", "1")
    with pytest.raises(UsageError, match="must be an integer"):
        registry.version("named", "one")
    with pytest.raises(UsageError, match="no registry URI"):
        registry.download("file:///etc", Path("never"))
    with pytest.raises(SourceNotFound, match=r"\(it has: none\).*`fairlead models alias named champion VERSION`"):
        registry.resolve("named", "champion")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:{}", "http://no-such-host.invalid:{}", "postgresql://u:secret@127.0.0.1:{}/x"]
)
def test_a_registry_that_is_down_is_told_in_seconds(uri: str, clean_folder: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RegistryUnreachable, match=r"--tracking") as error:
        MlflowRegistry(uri.format(free_port())).models()
    assert time.monotonic() - started < 8
    assert "secret" not in str(error.value)


def test_a_silent_registry_times_out_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(RegistryUnreachable, match="does not answer"):
            MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}").models()
    assert time.monotonic() - started < 8


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="Not a directory|File exists"):
        MlflowRegistry(f"sqlite:///{tmp_path}/file/mlflow.db").models()


def test_the_console_stays_quiet_and_telemetry_off(tmp_path: Path) -> None:
    code = (
        "import sys, os; from fairlead.kit import plugins; "
        "plugins.load('fairlead.stores', 'mlflow')(sys.argv[1]).models(); "
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'; print('done')"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, f"sqlite:///{tmp_path}/new/mlflow.db"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_two_registries_are_made_at_once(tmp_path: Path) -> None:
    """In one process: MLflow's migrations share a module."""
    began = threading.Barrier(4)

    def models(place: int) -> list[str]:
        began.wait()
        return MlflowRegistry(f"sqlite:///{tmp_path / str(place % 2)}.db").models()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(models, range(4))) == [[]] * 4
