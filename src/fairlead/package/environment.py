"""Environments that hold the libraries a model was made with, built once and kept by what is in them.

::

    HOME/cache/environments/KEY.json          says which folder is whole, and where its interpreter is
                            KEY-RANDOM/       an environment; one that KEY.json does not name was left half built
                            fairlead-HASH/    this Fairlead, for their interpreters: a link, and its entry points

An environment is built where it stays, since its scripts hold their own path, and counts from the moment that the file
beside it names it. One process builds, others wait for its lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import fairlead
from fairlead.contracts.errors import BrokenModel, StorageFull
from fairlead.kit.clock import Clock
from fairlead.kit.files import locked, unwritable, write_whole
from fairlead.kit.sentences import masked
from fairlead.package.requirements import Requirements

log = logging.getLogger("fairlead.serve")

Run = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command to its end: exit status, and everything that it said."""

_START = "import sys\n\nfrom fairlead.serve.isolated.child import main\n\nmain(int(sys.argv[1]))\n"
_LAST_WORDS = 4
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Environment:
    """``start``: what a model's process is started with.  ``modules``: where it finds the model's own code."""

    start: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tools:
    """``uv``: its path, empty without it.  ``which``: a program's path by name.  ``python``: major and minor here."""

    run: Run
    uv: str
    which: Callable[[str], str | None]
    python: str

    @classmethod
    def here(cls) -> Tools:
        return cls(_run, shutil.which("uv") or "", shutil.which, f"{sys.version_info.major}.{sys.version_info.minor}")


class Environments:
    """``folder``: where they are kept."""

    def __init__(self, folder: Path, clock: Clock, tools: Tools | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._tools = tools or Tools.here()

    def of(self, wanted: Requirements, modules: Sequence[str], subject: str) -> Environment:
        """The environment for ``wanted``, built when there is none. ``subject``: the model, for sentences.

        Blocks, for minutes where much is to be fetched. Raises BrokenModel with the last words of who failed to
        install, StorageFull.
        """
        try:
            with locked(self._folder / f"{wanted.key}.lock"):
                python = self._kept(wanted)
                if python is not None:
                    log.info("environment found", extra={"fields": {"model": subject, "python": wanted.python}})
                else:
                    python = self._build(wanted, subject)
            return Environment((str(python), "-I", str(self._exposed())), tuple(modules))
        except OSError as error:
            if full := unwritable(error):
                raise StorageFull(_no_room(self._folder, full)) from error
            raise BrokenModel(f"the environment of {subject} cannot be kept in {self._folder}: {error}") from error

    def _kept(self, wanted: Requirements) -> Path | None:
        """The interpreter of a whole environment; None also where the Python that it was built on is gone."""
        try:
            document = json.loads((self._folder / f"{wanted.key}.json").read_bytes())
            python = self._folder / str(document["folder"]) / "bin" / "python"
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return python if python.exists() else None

    def _build(self, wanted: Requirements, subject: str) -> Path:
        creating = _creating(wanted.python, self._tools, subject)
        for left in self._folder.glob(f"{wanted.key}-*"):  # by who was killed half way
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{wanted.key}-"))
        tool = "uv" if self._tools.uv else "pip"
        told = {"model": subject, "requirements": len(wanted.lines), "python": wanted.python, "with": tool}
        log.info("environment being built", extra={"fields": told})
        began = self._clock.now()
        try:
            asked = folder / "requirements.txt"
            asked.write_text("\n".join(wanted.lines) + "\n")
            self._install(wanted, [*creating, str(folder)], folder, asked, subject)
            document = {"folder": folder.name, "python": wanted.python, "requirements": wanted.lines}
            write_whole(self._folder / f"{wanted.key}.json", json.dumps(document, indent=1).encode() + b"\n")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        told["seconds"] = round(self._clock.now() - began, 1)
        log.info("environment built", extra={"fields": told})
        return folder / "bin" / "python"

    def _install(self, wanted: Requirements, creating: list[str], folder: Path, asked: Path, subject: str) -> None:
        python = str(folder / "bin" / "python")
        if self._tools.uv:
            pip = [self._tools.uv, "pip", "install", "--python", python, "-r", str(asked)]
        else:
            quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]  # its last words are shown
            pip = [python, "-I", "-m", "pip", "install", *quiet, "-r", str(asked)]
        for command in (creating, pip):
            status, said = self._tools.run(command)
            if status and (full := unwritable(OSError(said))):
                raise StorageFull(_no_room(self._folder, full))
            if status:
                who = "uv" if self._tools.uv else "pip" if command is pip else "venv"
                raise BrokenModel(
                    f"the environment of {subject} cannot be built: {who} ended with {status} and said: "
                    f"{_words(said)}; correct the requirements in {wanted.folder}, or serve it without --env isolated"
                )

    def _exposed(self) -> Path:
        """A folder that shows this Fairlead and none of its neighbours, and starts a model's process when it is run."""
        package = Path(fairlead.__file__).parent
        points = distribution("fairlead").read_text("entry_points.txt") or ""
        marked = "\n".join((str(package), fairlead.__version__, points, _START))
        folder = self._folder / f"fairlead-{hashlib.sha256(marked.encode()).hexdigest()[:16]}"
        if folder.exists():
            return folder
        draft = Path(tempfile.mkdtemp(dir=self._folder, prefix=".fairlead-"))
        try:
            (draft / "fairlead").symlink_to(package, target_is_directory=True)
            (draft / "__main__.py").write_text(_START)
            info = draft / f"fairlead-{fairlead.__version__}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fairlead\nVersion: {fairlead.__version__}\n")
            (info / "entry_points.txt").write_text(points)
            draft.rename(folder)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not folder.exists():  # else another process was first
                raise
        return folder


def _creating(python: str, tools: Tools, subject: str) -> list[str]:
    """The command that makes an empty environment, but for its folder. Raises BrokenModel without that Python."""
    if tools.uv:
        return [tools.uv, "venv", "--quiet", "--allow-existing", "--python", python]
    if python == tools.python:
        return [sys.executable, "-I", "-m", "venv"]
    found = tools.which(f"python{python}")
    if found and tools.run([found, "-I", "-c", "import ensurepip, venv"])[0] == 0:
        return [found, "-I", "-m", "venv"]
    raise BrokenModel(
        f"{subject} was made with Python {python}, and {tools.python} runs here; install uv, which fetches it, or put "
        f"python{python} on the PATH"
    )


def _words(said: str) -> str:
    """The last lines, as one, without what URLs keep secret."""
    lines = [_shortened(line.strip()) for line in said.splitlines() if line.strip()]
    return masked(" | ".join(lines[-_LAST_WORDS:]))


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _no_room(folder: Path, said: str) -> str:
    return f"no environment can be built in {folder}: {said}; free some space, or name another folder with --home"


def _run(command: Sequence[str]) -> tuple[int, str]:
    """In isolated mode for Python, so the user's PYTHONPATH adds nothing; configuration of pip and uv is the user's."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        if unwritable(error):
            raise
        raise BrokenModel(f"{command[0]} cannot be started: {error.strerror or error}") from error
    return done.returncode, done.stdout.decode("utf-8", "replace")
