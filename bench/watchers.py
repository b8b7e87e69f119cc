"""Consoles held open as browsers hold them: a page and its files, its stream of events, the page anew when it changes.

``python -m bench.watchers URL COUNT``: the first on the home page, the next on an endpoint's, and so on, until it is
ended; then it prints what they did as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from collections import Counter
from urllib.parse import urljoin

import httpx

FILES = re.compile(r'(?:href|src)="(/console/assets/[^"]+)"')
LIVE = re.compile(r'data-live="([^"]*)"')


class Watcher(threading.Thread):
    """One browser's tab."""

    def __init__(self, url: str, counts: Counter[str]) -> None:
        super().__init__(daemon=True)
        self._url, self._counts = url, counts

    def run(self) -> None:
        with httpx.Client(timeout=60) as client:
            page = self._page(client)
            for path in set(FILES.findall(page)):
                client.get(urljoin(self._url, path)).raise_for_status()
                self._counts["files"] += 1
            topics = {topic for told in LIVE.findall(page) for topic in told.split()}
            with client.stream("GET", urljoin(self._url, "/console/events"), timeout=None) as events:
                events.raise_for_status()
                self._counts["streams"] += 1
                kind = ""
                for line in events.iter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: ") and kind == "changed":
                        self._counts["events"] += 1
                        if topics & set(line.removeprefix("data: ").split()):
                            self._page(client)

    def _page(self, client: httpx.Client) -> str:
        answer = client.get(self._url, headers={"accept-encoding": "gzip"})
        answer.raise_for_status()
        self._counts["pages"] += 1
        return answer.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--endpoint", default="w1")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    pages = (f"{asked.url}/console", f"{asked.url}/console/endpoints/{asked.endpoint}")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for number in range(asked.count):
        Watcher(pages[number % 2], counts).start()
    ended.wait()
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
