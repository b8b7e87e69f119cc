"""Output that goes to an object store: written on this machine as always, and copied when all of it is there.

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
from msgspec.structs import replace

from fairlead.contracts.errors import Busy, StateError, UsageError
from fairlead.contracts.object_store import ObjectStore
from fairlead.kit.files import held
from fairlead.serve.jobs.checkpoint import Manifest, Places, Totals, differences, read_manifest


@dataclass(frozen=True, slots=True)
class Delivery:
    """``places``: where it is written first, in a folder of its own.  ``url``: where it goes."""

    store: ObjectStore
    places: Places
    url: str

    @classmethod
    def of(cls, out: str, form: str, folder: Path, store: Callable[[str], ObjectStore]) -> Delivery | None:
        """None for output that stays on this machine. Raises UsageError."""
        scheme, separator, rest = out.partition("://")
        if not separator or scheme == "file":
            return None
        if "/" not in rest.strip("/"):
            raise UsageError(f"--output {out}: name more than a bucket, as {scheme}://BUCKET/SCORES")
        if any(part in ("", ".", "..") for part in rest.rstrip("/").split("/")):
            raise UsageError(f"--output {out}: an empty part, . and .. name nothing there; write the path without them")
        own = folder / hashlib.sha256(out.rstrip("/").encode()).hexdigest()[:16]
        places = Places.of(f"{own / Path(rest.rstrip('/')).name}{'/' if rest.endswith('/') else ''}", form)
        return cls(store(scheme), places, out.rstrip("/"))

    @property
    def rejected(self) -> str:
        return self._there(self.places.rejected)

    @property
    def kept(self) -> bool:
        """Whether the output was complete on this machine, and not copied to the end."""
        return self.places.manifest.exists()

    def complete(self, resume: bool, now: Manifest) -> Totals | None:
        """What a job before this one delivered, if ``resume`` asks for it.

        Raises UsageError where it is in the way, or was told something else than ``now``.
        """
        manifest = self.store.read(self._there(self.places.manifest))
        if manifest is not None and resume:
            try:
                begun = msgspec.json.decode(manifest, type=Manifest)
            except msgspec.MsgspecError as error:
                raise StateError(f"{self._there(self.places.manifest)} cannot be read ({error})") from error
            job = replace(begun.job, parts=now.job.parts, work=now.job.work)  # on whichever machine it was written
            if why := differences(replace(begun, job=job, totals=None), now):
                raise UsageError(f"--resume: {why}; give what the job began with, or name another output")
            return begun.totals
        if not resume and (manifest is not None or self.store.taken(self.url)):
            raise UsageError(f"the output {self.url} exists; name another, or remove it")
        return None

    def deliver(self) -> None:
        """Copy everything, the manifest last, and let go of what is here. Raises Busy while another does."""
        with held(self.places.out.parent / "lock") as alone:
            if not alone:
                raise Busy(f"another job copies to {self.url}; wait for its end")
            if self.kept or self.store.read(self._there(self.places.manifest)) is None:  # else that other is done
                for path in (*self._files(), self.places.manifest):
                    self.store.put(path, self._there(path))
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
