"""Sessions, readings, drawings, files of others and events of the console."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from pathlib import Path

import pytest

from console_frame import Stamps
from fairlead.console import assets, drawing
from fairlead.console.live import Live
from fairlead.console.reading import Reader
from fairlead.console.sessions import SECONDS, Seal
from fairlead.contracts.errors import NotFound, Refused, Unavailable
from fairlead.kit.clock import SystemClock
from fairlead.testing.clock import ManualClock


def test_a_session_is_ours_or_none() -> None:
    seal, other = Seal(b"a" * 32), Seal(b"b" * 32)
    session = seal.begun("ann", 1000.0)
    cookie = seal.written(session)
    assert seal.read(cookie, 1000.0) == session
    assert seal.read(cookie, 1000.0 + SECONDS) is None
    assert other.read(cookie, 1000.0) is None
    body, _, mark = cookie.partition(".")
    for bad in ("", ".", body, f"{body}x.{mark}", f"{body}.{mark}x", "é.é", "x" * 5000):
        assert seal.read(bad, 1000.0) is None
    assert seal.holds(session, seal.token(session))
    assert not seal.holds(seal.begun("ann", 1000.0), seal.token(session)), "a token is of one session"
    assert seal.token(session) not in cookie


async def test_one_reading_for_all_who_ask_at_once() -> None:
    clock, started, go = ManualClock(), threading.Event(), threading.Event()
    reader, reads = Reader(clock), []

    def slow() -> int:
        reads.append(1)
        started.set()
        go.wait(5)
        return len(reads)

    asking = [asyncio.ensure_future(reader.read("a", slow)) for _ in range(8)]
    while not started.is_set():
        await asyncio.sleep(0.001)
    asking[0].cancel()  # one who leaves takes nothing from the others
    go.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 7
    assert await reader.read("a", slow) == 1
    clock.advance(1.1)
    assert await reader.read("a", slow) == 2
    reader.close()


async def test_a_store_that_hangs_is_told_and_one_that_fails_is_not_asked_by_everybody() -> None:
    clock, go = ManualClock(), threading.Event()
    reader, asked = Reader(clock), []

    def fails() -> None:
        asked.append(1)
        raise NotFound("gone")

    with pytest.raises(Unavailable, match="have not answered"):
        await reader.read("slow", lambda: go.wait(5), 0.01)
    for _ in range(3):
        with pytest.raises(NotFound):
            await reader.read("fails", fails)
    assert len(asked) == 1
    go.set()
    reader.close()


async def test_pages_that_watch_hear_of_what_changed_and_of_trouble() -> None:
    stamps, reader = Stamps(), Reader(SystemClock(), kept=0.0)
    live = Live(stamps, reader, look=0.005, beat=0.05)
    watching = live.watch()
    assert await anext(watching) == b"retry: 3000\n\n"
    await asyncio.sleep(0.02)
    stamps.now["windows"] = "2"
    heard = await anext(watching)
    while heard.startswith(b":"):
        heard = await anext(watching)
    assert heard == b"event: changed\ndata: windows\n\n"

    def down() -> dict[str, str]:
        raise Unavailable("the state store does not answer")

    stamps.stamps = down  # type: ignore[method-assign]
    assert await anext(watching) == b"event: trouble\ndata: unavailable\n\n"
    assert await anext(watching) == b": beat\n\n"
    await watching.aclose()  # type: ignore[attr-defined]
    live.close()
    reader.close()


async def test_only_so_many_watch() -> None:
    reader = Reader(SystemClock())
    live = Live(Stamps(), reader)
    watching = [live.watch() for _ in range(64)]
    for one in watching:
        await anext(one)
    with pytest.raises(Refused):
        await anext(live.watch())
    await watching[0].aclose()  # type: ignore[attr-defined]
    await anext(live.watch())
    live.close()
    reader.close()


def test_files_of_others_are_as_they_came_and_their_licences_are_here() -> None:
    told = (assets.FOLDER / "VENDORED.md").read_text()
    rows = re.findall(r"\| `([^`]+)` \|[^\n]*?\(`([^`]+)`\)[^\n]*\| `([0-9a-f]{64})` \|", told)
    ours = {"console.css", "console.js", "theme.js", "icon.svg"}
    served = {path.name for path in assets.FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg")}
    assert {name for name, _, _ in rows} == served - ours
    for name, licence, digest in rows:
        assert hashlib.sha256((assets.FOLDER / name).read_bytes()).hexdigest() == digest
        assert "Permission" in (assets.FOLDER / licence).read_text()


def test_what_a_page_brings_along_is_small() -> None:
    found = assets.Assets()
    sizes = {name: len(one.packed) for name, one in found._assets.items()}
    assert sum(sizes.values()) < 60_000, sizes


def test_templates_have_no_style_and_no_script_of_their_own() -> None:
    for path in Path(drawing.__file__).parent.joinpath("templates").glob("*.html"):
        text = path.read_text()
        assert " style=" not in text, path.name
        assert not re.search(r"\son[a-z]+=\"", text), path.name
        assert "|safe" not in text, path.name
        assert not re.search(r"<script(?![^>]*(src=|application/json))", text), path.name


def test_drawings_survive_every_number() -> None:
    odd = [None, float("nan"), float("inf"), -1.0, 0.0, 1e300]
    for told in (
        drawing.spark(odd, "<x>"),
        drawing.spark([], "x"),
        drawing.spark([1.0], "x", level=2.0),
        drawing.split([("<a>", 0.9, "1"), ("b", 5.0, "2"), ("c", -1.0, "3")], "x"),
        drawing.histogram([0.5, float("nan")], [0.1, 0.9], ["<b>"], "x"),
        drawing.histogram([], [], [], "x"),
        drawing.interval(None, float("nan"), None, (0.0, 0.0), "x", margin=float("nan")),
        drawing.interval(-1.0, 0.2, 9.0, (-2.0, 2.0), "x", margin=1.0),
        drawing.bars([(0.0, 2.0, "1", "<c>"), (float("nan"), 0.1, "2", "d")], "x"),
    ):
        for word in ("nan", "inf", "<a>", "<b>", "<c>", "<x>", "style"):
            assert word not in told


async def test_what_took_long_is_kept_as_long() -> None:
    clock, reads = ManualClock(), []
    reader = Reader(clock)

    def long() -> int:
        reads.append(1)
        clock.advance(20.0)
        return len(reads)

    assert await reader.read("a", long) == 1
    clock.advance(19.0)  # who was told to try again finds it
    assert await reader.read("a", long) == 1
    clock.advance(2.0)
    assert await reader.read("a", long) == 2
    reader.close()
