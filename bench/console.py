"""The console's bars: first paint of its home and what it transfers, an endpoint over 10 million events, what it costs.

usage: python -m bench.console [--small] [--endpoints 50] [--rounds 5] [--seconds 6] [--only pages,cost]
Pages: a real ``fairlead console`` over 50 endpoints with 30 days of windows (``--small``: 10 and 2), asked over HTTP
and, where Playwright is installed, by headless Chromium; then, once the hours are added up as the controller does it,
30 days again by a console that has just begun, and by the command. Cost: W1 with ``--record``, with five consoles open
and with none, in turns, each turn twice: once in either order. Everything of the server, its console's process too, has
one core; the load and the five have the other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import record, rig, w1
from bench.console_fill import fill
from bench.rig import Entry
from fairlead.kit.config import home
from fairlead.wiring import stores
from fairlead.wiring.summing import Summing

CONSOLES = 5
CONNECTIONS = 16
SETTLE_SECONDS = 1.0
PAUSE_SECONDS = 1.1
"""Longer than a page is remembered."""
FIRST_SECONDS = 60.0
HOURS_IN_A_DAY = 24


def timed(url: str, tries: int) -> dict[str, float]:
    """Milliseconds until the first answer, and of those after it; bytes as they are transferred."""
    milliseconds, size = [], 0
    with httpx.Client(timeout=120) as client:
        while len(milliseconds) <= tries:
            began = time.perf_counter()
            good = False
            while not good:  # 503: the stores take longer than a page waits; the read itself goes on
                with client.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
                    size = sum(len(piece) for piece in answer.iter_raw())
                    good = answer.status_code == 200
                if answer.status_code not in (200, 503):
                    raise SystemExit(f"{url} answers {answer.status_code}")
            milliseconds.append(1000 * (time.perf_counter() - began))
            time.sleep(PAUSE_SECONDS)
    again = milliseconds[1:]
    found = {"first_ms": milliseconds[0], "median_ms": statistics.median(again), "least_ms": min(again)}
    return {name: round(value, 1) for name, value in found.items()} | {"most_ms": round(max(again), 1), "bytes": size}


def painted(url: str, tries: int) -> dict[str, float] | None:
    """First contentful paint in milliseconds and bytes in all, in headless Chromium; None without it."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not everybody has it
    except ModuleNotFoundError:
        return None
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    moved = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    moved += ".reduce((sum, one) => sum + one.transferSize, 0)"
    answered = "performance.getEntriesByType('navigation')[0].responseEnd"
    paints, answers, size = [], [], 0.0
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for number in range(tries + 1):
            page = browser.new_context().new_page()  # nothing of the time before is in its cache
            page.goto(url)
            while page.evaluate(paint) is None:  # the page's policy forbids what waits inside of it
                page.wait_for_timeout(20)
            page.wait_for_timeout(400)
            if number:  # the first starts the browser's own parts, too
                paints.append(page.evaluate(paint))
                answers.append(page.evaluate(answered))
            size = page.evaluate(moved)
            page.context.close()
            time.sleep(PAUSE_SECONDS)
        browser.close()
    found = {"first_paint_ms": statistics.median(paints), "least_ms": min(paints), "most_ms": max(paints)}
    return {name: round(value, 1) for name, value in found.items()} | {
        "of_it_the_answer_ms": round(statistics.median(answers), 1),
        "bytes": size,
    }


@contextmanager
def console(folder: str) -> Iterator[str]:
    words = [sys.executable, "-P", "-m", "fairlead", "console", "--home", folder, "--port", "0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                text += process.stdout.readline()
            yield json.loads(text)["url"]
        finally:
            process.terminate()


def reported(folder: str) -> float:
    """Seconds that ``fairlead monitor drift`` takes over 30 days."""
    words = [sys.executable, "-P", "-m", "fairlead", "monitor", "drift", "endpoint-01", "--since", "30d"]
    began = time.perf_counter()
    done = subprocess.run([*words, "--home", folder, "--json"], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the command failed: {done.stderr[-2000:]}")
    return round(time.perf_counter() - began, 2)


def added(folder: str, endpoints: int, days: int) -> dict[str, float]:
    """All hours of the home, as the controller adds them up, with no pause between its steps."""
    state = stores.state(home(Path(folder)))
    lease = state.acquire("controller", "bench", 3600)
    assert lease is not None
    now, summing, hours, longest = int(time.time() * 1000), Summing(state), 0, 0.0
    began = time.perf_counter()
    while hours < endpoints * (days - 1) * HOURS_IN_A_DAY:
        step = time.perf_counter()
        hours += summing.step(now, lambda: lease)
        longest = max(longest, time.perf_counter() - step)
    took = time.perf_counter() - began
    state.release(lease)
    state.close()
    told = {"hours": hours, "ms_an_hour": 1000 * took / hours, "longest_step_ms": 1000 * longest}
    return {name: round(value, 1) for name, value in told.items()}


def pages(folder: str, endpoints: int, days: int, tries: int) -> dict[str, object]:
    began = time.perf_counter()
    found: dict[str, object] = {"windows": fill(Path(folder), endpoints, days)}
    found["filled_s"] = round(time.perf_counter() - began, 1)
    with console(folder) as url:
        time.sleep(4)  # it opens its stores, whoever comes
        asked = {
            "home": url,
            "endpoint_24h": f"{url}/endpoints/endpoint-00",
            "endpoint_30d": f"{url}/endpoints/endpoint-00?range=30d",
            "drift_24h": f"{url}/endpoints/endpoint-01/drift?range=24h",
            "drift_30d": f"{url}/endpoints/endpoint-01/drift?range=30d",
        }
        for name, page in asked.items():
            found[name] = timed(page, tries)
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
        for name in ("home", "endpoint_24h"):
            found[f"{name}_in_chromium"] = painted(asked[name], tries)
            print(f"{name} in Chromium: {json.dumps(found[f'{name}_in_chromium'])}", file=sys.stderr, flush=True)
    found["command_30d_s"] = reported(folder)
    found["added_up"] = added(folder, endpoints, days)
    found["command_30d_added_up_s"] = reported(folder)
    with console(folder) as url:
        time.sleep(4)
        for name in ("endpoint_30d", "drift_30d"):
            found[f"{name}_added_up"] = timed(asked[name].replace(asked["home"], url), tries)
            print(f"{name}, added up: {json.dumps(found[f'{name}_added_up'])}", file=sys.stderr, flush=True)
    return found


def cost(folder: Path, rounds: int, seconds: float) -> dict[str, object]:
    """Requests a second with the five over those without, of each round, and the share of the server's core that the
    console's process took meanwhile: what it costs at least, which the noise of requests a second hides.
    """
    entry = Entry(record.serve("--record"), record.registered(folder, w1.make(folder), "--record"))
    ratios, runs, seen, shares = [], [], [], []
    with rig.running(entry, rig.readyz) as (port, server, _):
        _load(port, folder, entry, seconds)
        for number in range(rounds):
            found: dict[str, list[float]] = {"none": [], "open": []}
            for name in ("none", "open", "open", "none") if number % 2 else ("open", "none", "none", "open"):
                if name == "none":
                    found[name].append(_load(port, folder, entry, seconds))
                    continue
                with watched(port, seen):
                    process = _console_of(server)
                    spent, began = rig.cpu_seconds(process), time.perf_counter()
                    found[name].append(_load(port, folder, entry, seconds))
                    shares.append((rig.cpu_seconds(process) - spent) / (time.perf_counter() - began))
            ratios.append(sum(found["open"]) / sum(found["none"]))
            runs.append(found)
            print(f"cost round {number + 1}: {ratios[-1]:.3f} {json.dumps(found)}", file=sys.stderr, flush=True)
    middle = statistics.median(ratios)
    told = {"ratio": round(middle, 3), "least": round(min(ratios), 3), "most": round(max(ratios), 3)}
    without = statistics.median(one for run in runs for one in run["none"])
    told |= {"share_of_the_core": round(statistics.median(shares), 4), "most_of_the_core": round(max(shares), 4)}
    return {**told, "requests_per_second_without": round(without), "what_the_consoles_did": seen, "rounds": runs}


def _console_of(server: int) -> int:
    """The process that the server began for its console."""
    for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        if "console" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            return int(child)
    raise SystemExit("the server has begun no console")


def _load(port: int, folder: Path, entry: Entry, seconds: float) -> float:
    time.sleep(SETTLE_SECONDS)
    return rig.load(port, CONNECTIONS, folder, entry, True, "--seconds", str(seconds))["requests_per_second"]


@contextmanager
def watched(port: int, seen: list[dict[str, int]]) -> Iterator[None]:
    """Five consoles are open, each page shown and each stream begun."""
    _shown(port)
    words = [sys.executable, "-m", "bench.watchers", f"http://127.0.0.1:{port}", str(CONSOLES)]
    with subprocess.Popen(rig.pinned(words, rig.LOAD_CORE), stdout=subprocess.PIPE, text=True, cwd=rig.ROOT) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.terminate()
            told = json.loads(process.communicate(timeout=10)[0] or "{}")
        if told.get("streams") != CONSOLES:
            raise SystemExit(f"not all of the {CONSOLES} consoles were open: {told}")
        seen.append(told)


def _shown(port: int) -> None:
    """Wait until the console's process, which the first visit starts, answers."""
    until = time.monotonic() + FIRST_SECONDS
    while time.monotonic() < until:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        link.request("GET", "/console.json")
        if link.getresponse().status == 200:
            return
        time.sleep(0.3)
    raise SystemExit(f"the console has not answered within {FIRST_SECONDS:g} s")


def table(found: dict[str, dict]) -> str:
    rows = []
    if "pages" in found:
        told = found["pages"]
        home = told["home_in_chromium"]
        if home:
            text = f"{home['first_paint_ms']:.0f} ms ({home['least_ms']:.0f}-{home['most_ms']:.0f})"
            rows.append(["first paint of home, Chromium", "300 ms", text])
            rows.append(["transferred by home, all files", "150 kB", f"{home['bytes'] / 1000:.1f} kB"])
        for name, bar in (("home", ""), ("endpoint_24h", "500 ms"), ("endpoint_30d", ""), ("drift_30d", "")):
            one = told[name]
            text = f"{one['median_ms']:.0f} ms ({one['least_ms']:.0f}-{one['most_ms']:.0f}); "
            more = told.get(f"{name}_added_up")
            text += f"{one['first_ms']:.0f} ms the first time"
            text += f", {more['first_ms']:.0f} ms with hours added up" if more else ""
            rows.append([f"{name.replace('_', ', ')}: answer", bar, text])
        text = f"{told['command_30d_s']:g} s; {told['command_30d_added_up_s']:g} s with hours added up"
        rows.append(["monitor drift --since 30d", "", text])
    if "cost" in found:
        one = found["cost"]
        text = f"{one['ratio']:.3f} ({one['least']:.3f}-{one['most']:.3f})"
        rows.append([f"W1 with {CONSOLES} consoles open over none", "0.98", text])
        text = f"{100 * one['share_of_the_core']:.1f} % (at most {100 * one['most_of_the_core']:.1f} %)"
        rows.append(["the console's share of the server's core meanwhile", "2 %", text])
    return rig.markdown(["measure", "bar", "measured"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="for trying: some seconds of everything")
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", default="pages,cost")
    asked = parser.parse_args()
    parts, found = asked.only.split(","), {}
    with tempfile.TemporaryDirectory() as folder:
        if "pages" in parts:
            (Path(folder) / "pages").mkdir()
            endpoints, days, tries = (10, 2, 2) if asked.small else (asked.endpoints, 30, 7)
            found["pages"] = pages(str(Path(folder) / "pages"), endpoints, days, tries)
        if "cost" in parts:
            (Path(folder) / "cost").mkdir()
            rounds, seconds = (1, 1.0) if asked.small else (asked.rounds, asked.seconds)
            found["cost"] = cost(Path(folder) / "cost", rounds, seconds)
    rig.save("console", found)
    print(json.dumps(found, indent=1), table(found), sep="\n\n")


if __name__ == "__main__":
    main()
