"""Plugin contract: a tool that builds images and runs containers. Entry-point group ``fairlead.containers``.

The entry point is a class that is called without arguments and whose name is the program's. Raises ContainerFailed with
the tool's own last words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here. ``id``: digest of its configuration.  ``layers``: SHA-256 of each uncompressed layer, the
    lowest first.  ``size``: bytes of all of them, uncompressed; 0: the tool does not say.  ``platform``: what runs it,
    as ``linux/amd64``; empty: the tool does not say."""

    id: str
    layers: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    user: str = ""
    size: int = 0
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """``context``: folder with the Dockerfile.  ``tag``: name of the image.  ``epoch``: Unix time, seconds, of every
    file that is made.  ``arguments``: of the build.  ``fresh``: nothing of earlier builds is taken.  ``platform``: what
    it is for, as ``linux/arm64``; empty: this machine."""

    context: Path
    tag: str
    epoch: int
    arguments: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """``port``: of the container, published on a free port of 127.0.0.1; with ``network`` ``host`` it is the machine's
    own.  ``memory``: bytes, 0: no limit.  ``environment``: an empty value takes this machine's.  ``name``: what it is
    called from before it is there, so that it can be removed however far its start came; empty: the tool chooses."""

    image: str
    port: int
    memory: int = 0
    network: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[str] = ()
    command: Sequence[str] = ()
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """``memory``: bytes in use now, 0: the tool does not say."""

    running: bool
    exit_code: int = 0
    memory: int = 0


class ContainerTool(Protocol):
    def usable(self) -> str:
        """Why it cannot be used here, in one sentence; empty where it can."""

    @property
    def runs(self) -> bool:
        """Whether it runs containers, beside building images."""

    def digest(self, name: str, platform: str = "") -> str:
        """``sha256:...`` of the manifest that a name stands for, here or in its registry, for a platform (empty: this
        machine's). May fetch it."""

    def build(self, asked: Build) -> Image: ...

    def image(self, name: str) -> Image:
        """One that is here. Raises SourceNotFound where it is not."""

    def start(self, asked: Launch) -> str:
        """A container with a read-only root, no capabilities and no way to gain any; returns its id."""

    def port(self, container: str, port: int) -> int:
        """The port of 127.0.0.1 that leads to ``port`` of the container. Raises ContainerFailed where none does: it has
        ended, or it has the network of the machine."""

    def run(self, container: str, words: Sequence[str]) -> str:
        """What a command in a running container writes to its standard output."""

    def state(self, container: str) -> State: ...

    def logs(self, container: str) -> str:
        """The last lines of what it wrote."""

    def labelled(self, label: str) -> Mapping[str, str]:
        """Every container with this label, running or not: its id, and the label's value."""

    def stop(self, container: str, seconds: int) -> int:
        """SIGTERM, after so many seconds SIGKILL; the exit code."""

    def remove(self, container: str) -> None:
        """It, and its anonymous volumes; what is not there is no error."""
