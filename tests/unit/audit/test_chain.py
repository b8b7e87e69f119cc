"""A chain survives whoever writes to it: killed processes, full disks, others at the same time, age."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairlead.audit import chain as chains_module
from fairlead.audit import segments as segments_module
from fairlead.audit.chain import Chain, opened
from fairlead.audit.entry import GAP, RECOVERED, RETENTION, Noted, Seal, stamp
from fairlead.audit.heads import StoredHeads
from fairlead.audit.reading import between
from fairlead.audit.segments import chains
from fairlead.audit.verify import verify
from fairlead.contracts.audit import Audited
from fairlead.testing.state import MemoryState

DAY = 86_400_000
NOW = 1_790_000_000_000
ACT = Audited("local:ann", "keys.create", detail={"key": "k1"})


def put(folder: Path, count: int = 1, at_ms: int = NOW) -> str:
    chain = opened(folder, Seal())
    chain.append([Noted(ACT, at_ms)] * count)
    chain.close()
    return chain.name


def actions(folder: Path) -> list[str]:
    return [line.action for _, line in between(folder)]


def test_commands_one_after_the_other_share_a_chain_and_those_at_once_do_not(tmp_path: Path) -> None:
    first = put(tmp_path)
    assert put(tmp_path) == first
    holding = opened(tmp_path, Seal())
    assert put(tmp_path) != first
    holding.close()
    assert len(chains(tmp_path)) == 2
    assert len(list(between(tmp_path))) == 3
    assert not verify(tmp_path, Seal()).findings


def test_many_threads_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda: [put(tmp_path) for _ in range(5)]) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = verify(tmp_path, Seal())
    assert (found.entries, found.findings) == (30, [])


KILLED = """
import os, sys
from pathlib import Path
from fairlead.audit.chain import opened
from fairlead.audit.entry import Noted, Seal
from fairlead.contracts.audit import Audited
chain = opened(Path(sys.argv[1]), Seal())
chain.append([Noted(Audited("a", "b"), 1_790_000_000_000)])
real = os.write
def half(file, data):
    real(file, bytes(data)[: len(data) // 2])
    os.kill(os.getpid(), 9)
os.write = half
chain.append([Noted(Audited("a", "lost"), 1_790_000_000_000)])
"""


def test_the_torn_end_of_a_killed_process_is_explained(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -9
    found = verify(tmp_path, Seal())
    assert not found.findings
    assert any("was killed" in note for note in found.notes)
    put(tmp_path)
    assert actions(tmp_path) == ["b", RECOVERED, "keys.create"]
    found = verify(tmp_path, Seal())
    assert not found.findings
    assert any("torn, as the entry after it says" in note for note in found.notes)
    (path,) = tmp_path.glob("*.jsonl")
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert verify(tmp_path, Seal()).findings, place


def test_a_torn_first_line_too(tmp_path: Path) -> None:
    name = put(tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:40])
    assert put(tmp_path) == name
    assert actions(tmp_path) == [RECOVERED, "keys.create"]
    assert not verify(tmp_path, Seal()).findings


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = opened(tmp_path, Seal())
    chain.append([Noted(ACT, NOW)])
    (path,) = tmp_path.glob("*.jsonl")
    before, real = path.read_bytes(), os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[:100])

    monkeypatch.setattr(chains_module.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        chain.append([Noted(ACT, NOW)] * 3)
    assert path.read_bytes() == before
    monkeypatch.setattr(chains_module.os, "write", real)
    chain.append([Noted(Audited("fairlead", GAP), NOW)])
    chain.close()
    assert actions(tmp_path) == ["keys.create", GAP]
    assert not verify(tmp_path, Seal()).findings


def test_a_changed_end_is_left_and_another_chain_begun(tmp_path: Path) -> None:
    first = put(tmp_path, 2)
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"local:ann", b"local:bob"))
    assert put(tmp_path) != first
    (finding,) = verify(tmp_path, Seal()).findings
    assert (finding.file, finding.line) == (path.name, 1)


def test_each_day_has_its_own_segment_and_old_ones_go(tmp_path: Path) -> None:
    heads = StoredHeads(MemoryState())
    for day in range(10):
        put(tmp_path, 2, NOW + day * DAY)
    chain = opened(tmp_path, Seal(), heads)
    assert len(chains(tmp_path)[chain.name]) == 10
    assert chain.retain(3.5, NOW + 9 * DAY) == 6
    assert chain.retain(3.5, NOW + 9 * DAY) == 0
    chain.anchor(heads, NOW)
    chain.close()
    assert len(chains(tmp_path)[chain.name]) == 4
    assert verify(tmp_path, Seal(), heads).findings == []
    told = [line for _, line in between(tmp_path) if line.action == RETENTION]
    assert [line.detail["through"] for line in told] == [12]
    first = chains(tmp_path)[chain.name][0].path
    first.unlink()
    (finding,) = verify(tmp_path, Seal(), heads).findings
    assert "no entry drops them" in finding.what
    assert opened_again(tmp_path, heads).retain(3.5, NOW + 30 * DAY) == 3


def opened_again(folder: Path, heads: StoredHeads) -> Chain:
    return opened(folder, Seal(), heads)


def test_a_chain_that_rests_loses_its_last_segment_too(tmp_path: Path) -> None:
    put(tmp_path, 3)
    chain = opened(tmp_path, Seal())
    assert chain.retain(1, NOW + 30 * DAY) == 1
    chain.close()
    assert actions(tmp_path) == [RETENTION]
    assert not verify(tmp_path, Seal()).findings


def test_strange_texts_stay_one_line(tmp_path: Path) -> None:
    chain = opened(tmp_path, Seal())
    for text in ("a\nb", "\udcff", "x" * 1000, '"},{"', "\x00", "é\u2028"):
        chain.append([Noted(Audited(text, text, text, text, text, text, {text: text}), NOW)])
    chain.close()
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert len(json.loads(lines[2])["actor"]) == 257
    assert not verify(tmp_path, Seal()).findings


def test_files_of_other_days_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(6):
        for hour in (0, 7, 20):
            put(tmp_path, at_ms=NOW + day * DAY + hour * 3_600_000)
    whole = [line for _, line in between(tmp_path)]
    assert len(whole) == 18
    (segments,) = chains(tmp_path).values()
    assert len(segments) > 5
    read: list[Path] = []

    def counted(segment: segments_module.Segment) -> bytes:
        read.append(segment.path)
        return segment.path.read_bytes()

    monkeypatch.setattr(segments_module, "bytes_of", counted)
    for start in range(NOW - DAY, NOW + 8 * DAY, DAY // 5):
        for length in (1, DAY // 3, 2 * DAY):
            read.clear()
            found = [line for _, line in between(tmp_path, start, start + length)]
            assert found == [one for one in whole if stamp(start) <= one.at < stamp(start + length)]
            assert len(read) <= -(-length // DAY) + 2, "those of the days asked for, and one that may reach into them"
    read.clear()
    assert [line for _, line in between(tmp_path, NOW + 100 * DAY)] == []
    assert read == [segments[-1].path], "the last may still grow"
