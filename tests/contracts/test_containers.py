"""Every container tool that works here keeps the contract, and so does the fake."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from tests.containers import GROUP, container_folder, tool

from fairlead.contracts.containers import Build, ContainerTool
from fairlead.contracts.errors import ContainerFailed
from fairlead.kit import plugins
from fairlead.kit.machine import PLATFORM
from fairlead.testing import container_suite
from fairlead.testing.containers import MemoryContainers

__all__ = ["container_folder"]

ENDS = {
    "linux/amd64": (62, b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"),  # mov eax, 60; xor edi, edi; syscall
    "linux/arm64": (183, b"\x00\x00\x80\xd2\xa8\x0b\x80\xd2\x01\x00\x00\xd4"),  # mov x0, 0; mov x8, 93; svc 0
}
"""A program that ends with 0: number of the machine (ELF), and its instructions."""
FOREIGN = next(one for one in ENDS if one != PLATFORM)


def emulated() -> bool:
    """Whether this system runs programs of the other machine."""
    word = "aarch64" if FOREIGN == "linux/arm64" else "x86_64"
    return any(word in one.name for one in Path("/proc/sys/fs/binfmt_misc").glob("qemu-*"))


def program(platform: str) -> bytes:
    """The smallest file that Linux starts on such a machine."""
    machine, code = ENDS[platform]
    size, at = 120 + len(code), 0x400000
    head = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, at + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return b"\x7fELF\x02\x01\x01" + bytes(9) + head + struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, 4096) + code


def running(folder: Path, platform: str) -> Build:
    """An image for which something must run."""
    (folder / "end").write_bytes(program(platform or PLATFORM))
    (folder / "end").chmod(0o755)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY end /end\nRUN ["/end"]\n')
    return Build(folder, "localhost/fairlead-contract:1", 315_532_800, fresh=True, platform=platform)


@pytest.fixture(params=[*plugins.names(GROUP)])
def real(request: pytest.FixtureRequest, container_folder: Path) -> ContainerTool:
    return tool(request.param)


@pytest.mark.parametrize("check", container_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*plugins.names(GROUP), "memory"])
@pytest.mark.usefixtures("container_folder")
def test_containers(name: str, check, tmp_path: Path) -> None:
    check(MemoryContainers() if name == "memory" else tool(name), tmp_path)


def test_the_platform_of_this_machine_may_be_named(real: ContainerTool, tmp_path: Path) -> None:
    named, unnamed = real.build(running(tmp_path, PLATFORM)), real.build(running(tmp_path, ""))
    assert named.platform == unnamed.platform == PLATFORM
    assert named.layers == unnamed.layers


@pytest.mark.skipif(emulated(), reason="an emulator is here")
def test_another_platform_without_its_emulator_says_what_to_install(real: ContainerTool, tmp_path: Path) -> None:
    with pytest.raises(ContainerFailed) as caught:
        real.build(running(tmp_path, FOREIGN))
    said = str(caught.value)
    assert f"for {FOREIGN}: this machine is {PLATFORM} and has no emulator for it" in said
    assert "apt-get install qemu-user-static" in said


@pytest.mark.skipif(shutil.which("docker") is None, reason="no client of docker is here")
def test_a_client_of_docker_without_its_daemon_says_what_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    why = plugins.load(GROUP, "docker")().usable()
    assert why.startswith("docker does not work here: ")
    assert why.endswith("; start the daemon (systemctl start docker), or use podman, which needs none")
