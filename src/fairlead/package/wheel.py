"""This Fairlead as a wheel: what runs here is what an image gets, whether it was installed or is worked on.

The wheel has the same bytes whenever the same files are packed (PEP 427; the time of each is 1980-01-01).
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import fairlead
from fairlead.kit.files import write_whole

_TIME = (1980, 1, 1, 0, 0, 0)
_HEAD = ("Metadata-Version", "Name", "Version", "Requires-Python", "License-Expression", "Provides-Extra")
_WHEEL = "Wheel-Version: 1.0\nGenerator: fairlead\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build(into: Path, *, renamed: dict[str, str] | None = None) -> Path:
    """Write the wheel into a folder. ``renamed``: distributions that it asks for under another name, such as builds
    for a GPU."""
    info = f"fairlead-{fairlead.__version__}.dist-info"
    files = {f"fairlead/{name}": path.read_bytes() for name, path in _sources()}
    files[f"{info}/METADATA"] = _metadata(renamed or {}).encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    files[f"{info}/entry_points.txt"] = (distribution("fairlead").read_text("entry_points.txt") or "").encode()
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    path = into / f"fairlead-{fairlead.__version__}-py3-none-any.whl"
    write_whole(path, packed.getvalue())
    return path


def extras() -> list[str]:
    """Names of what can be asked for beside the package itself."""
    return sorted(distribution("fairlead").metadata.get_all("Provides-Extra") or ())


def _sources() -> Iterator[tuple[str, Path]]:
    """Relative POSIX path and path of every file of the package, sorted; nothing compiled."""
    root = Path(fairlead.__file__).parent
    found = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted(found, key=lambda path: path.relative_to(root).as_posix()):
        yield path.relative_to(root).as_posix(), path


def _metadata(renamed: dict[str, str]) -> str:
    said = distribution("fairlead").metadata
    lines = [f"{name}: {value}" for name in _HEAD for value in said.get_all(name) or ()]
    for asked in said.get_all("Requires-Dist") or ():
        name = next((one for one in renamed if asked.startswith(one) and not asked[len(one) :][:1].isalnum()), "")
        lines.append(f"Requires-Dist: {renamed[name]}{asked[len(name) :]}" if name else f"Requires-Dist: {asked}")
    return "\n".join(lines) + "\n"


def _digest(data: bytes) -> str:
    """As a RECORD has it: base64 for URLs, without padding."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
