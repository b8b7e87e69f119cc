"""The console's bars: first paint of its home, what it transfers, an endpoint over 10 million events.

``python -m bench.console``: windows of 50 endpoints over 30 days (one hot, 10 million calls in its last day), a real
``fairlead console`` on them, and headless Chromium where Playwright is installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from fairlead.contracts.events import Window
from fairlead.kit.config import home
from fairlead.monitor.latency import Latency
from fairlead.wiring import stores

MINUTE = 60_000
ENDPOINTS, DAYS = 50, 30
EVENTS = 10_000_000


def fill(root: Path, endpoints: int, days: int) -> int:
    """Windows of a minute of each endpoint; how many."""
    state, rng = stores.state(home(root)), np.random.default_rng(7)
    now = int(time.time() * 1000) // MINUTE * MINUTE
    latencies = [Latency.of(0.004 * np.exp(rng.normal(0, 0.6, 4000))).to_bytes() for _ in range(64)]
    count = 0
    for number in range(endpoints):
        calls = EVENTS // 1440 if number == 0 else int(rng.integers(20, 2000))
        some = []
        for place in range(days * 1440):
            start = now - (days * 1440 - place) * MINUTE
            codes = {"": calls - 1, "deadline_exceeded": 1}
            latency = latencies[place % len(latencies)]
            name = f"endpoint-{number:02d}"
            some.append(Window(name, "1", "champion", "w", start, MINUTE, calls, calls, codes, latency, {}))
            if len(some) == 20_000:
                state.put_windows(some)
                count, some = count + len(some), []
        state.put_windows(some)
        count += len(some)
    return count


def timed(url: str, tries: int = 7) -> tuple[float, float, int]:
    """Seconds of the first and of the median request that is read anew, and bytes as they are transferred."""
    seconds, size = [], 0
    with httpx.Client(timeout=60) as client:
        for _ in range(tries):
            began = time.perf_counter()
            with client.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
                size = sum(len(piece) for piece in answer.iter_raw())
            seconds.append(time.perf_counter() - began)
            time.sleep(1.1)
    return seconds[0], statistics.median(seconds[1:]), size


def painted(url: str) -> dict[str, float] | None:
    """First contentful paint in milliseconds and bytes in all, in headless Chromium; None without it."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not everybody has it
    except ModuleNotFoundError:
        return None
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    moved = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    moved += ".reduce((sum, one) => sum + one.transferSize, 0)"
    found = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        size = 0.0
        for _ in range(5):
            page = browser.new_page()
            page.goto(url)
            page.wait_for_timeout(600)
            found.append(page.evaluate(paint))
            size = page.evaluate(moved)
            page.close()
            time.sleep(1.1)
        browser.close()
    return {"first_paint_ms": statistics.median(found), "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=ENDPOINTS)
    parser.add_argument("--days", type=int, default=DAYS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        windows = fill(Path(folder), asked.endpoints, asked.days)
        filled = time.perf_counter() - began
        words = [sys.executable, "-P", "-m", "fairlead", "console", "--home", folder, "--port", "0", "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                text = ""
                while not text.endswith("\n}\n"):
                    text += process.stdout.readline()
                url = json.loads(text)["url"]
                time.sleep(4)
                result: dict[str, object] = {"windows": windows, "filled_s": round(filled, 1)}
                pages = {"home": url, "endpoint_24h": f"{url}/endpoints/endpoint-00"}
                pages["endpoint_30d"] = f"{url}/endpoints/endpoint-00?range=30d"
                for name, page in pages.items():
                    first, median, size = timed(page)
                    told = {"first_ms": round(1000 * first, 1), "median_ms": round(1000 * median, 1), "bytes": size}
                    result[name] = told
                result["home_browser"] = painted(url)
                result["endpoint_browser"] = painted(pages["endpoint_24h"])
            finally:
                process.terminate()
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
