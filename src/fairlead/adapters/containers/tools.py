"""podman, docker and buildah, whose commands are nearly the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from fairlead.adapters.containers.calling import Program, in_bytes, last_words
from fairlead.contracts.containers import Build, Image, Launch, State
from fairlead.contracts.errors import ContainerFailed, SourceNotFound
from fairlead.kit.machine import PLATFORM

_HARDENED: Final = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
_LINES: Final = "40"
_FOREIGN: Final = "exec format error"
"""What a system says of a program that is for another machine."""
_NO_DAEMON: Final = "; start the daemon (systemctl start docker), or use podman, which needs none"
_PATIENCE: Final = 15.0
"""Seconds for a tool to say that it works: the daemon behind it may be stuck."""


class _Tool:
    """What podman and docker share."""

    runs = True

    def __init__(self, name: str, building: Callable[[Build], list[str]]) -> None:
        self._name, self._building = name, building
        self._program = Program(name)

    def usable(self) -> str:
        if not self._program.here:
            return f"{self._name} is not on the PATH"
        try:
            done = self._program.ended(["info"], _PATIENCE)
        except ContainerFailed as error:
            return str(error)
        if done.returncode == 0:
            return ""
        return f"{self._name} does not work here: {last_words(done.stderr)}{self._remedy(done.stderr)}"

    def _remedy(self, said: str) -> str:  # noqa: ARG002 - of what was said
        return ""

    def digest(self, name: str, platform: str = "") -> str:
        missing = self._program.ended(["image", "inspect", name]).returncode != 0
        if missing or (platform and self.image(name).platform not in ("", platform)):
            self._program.said(["pull", "--quiet", *_platform(platform), name], f"fetching {name}")
        (found,) = self._program.document(["image", "inspect", name], f"looking at {name}")
        listed = [*(found.get("RepoDigests") or []), *([f"@{found['Digest']}"] if found.get("Digest") else [])]
        if not listed:
            raise ContainerFailed(f"{self._name} knows no digest of {name}; push it, and name it by the digest there")
        return str(listed[0]).rpartition("@")[2]

    def build(self, asked: Build) -> Image:
        words = [*self._building(asked), "--network=none", "--tag", asked.tag]
        words += ["--no-cache"] if asked.fresh else []
        for key, value in asked.arguments.items():
            words += ["--build-arg", f"{key}={value}"]
        try:
            self._program.said([*words, str(asked.context)], f"building {asked.tag}", steps=True)
        except ContainerFailed as error:
            if _FOREIGN not in str(error).lower() or asked.platform in ("", PLATFORM):
                raise
            raise ContainerFailed(
                f"{self._name} cannot build {asked.tag} for {asked.platform}: this machine is {PLATFORM} and has no "
                "emulator for it; install one (apt-get install qemu-user-static), or build it on such a machine"
            ) from error
        return self.image(asked.tag)

    def image(self, name: str) -> Image:
        if self._program.ended(["image", "inspect", name]).returncode:
            raise SourceNotFound(
                f"{self._name} has no image {name} here; build it, or fetch it: {self._name} pull {name}"
            )
        (found,) = self._program.document(["image", "inspect", name], f"looking at {name}")
        made = _image(str(found["Id"]), found["RootFS"].get("Layers"), found.get("Config"), int(found.get("Size") or 0))
        return replace(made, platform=_machine(found.get("Os"), found.get("Architecture")))

    def start(self, asked: Launch) -> str:
        words = ["run", "--detach", *_HARDENED, "--tmpfs=/tmp"]
        words += ["--network", asked.network] if asked.network else []
        words += [] if asked.network == "host" else ["--publish", f"127.0.0.1::{asked.port}"]
        words += ["--memory", str(asked.memory)] if asked.memory else []
        for key, value in asked.environment.items():
            words += ["--env", f"{key}={value}" if value else key]
        words += ["--name", asked.name] if asked.name else []
        for key, value in asked.labels.items():
            words += ["--label", f"{key}={value}"]
        for volume in asked.volumes:
            words += ["--volume", volume]
        return self._program.said([*words, asked.image, *asked.command], f"starting {asked.image}").split()[-1]

    def port(self, container: str, port: int) -> int:
        found = self._program.ended(["port", container, f"{port}/tcp"])
        if found.returncode or not found.stdout.strip():
            raise ContainerFailed(f"{self._name} publishes no port {port} of {container}; has it ended?")
        return int(found.stdout.split()[0].rpartition(":")[2])

    def run(self, container: str, words: Sequence[str]) -> str:
        return self._program.said(["exec", container, *words], f"running {words[0]} in the container")

    def state(self, container: str) -> State:
        (found,) = self._program.document(["container", "inspect", container], "looking at the container")
        state = found["State"]
        running = bool(state.get("Running"))
        return State(running, int(state.get("ExitCode") or 0), self._memory(container) if running else 0)

    def _memory(self, container: str) -> int:
        done = self._program.ended(["stats", "--no-stream", "--format", "{{.MemUsage}}", container])
        return in_bytes(done.stdout) if done.returncode == 0 else 0

    def logs(self, container: str) -> str:
        done = self._program.ended(["logs", "--tail", _LINES, container])
        return (done.stdout + done.stderr).strip()

    def labelled(self, label: str) -> dict[str, str]:
        asked = ["ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}"]
        found = {}
        for key in self._program.said(asked, "looking for containers").split():
            done = self._program.ended(["container", "inspect", key])
            if done.returncode == 0:  # else it went meanwhile
                (one,) = json.loads(done.stdout)
                found[key] = str((one["Config"].get("Labels") or {}).get(label, ""))
        return found

    def stop(self, container: str, seconds: int) -> int:
        self._program.said(["stop", "--time", str(seconds), container], "stopping the container")
        return self.state(container).exit_code

    def remove(self, container: str) -> None:
        self._program.ended(["rm", "--force", "--volumes", container])


class Podman(_Tool):
    """podman. Every file of a layer has the time of the build: the same files are the same layers."""

    def __init__(self) -> None:
        # The format of docker, which alone knows HEALTHCHECK.
        words = ["build", "--quiet", "--format=docker", "--timestamp"]
        super().__init__("podman", lambda asked: [*words, str(asked.epoch), *_other(asked.platform)])


class Docker(_Tool):
    """docker with BuildKit, which takes the time of files from SOURCE_DATE_EPOCH."""

    def _remedy(self, said: str) -> str:
        return _NO_DAEMON if "docker daemon" in said else ""

    def __init__(self) -> None:
        words = ["build", "--quiet", "--build-arg"]
        super().__init__(
            "docker", lambda asked: [*words, f"SOURCE_DATE_EPOCH={asked.epoch}", *_platform(asked.platform)]
        )


class Buildah(_Tool):
    """buildah: it builds, and runs nothing."""

    runs = False

    def __init__(self) -> None:
        words = ["build", "--quiet", "--layers", "--force-rm", "--format=docker", "--timestamp"]
        super().__init__("buildah", lambda asked: [*words, str(asked.epoch), *_other(asked.platform)])

    def digest(self, name: str, platform: str = "") -> str:
        self._program.said(["pull", "--quiet", *_other(platform), name], f"fetching {name}")
        found = str(self._inspected(name).get("FromImageDigest") or "")
        if not found:
            raise ContainerFailed(f"buildah knows no digest of {name}; push it, and name it by the digest there")
        return found

    def image(self, name: str) -> Image:
        if self._program.ended(["inspect", "--type=image", name]).returncode:
            raise SourceNotFound(f"buildah has no image {name} here; build it, or fetch it: buildah pull {name}")
        found = self._inspected(name)
        made = found["Docker"]
        told = _image(str(found["FromImageID"]), made["rootfs"].get("diff_ids"), made.get("config"), 0)
        return replace(told, platform=_machine(made.get("os"), made.get("architecture")))

    def _inspected(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._program.document(["inspect", "--type=image", name], f"looking at {name}")
        return found


def _platform(wanted: str) -> list[str]:
    return ["--platform", wanted] if wanted else []


def _other(wanted: str) -> list[str]:
    """The same, for tools that ask the registry for a base that is here as soon as they are given any platform."""
    return _platform(wanted) if wanted != PLATFORM else []


def _machine(system: Any, architecture: Any) -> str:
    return f"{system}/{architecture}" if system and architecture else ""


def _image(key: str, layers: Any, config: Any, size: int) -> Image:
    said = config or {}
    return Image(
        key.removeprefix("sha256:"),
        tuple(layers or ()),
        dict(said.get("Labels") or {}),
        dict(one.partition("=")[::2] for one in said.get("Env") or ()),
        tuple(said.get("Cmd") or ()),
        str(said.get("User") or ""),
        size,
    )
