"""Container tools that work here; storage of their own, and a base of this machine, for tests that need a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.contracts.containers import ContainerTool
from fairlead.kit import plugins

GROUP = "fairlead.containers"
_STORAGE = '[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
_ENGINE = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def storage(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """podman and buildah keep everything under ``folder``, so that a test leaves nothing behind."""
    (folder / "storage.conf").write_text(_STORAGE.format(driver="overlay", folder=folder))
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    (folder / "containers.conf").write_text(_ENGINE + runtime)
    patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
    patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))


def tool(name: str) -> ContainerTool:
    """The tool, or a skip with its reason, which is a failure where services are required."""
    found: ContainerTool = plugins.load(GROUP, name)()
    why = found.usable()
    if why and os.environ.get("FAIRLEAD_REQUIRE_CONTAINERS") != "1":
        pytest.skip(why)
    assert not why, why
    return found


@pytest.fixture(scope="session")
def container_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a session; what is mounted below it is unmounted at the end."""
    folder = tmp_path_factory.mktemp("containers")
    patch = pytest.MonkeyPatch()
    storage(folder, patch)
    yield folder
    if shutil.which("podman"):
        subprocess.run(["podman", "rmi", "--all", "--force"], capture_output=True, check=False)
    subprocess.run(["umount", str(folder / "storage" / "overlay")], capture_output=True, check=False)
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)
