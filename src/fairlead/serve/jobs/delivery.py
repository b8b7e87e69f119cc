"""Output that goes to a place on no disk: written on this machine as always, and copied when all of it is there.

The manifest goes last: where it is, the output is whole. A job that was killed, also while it copied, goes on with
``--resume`` on the machine that began it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairlead.contracts.errors import StateError, UsageError
from fairlead.contracts.places import Place
from fairlead.serve.jobs.checkpoint import Manifest, Places, Totals, read_manifest


@dataclass(frozen=True, slots=True)
class Delivery:
    """``places``: where it is written first, in a folder of its own.  ``url``: where it goes."""

    place: Place
    places: Places
    url: str

    @classmethod
    def of(cls, out: str, form: str, folder: Path, place: Callable[[str], Place]) -> Delivery | None:
        """None for output that stays on this machine. Raises UsageError."""
        scheme, separator, rest = out.partition("://")
        if not separator or scheme == "file":
            return None
        if "/" not in rest.strip("/"):
            raise UsageError(f"--output {out}: name more than a bucket, as {scheme}://BUCKET/SCORES")
        own = folder / hashlib.sha256(out.rstrip("/").encode()).hexdigest()[:16]
        places = Places.of(str(own / Path(rest.rstrip("/")).name), form)
        return cls(place(scheme), places, out.rstrip("/"))

    @property
    def rejected(self) -> str:
        return self._there(self.places.rejected)

    @property
    def kept(self) -> bool:
        """Whether the output was complete on this machine, and not copied to the end."""
        return self.places.manifest.exists()

    def complete(self, resume: bool) -> Totals | None:
        """What a job before this one delivered, if ``resume`` asks for it. Raises UsageError where it is in the way."""
        manifest = self.place.read(self._there(self.places.manifest))
        if manifest is not None and resume:
            try:
                return msgspec.json.decode(manifest, type=Manifest).totals
            except msgspec.MsgspecError as error:
                raise StateError(f"{self._there(self.places.manifest)} cannot be read ({error})") from error
        if not resume and (manifest is not None or self.place.taken(self.url)):
            raise UsageError(f"the output {self.url} exists; name another, or remove it")
        return None

    def deliver(self) -> None:
        """Copy everything, the manifest last, and let go of what is here."""
        for path in (*self._files(), self.places.manifest):
            self.place.put(path, self._there(path))
        shutil.rmtree(self.places.out.parent)

    def _files(self) -> Iterator[Path]:
        places = self.places
        if read_manifest(places.manifest) is None:  # nobody calls this before the job is complete
            raise StateError(f"{places.manifest} is missing; remove {places.out.parent} and begin anew")
        if places.single:
            yield places.out
        else:
            yield from sorted(one for one in places.out.glob("part-*") if one.is_file())
        if places.rejected.exists():
            yield places.rejected

    def _there(self, path: Path) -> str:
        if not self.places.single:
            return f"{self.url}/{path.name}"
        return self.url + path.name.removeprefix(self.places.out.name)
