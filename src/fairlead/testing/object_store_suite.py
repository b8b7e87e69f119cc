"""What every object store must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", object_store_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_store(check, tmp_path):
        check(MyStore(), "mine://somewhere/new", tmp_path)

The URL is of a folder that is not there.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.contracts.object_store import ObjectStore

BYTES = bytes(range(256)) * 40_000
"""More than one write of any library."""


def nothing_is_there_at_first(store: ObjectStore, url: str, folder: Path) -> None:  # noqa: ARG001 - as the others
    _expect(not store.taken(url), "where nothing is is free")
    _expect(store.read(f"{url}/none.json") is None, "a file that is not there is None")


def what_was_put_is_read(store: ObjectStore, url: str, folder: Path) -> None:
    (folder / "file").write_bytes(BYTES)
    store.put(folder / "file", f"{url}/one/file.bin")
    _expect(store.read(f"{url}/one/file.bin") == BYTES, "the bytes come back")
    _expect(store.taken(url) and store.taken(f"{url}/one/file.bin"), "it is taken, the folder and the file")


def another_replaces_it(store: ObjectStore, url: str, folder: Path) -> None:
    for data in (b"before", b""):
        (folder / "file").write_bytes(data)
        store.put(folder / "file", f"{url}/file")
    _expect(store.read(f"{url}/file") == b"", "the last one holds, empty too")


def neighbours_are_not_taken(store: ObjectStore, url: str, folder: Path) -> None:
    (folder / "file").write_bytes(b"x")
    store.put(folder / "file", f"{url}-more/file")
    _expect(not store.taken(url), "a name that only begins alike is another")


CHECKS = (nothing_is_there_at_first, what_was_put_is_read, another_replaces_it, neighbours_are_not_taken)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
