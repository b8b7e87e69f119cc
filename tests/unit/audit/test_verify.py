"""Whatever is done to a log is found, and where."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.audit.chain import opened
from fairlead.audit.entry import Noted, Seal
from fairlead.audit.heads import StoredHeads
from fairlead.audit.segments import chains
from fairlead.audit.verify import Verified, verify
from fairlead.contracts.audit import Audited
from fairlead.contracts.errors import UsageError
from fairlead.testing.state import MemoryState

DAY = 86_400_000
NOW = 1_790_000_000_000
KEY = Seal(b"k" * 32)
PLAIN = Seal()


def write(folder: Path, heads: StoredHeads | None, count: int, at_ms: int = NOW, seal: Seal = PLAIN) -> str:
    chain = opened(folder, seal, heads)
    for number in range(count):
        chain.append([Noted(Audited("local:ann", "rollout.pause", "churn", detail={"n": number}), at_ms)])
    if heads is not None:
        chain.anchor(heads, at_ms)
    chain.close()
    return chain.name


@pytest.fixture
def heads() -> StoredHeads:
    return StoredHeads(MemoryState())


@pytest.fixture
def file(tmp_path: Path, heads: StoredHeads) -> Path:
    """A log of one chain and six entries."""
    name = write(tmp_path, heads, 6)
    return chains(tmp_path)[name][0].path


def looked(file: Path, heads: StoredHeads | None, seal: Seal = PLAIN) -> Verified:
    return verify(file.parent, seal, heads)


def test_a_log_as_it_was_written_is_fine(file: Path, heads: StoredHeads) -> None:
    found = looked(file, heads)
    assert (found.chains, found.entries, found.findings, found.notes) == (1, 6, [], [])


@pytest.mark.parametrize("kept", [True, False], ids=["heads", "no heads"])
def test_every_flipped_byte_is_found(file: Path, heads: StoredHeads, kept: bool) -> None:
    data = file.read_bytes()
    lines = [at for at, byte in enumerate(data) if byte == 10]
    for place in range(len(data)):
        file.write_bytes(
            data[:place] + bytes([data[place] ^ random.Random(place).randrange(1, 256)]) + data[place + 1 :]
        )
        findings = looked(file, heads if kept else None).findings
        assert len(findings) == 1, place
        assert findings[0].line == sum(at < place for at in lines) + 1, place
    file.write_bytes(data)
    assert not looked(file, heads).findings


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str]] = {
    "removed": (lambda lines: lines[:2] + lines[3:], 3, "entry 3 is missing"),
    "two removed": (lambda lines: lines[:2] + lines[4:], 3, "entries 3 to 4 are missing"),
    "the first removed": (lambda lines: lines[1:], 1, "entries 1 to 1 before it are missing"),
    "the last removed": (lambda lines: lines[:-1], 6, "entry 6 is missing at the end"),
    "all removed": (lambda _: [], 1, "entries 1 to 6 are missing at the end"),
    "doubled": (lambda lines: lines[:3] + lines[2:], 4, "entry 3 stands where entry 4 is expected"),
    "swapped": (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], 2, "reordered"),
    "blank line": (lambda lines: [*lines[:2], b"\n", *lines[2:]], 3, "edited"),
    "free text": (lambda lines: [*lines[:2], b"hello\n", *lines[2:]], 3, "edited"),
    "cut short": (lambda lines: [*lines[:-1], lines[-1][:-9]], 6, "entry 6 is missing at the end"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_lines_is_found(file: Path, heads: StoredHeads, change: str) -> None:
    edit, line, words = CHANGES[change]
    file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))
    (finding,) = looked(file, heads).findings
    assert (finding.file, finding.line) == (file.name, line)
    assert words in finding.what


def test_an_entry_written_anew_with_its_digest_is_found(file: Path, heads: StoredHeads) -> None:
    """Who knows how digests are made must write all that follows anew, and then the head is another one."""
    lines = file.read_bytes().splitlines(keepends=True)
    body = lines[2].partition(b',"hash":"')[0].replace(b"local:ann", b"local:bob")
    lines[2] = body + b',"hash":"' + Seal().of(body).encode() + b'"}\n'
    file.write_bytes(b"".join(lines))
    (finding,) = looked(file, heads).findings
    assert (finding.line, "does not follow" in finding.what) == (4, True)
    file.unlink()
    write(file.parent, None, 6)
    rewritten = next(iter(chains(file.parent).values()))[0].path
    assert rewritten.name != file.name
    assert [one.what for one in looked(file, heads).findings] == ["the file is gone: 6 entries of it were kept"]


def test_a_whole_chain_written_anew_is_found_by_its_head(tmp_path: Path, heads: StoredHeads) -> None:
    name = write(tmp_path, heads, 3)
    path = chains(tmp_path)[name][0].path
    path.write_bytes(b"")
    write(tmp_path, None, 5, NOW + 1)
    assert chains(tmp_path)[name][0].path.stat().st_size > 0
    (finding,) = verify(tmp_path, Seal(), heads).findings
    assert (finding.line, finding.what) == (3, "the chain was written anew: entry 3 is not the one that was")
    assert not verify(tmp_path, Seal(), None).findings


def test_a_file_that_is_gone_is_found(tmp_path: Path, heads: StoredHeads) -> None:
    for day in range(4):
        name = write(tmp_path, heads, 2, NOW + day * DAY)
    files = [segment.path for segment in chains(tmp_path)[name]]
    assert len(files) == 4
    assert not verify(tmp_path, Seal(), heads).findings
    for path, words in (
        (files[0], "entries 1 to 2 before it are missing"),
        (files[1], "the file is gone"),
        (files[3], "missing at the end"),
    ):
        data = path.read_bytes()
        path.unlink()
        (finding,) = verify(tmp_path, Seal(), heads).findings
        assert words in finding.what
        path.write_bytes(data)
    (tmp_path / "0000.jsonl").write_text("{}\n")
    assert [one.file for one in verify(tmp_path, Seal(), heads).findings] == ["0000.jsonl"]


def test_who_goes_on_with_a_log_that_was_cut_leaves_the_proof(file: Path, heads: StoredHeads) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]))
    write(file.parent, heads, 3)
    found = looked(file, heads)
    assert found.chains == 2
    assert [one.what for one in found.findings] == ["entries 5 to 6 are missing at the end"]


def test_who_could_not_ask_for_the_head_does_not_overwrite_it(file: Path, heads: StoredHeads) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]))
    chain = opened(file.parent, Seal(), None)
    chain.append([Noted(Audited("local:ann", "x"), NOW)] * 4)
    assert "has lost entries" in chain.anchor(heads, NOW)
    chain.close()
    assert "written anew" in looked(file, heads).findings[0].what


def test_a_sealed_log_needs_its_key(tmp_path: Path, heads: StoredHeads) -> None:
    write(tmp_path, heads, 2, seal=KEY)
    assert verify(tmp_path, KEY, heads).keyed == 2
    for seal, words in ((Seal(), "name it"), (Seal(b"x" * 32), "another key")):
        with pytest.raises(UsageError, match=words):
            verify(tmp_path, seal, heads)
    write(tmp_path, heads, 2)  # a command without the key has a chain of its own
    assert (verify(tmp_path, KEY, heads).chains, verify(tmp_path, KEY, heads).findings) == (2, [])


def test_a_forged_end_of_a_sealed_log_is_found(tmp_path: Path, heads: StoredHeads) -> None:
    name = write(tmp_path, heads, 2, seal=KEY)
    path = chains(tmp_path)[name][0].path
    lines = path.read_bytes().splitlines(keepends=True)
    body = lines[1].partition(b',"hash":"')[0]
    path.write_bytes(lines[0] + body + b',"hash":"' + Seal().of(body).encode() + b'"}\n')
    assert "not sealed" in verify(tmp_path, KEY, heads).findings[0].what
    with pytest.raises(UsageError, match="16 at least"):
        Seal(b"short")


def test_a_log_that_was_never_begun_is_fine(tmp_path: Path, heads: StoredHeads) -> None:
    found = verify(tmp_path / "audit", Seal(), heads)
    assert (found.chains, found.entries, found.findings) == (0, 0, [])
