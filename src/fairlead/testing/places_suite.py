"""What every place must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", places_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_place(check, tmp_path):
        check(MyPlace(), "mine://somewhere/new", tmp_path)

The URL is of a folder that is not there.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.contracts.places import Place

BYTES = bytes(range(256)) * 40_000
"""More than one write of any library."""


def nothing_is_there_at_first(place: Place, url: str, folder: Path) -> None:  # noqa: ARG001 - as the others
    _expect(not place.taken(url), "a place of nothing is free")
    _expect(place.read(f"{url}/none.json") is None, "a file that is not there is None")


def what_was_put_is_read(place: Place, url: str, folder: Path) -> None:
    (folder / "file").write_bytes(BYTES)
    place.put(folder / "file", f"{url}/one/file.bin")
    _expect(place.read(f"{url}/one/file.bin") == BYTES, "the bytes come back")
    _expect(place.taken(url) and place.taken(f"{url}/one/file.bin"), "it is taken, the folder and the file")


def another_replaces_it(place: Place, url: str, folder: Path) -> None:
    for data in (b"before", b""):
        (folder / "file").write_bytes(data)
        place.put(folder / "file", f"{url}/file")
    _expect(place.read(f"{url}/file") == b"", "the last one holds, empty too")


def neighbours_are_not_taken(place: Place, url: str, folder: Path) -> None:
    (folder / "file").write_bytes(b"x")
    place.put(folder / "file", f"{url}-more/file")
    _expect(not place.taken(url), "a name that only begins alike is another")


CHECKS = (nothing_is_there_at_first, what_was_put_is_read, another_replaces_it, neighbours_are_not_taken)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
