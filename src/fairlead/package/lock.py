"""The libraries of an image, each an exact version with its SHA-256, and the wheels themselves.

pip resolves for the image's platform and Python, never from source. What is installed here stays as it is: it was
tested together. A folder that holds the lock of the same request keeps it, so an image can be made again next year.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from fairlead.contracts.errors import BrokenModel, StorageFull, UsageError
from fairlead.contracts.runtime import Artefact
from fairlead.kit.files import write_whole
from fairlead.package import requirements
from fairlead.package.environment import Run
from fairlead.package.manifest import Manifest, file_digest
from fairlead.package.requirements import Requirements

FILE = "requirements.lock"
WHEELS = "wheels"

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_GLIBC = 36
"""Minor version of glibc 2 in Debian 12: wheels for newer ones are left."""
_OLDER = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "aarch64": ("manylinux2014",)}
_MAKERS = {
    "sklearn": ("scikit-learn",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "litert": ("ai-edge-litert",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
}
"""Libraries that a runtime's answers depend on: the model must say which version."""
_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[^\]]*\])?\s*===?\s*[^\s;,*]+(\s*;.*)?")
_LAST_WORDS = 4
_FULL = "No space left on device"
_CONFLICT = "The conflict is caused by:"


@dataclass(frozen=True, slots=True)
class Wheel:
    """``name``: in the one spelling (PEP 503).  ``sha256``: of the file, hex."""

    name: str
    version: str
    file: str
    sha256: str


def platforms() -> tuple[str, ...]:
    """What ``--platform`` takes."""
    return tuple(_MACHINES)


def check_platform(name: str) -> None:
    """Raises UsageError for one that no wheels are fetched for."""
    if name not in _MACHINES:
        raise UsageError(f"--platform is {name!r}; expected {' or '.join(_MACHINES)}")


def asked(artefact: Artefact, manifest: Manifest | None) -> tuple[str, ...]:
    """The model's own libraries, with the versions that made it. An ONNX graph needs none of those that made it.

    Raises SourceNotFound without a list of them, BrokenModel for one that is not locked.
    """
    if artefact.format == "onnx":
        return ()
    wanted = requirements.of(artefact)
    made = dict(manifest.libraries) if manifest else {}
    return tuple(_locked(line, made, artefact.format, wanted) for line in wanted.lines)


def _locked(line: str, made: Mapping[str, str], runtime: str, wanted: Requirements) -> str:
    name = re.split(r"[\s\[<>=!~;@]", line, maxsplit=1)[0]
    key = re.sub(r"[-_.]+", "-", name).lower()
    if _PINNED.fullmatch(line):
        return line
    if key in made:
        return f"{name}=={made[key]}"
    helps = {one for more in requirements.NEEDS.get(runtime, ()) for one in more.split("|")} | {"msgspec", "numpy"}
    if key in helps and key not in _MAKERS.get(runtime, ()):
        return line  # what reads the model, not what made it: the version that is installed here
    raise BrokenModel(
        f"{wanted.folder} asks for {line!r}, which is no exact version; write {name}==VERSION in its requirements.txt, "
        "or log the model again with `fairlead models log`"
    )


def here() -> tuple[str, ...]:
    """Everything that is installed, as constraints; what was worked on here has no version that others can get."""
    found = {
        re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version.partition("+")[0]
        for one in distributions()
        if one.metadata["Name"]
    }
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()) if name != "fairlead")


def fetch(
    context: Path, roots: Sequence[str], constraints: Sequence[str], platform: str, run: Run
) -> tuple[Wheel, ...]:
    """Fill ``context/wheels`` and write the lock. ``roots``: requirements, or paths of wheels.

    Blocks, for minutes. Raises UsageError for an unknown platform, BrokenModel with the last words of pip.
    """
    check_platform(platform)
    request = _request(roots, platform)
    folder, lock = context / WHEELS, context / FILE
    kept = lock.read_text() if lock.is_file() and request in lock.read_text() else ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-I", "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--dest", str(folder), *_target(_MACHINES[platform])]
    if kept:
        own = [root for root in roots if root.startswith("/")]
        command += ["--no-deps", "-r", str(lock)]
        for path in own:
            shutil.copyfile(path.partition("[")[0], folder / Path(path.partition("[")[0]).name)
    else:
        limits = context / "constraints.txt"
        limits.write_text("\n".join(_without(constraints, roots)) + "\n")
        command += ["--constraint", str(limits), *roots]
    fetched = False
    try:
        status, said = run(command)
        fetched = not status
    finally:  # what came of them is of no use, and may have filled the disk
        (context / "constraints.txt").unlink(missing_ok=True)
        if not fetched:
            shutil.rmtree(folder, ignore_errors=True)
    if _FULL in said and status:
        raise StorageFull(f"no room for the libraries of the image in {folder}; free some space, or name --context DIR")
    if status:
        raise BrokenModel(f"the libraries of the image cannot be fetched: pip ended with {status}: {_words(said)}")
    wheels = tuple(_wheel(path) for path in sorted(folder.glob("*.whl")))
    if not kept:
        write_whole(lock, _text(request, wheels).encode())
    return wheels


def read(context: Path) -> tuple[Wheel, ...]:
    """The wheels that lie in a context."""
    return tuple(_wheel(path) for path in sorted((context / WHEELS).glob("*.whl")))


def names(wheels: Sequence[Wheel]) -> str:
    """What is installed, in one line a wheel."""
    return "".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in wheels)


def _text(request: str, wheels: Sequence[Wheel]) -> str:
    """Without our own wheel, which is beside it and made again each time."""
    return f"{request}\n" + names([one for one in wheels if one.name != "fairlead"])


def _request(roots: Sequence[str], platform: str) -> str:
    """The first line of a lock: the same for the same wishes. Our own wheel counts by its name."""
    wishes = sorted(Path(root).name if root.startswith("/") else root for root in roots)
    text = "\n".join((platform, _python(), *wishes))
    return f"# fairlead lock {hashlib.sha256(text.encode()).hexdigest()}"


def _without(constraints: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Constraints, but for what the roots say themselves."""
    said = {re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", root, maxsplit=1)[0]).lower() for root in roots}
    return [one for one in constraints if one.partition("==")[0] not in said]


def _target(machine: str) -> list[str]:
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC, 4, -1)]
    tags += [f"{old}_{machine}" for old in _OLDER[machine]] + [f"linux_{machine}", "any"]
    words = ["--only-binary=:all:", "--implementation", "cp", "--python-version", _python()]
    for tag in tags:
        words += ["--platform", tag]
    return words


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _wheel(path: Path) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(re.sub(r"[-_.]+", "-", name).lower(), version, path.name, file_digest(path))


def _words(said: str) -> str:
    """The last lines; of libraries that contradict one another who asks for what, which pip says before them."""
    if _CONFLICT in said:
        told = said.partition(_CONFLICT)[2].strip("\n").partition("\n\n")[0]
        return "they contradict one another: " + ", ".join(line.strip()[:200] for line in told.splitlines())
    lines = [line.strip()[:200] for line in said.splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_WORDS:]) or "nothing"
