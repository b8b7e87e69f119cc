"""A container tool in memory: it keeps what was built, and a container is whatever you let it be."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.contracts.containers import Build, Image, Launch, State
from fairlead.contracts.errors import ContainerFailed, SourceNotFound

_LABEL = re.compile(r'LABEL (\S+)="?([^"\n]*)"?')
_CMD = re.compile(r"^CMD \[(.*)\]$", re.MULTILINE)
_USER = re.compile(r"^USER (\S+)$", re.MULTILINE)


@dataclass
class Container:
    """``port``: of 127.0.0.1 where it answers.  ``answers``: to commands that are run in it, by their first two words.
    ``ends``: exit code after SIGTERM."""

    port: int = 0
    answers: dict[tuple[str, ...], str] = field(default_factory=dict)
    memory: int = 100 * 2**20
    ends: int = 0
    said: str = ""
    running: bool = True
    exit_code: int = 0


class MemoryContainers:
    """``begin``: what becomes of an image that is started. Images are known by name, or by what was built.
    ``digested``: names whose digest was asked for, to the platform."""

    runs = True

    def __init__(self, begin: Callable[[Launch], Container] = lambda _: Container(), broken: str = "") -> None:
        self._begin = begin
        self.launched: dict[str, Launch] = {}
        self._broken = broken
        self._numbers = itertools.count(1)
        self.images: dict[str, Image] = {}
        self.containers: dict[str, Container] = {}
        self.removed: list[str] = []
        self.digested: dict[str, str] = {}

    def usable(self) -> str:
        return self._broken

    def digest(self, name: str, platform: str = "") -> str:
        self.digested[name] = platform
        return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"

    def build(self, asked: Build) -> Image:
        file = asked.context / "Dockerfile"
        if not file.is_file():
            raise ContainerFailed(f"memory ended with 1 building {asked.tag}: {file} is not there")
        text = file.read_text()
        copied = [path for path in sorted(asked.context.rglob("*")) if path.is_file() and _copies(text, path, asked)]
        layer = hashlib.sha256(b"".join(path.read_bytes() for path in copied) + str(asked.epoch).encode()).hexdigest()
        user, command = _USER.search(text), _CMD.search(text)
        made = Image(
            hashlib.sha256(f"{text}{layer}".encode()).hexdigest(),
            (f"sha256:{layer}",),
            dict(_LABEL.findall(text)),
            {},
            tuple(word.strip(' "') for word in command[1].split(",")) if command else (),
            user[1] if user else "",
            platform=asked.platform or "linux/amd64",
        )
        self.images[asked.tag] = made
        return made

    def image(self, name: str) -> Image:
        try:
            return self.images[name]
        except KeyError:
            raise SourceNotFound(f"memory has no image {name} here; build it") from None

    def start(self, asked: Launch) -> str:
        self.image(asked.image)
        key = asked.name or f"container-{next(self._numbers)}"
        self.launched[key] = asked
        self.containers[key] = self._begin(asked)
        return key

    def port(self, container: str, port: int) -> int:
        one = self._known(container)
        if not one.running:
            raise ContainerFailed(f"memory publishes no port {port} of {container}; has it ended?")
        return one.port or port

    def run(self, container: str, words: Sequence[str]) -> str:
        answers = self._known(container).answers
        found = next((said for asked, said in answers.items() if tuple(words[: len(asked)]) == asked), None)
        if found is None:
            raise ContainerFailed(f"memory ended with 127 running {words[0]} in the container: not found")
        return found

    def state(self, container: str) -> State:
        one = self._known(container)
        return State(one.running, one.exit_code, one.memory if one.running else 0)

    def logs(self, container: str) -> str:
        return self._known(container).said

    def labelled(self, label: str) -> dict[str, str]:
        asked = {key: self.launched[key].labels for key in self.containers}
        return {key: labels[label] for key, labels in asked.items() if label in labels}

    def stop(self, container: str, seconds: int) -> int:  # noqa: ARG002 - it ends at once
        one = self._known(container)
        one.running, one.exit_code = False, one.ends
        return one.ends

    def remove(self, container: str) -> None:
        if self.containers.pop(container, None) is not None:
            self.removed.append(container)

    def _known(self, container: str) -> Container:
        try:
            return self.containers[container]
        except KeyError:
            raise ContainerFailed(f"memory ended with 1 looking at the container: no container {container}") from None


def _copies(dockerfile: str, path: Path, asked: Build) -> bool:
    first = path.relative_to(asked.context).parts[0]
    return re.search(rf"^COPY (--\S+ )*{re.escape(first)}\b", dockerfile, re.MULTILINE) is not None
