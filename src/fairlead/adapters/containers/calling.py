"""Commands of a container tool: run to their end, with their last words in the error."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fairlead.contracts.errors import ContainerFailed
from fairlead.kit.sentences import masked

_LAST_WORDS: Final = 4
_LONGEST: Final = 300
_GRACE: Final = 10.0
"""Seconds from the wish that a command ends to its end."""
_LOOK: Final = 0.1
_TRIED_AGAIN: Final = re.compile(r"level=warning msg=|Failed, retrying in ")
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


class Program:
    """``name``: of the program on the PATH."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def here(self) -> bool:
        return shutil.which(self.name) is not None

    def ended(
        self, words: Sequence[str], seconds: float | None = None, *, steps: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Its end, however that was; where we are interrupted it is ended first, with ``steps`` by what it runs. Raises
        ContainerFailed where it cannot be started, or takes longer than ``seconds``; None: however long it takes."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the program that the user chose
                [self.name, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us, who end it in order
            )
        except OSError as error:
            raise ContainerFailed(f"{self.name} cannot be started: {error.strerror or error}") from error
        try:
            out, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process, steps=steps)
            raise ContainerFailed(
                f"{self.name} {words[0]} did not answer in {seconds:g} seconds; is what it speaks to stuck?"
            ) from None
        except BaseException:
            _end(process, steps=steps)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, said)

    def said(self, words: Sequence[str], doing: str, *, steps: bool = False) -> str:
        """What it wrote to standard output. Raises ContainerFailed: ``doing`` is what did not work."""
        done = self.ended(words, steps=steps)
        if done.returncode:
            raise ContainerFailed(
                f"{self.name} ended with {done.returncode} {doing}: {last_words(done.stderr or done.stdout)}"
            )
        return done.stdout

    def document(self, words: Sequence[str], doing: str) -> Any:
        """The same, as JSON."""
        text = self.said(words, doing)
        try:
            return json.loads(text)
        except ValueError:
            raise ContainerFailed(f"{self.name} said no JSON {doing}: {last_words(text)}") from None


def _end(process: subprocess.Popen[str], *, steps: bool) -> None:
    """SIGTERM, so that it clears away what it began; where that takes long, SIGKILL for it and what it started.
    ``steps``: what it runs is ended first."""
    if steps and _ended_by_its_steps(process):
        return
    process.terminate()
    try:
        process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _ended_by_its_steps(process: subprocess.Popen[str]) -> bool:
    """podman and buildah clear away what they began when a step of a build fails, and not when they are ended."""
    told: set[int] = set()
    ends = time.monotonic() + _GRACE
    while process.poll() is None and time.monotonic() < ends:
        for child in _steps(process.pid) - told:
            told.add(child)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_LOOK)
    return process.poll() is not None


def _steps(pid: int) -> set[int]:
    """What a tool runs. One that is not root starts itself again, in users of its own: then what that one runs."""
    found: set[int] = set()
    for child in _children(pid):
        again = _arguments(child)
        found |= _steps(child) if again and again == _arguments(pid) else {child}
    return found


def _arguments(pid: int) -> list[bytes]:
    """Without the name; none where the system does not say."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")[1:]
    except OSError:
        return []


def _children(pid: int) -> set[int]:
    """Processes that it started; none where the system does not say."""
    try:
        listed = (Path(f"/proc/{pid}/task/{one.name}/children") for one in Path(f"/proc/{pid}/task").iterdir())
        return {int(child) for one in listed for child in one.read_text().split()}
    except OSError:
        return set()


def last_words(text: str) -> str:
    """The last lines as one, without what URLs keep secret, and what was tried again where something is said after."""
    lines = [line.strip()[:_LONGEST] for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _TRIED_AGAIN.search(line)] or lines
    return masked(" | ".join(lines[-_LAST_WORDS:])) or "nothing"


def in_bytes(text: str) -> int:
    """``12.3MiB``, ``1.2GB``: as tools say how much memory there is; 0 for what is no size."""
    found = re.match(r"\s*([\d.]+)\s*([kKmMgG]?i?)[bB]", text)
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
