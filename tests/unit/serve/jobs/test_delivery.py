"""Output that goes to a place on no disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import Busy
from fairlead.contracts.tables import Layout
from fairlead.kit.files import held
from fairlead.serve.jobs.checkpoint import Manifest, Totals, write_manifest
from fairlead.serve.jobs.columns import Chosen
from fairlead.serve.jobs.delivery import Delivery
from fairlead.serve.jobs.messages import Job


class Shelf:
    """A place in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, url: str) -> bytes | None:
        return self.files.get(url)

    def taken(self, url: str) -> bool:
        return any(name == url or name.startswith(f"{url}/") for name in self.files)

    def put(self, path: Path, url: str) -> None:
        self.files[url] = path.read_bytes()


def test_output_is_copied_by_one_at_a_time(tmp_path: Path) -> None:
    place = Shelf()
    delivery = Delivery.of("shelf://a/out.csv/", "csv", tmp_path, lambda _: place)
    assert delivery is not None
    assert not delivery.places.single  # a folder, as the slash at its end says
    delivery.places.out.mkdir(parents=True)
    (delivery.places.out / "part-00000.csv").write_text("1")
    job = Job("m", "1", "d", 1, "csv", "csv", Chosen((), {}), Layout(()), "", "")
    write_manifest(delivery.places.manifest, Manifest((), "m", "1", "d", {}, job, Totals()))
    with held(delivery.places.out.parent / "lock"), pytest.raises(Busy, match="another job copies to shelf://a/out"):
        delivery.deliver()
    delivery.deliver()
    assert [*place.files] == ["shelf://a/out.csv/part-00000.csv", "shelf://a/out.csv/_manifest.json"]
    delivery.deliver()  # who came second finds it done, and leaves nothing
    assert list(tmp_path.glob("*/lock")) == []
