"""Who vouched for which bytes. The rule: nothing untrusted is unpickled, and no bundled code runs.

A decision covers a digest: changed bytes are refused again. Decisions on registered versions are kept as a version
tag, so that every machine sees them; decisions on anything else in a file of the home folder.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead.contracts.errors import SourceNotFound, Untrusted, UsageError
from fairlead.contracts.stores import Registry, Version
from fairlead.kit.clock import Clock
from fairlead.kit.config import Home
from fairlead.kit.files import locked, write_whole
from fairlead.package.risks import Risk
from fairlead.package.sources import Found, Source

TAG = "fairlead.trust"
"""The version tag that holds a decision as JSON."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``subject``: what it was called when somebody vouched for it.  ``at_ms``: Unix time, milliseconds."""

    digest: str
    who: str
    why: str
    at_ms: int
    subject: str = ""


class TrustBook:
    """Decisions of the registry and of ``home``. ``registry`` is asked for only when it is needed."""

    def __init__(self, home: Home, registry: Callable[[], Registry], clock: Clock) -> None:
        self._home = home
        self._registry = registry
        self._clock = clock

    def decision(self, found: Found) -> Decision | None:
        """The decision that covers these very bytes."""
        candidates = [_from_tag(found.version), *self._of_files()]
        return next((one for one in candidates if one and found.digest and one.digest == found.digest), None)

    def record(self, found: Found, why: str) -> Decision:
        """Vouch for these bytes. Raises UsageError without a reason."""
        if not why.strip():
            raise UsageError('trusting a model needs a reason; add --why "..."')
        if not found.digest:
            raise UsageError(f"{found.source.uri} is a class on your own Python path; it needs no decision")
        made = Decision(found.digest, self._home.user, why.strip(), self._clock.wall_ms(), found.source.subject)
        if found.version:
            text = json.dumps(asdict(made))
            self._registry().set_tag(found.version.model, found.version.version, TAG, text)
        else:
            self._rewrite(lambda kept: [one for one in kept if one.digest != made.digest] + [made])
        return made

    def revoke(self, found: Found) -> Decision:
        """Take a decision back, and return it. Raises SourceNotFound when there is none."""
        tagged, filed = _from_tag(found.version), [one for one in self._of_files() if one.digest == found.digest]
        if tagged is None and not filed:
            raise SourceNotFound(f"{found.source.handle}: nobody vouched for it, so there is nothing to revoke")
        if found.version and tagged:
            self._registry().delete_tag(found.version.model, found.version.version, TAG)
        if filed:
            self._rewrite(lambda kept: [one for one in kept if one.digest != found.digest])
        return tagged or filed[0]

    def admit(self, found: Found, risks: Sequence[Risk]) -> Decision | None:
        """The decision that lets ``found`` load; None when there are no risks and none was made.

        Raises Untrusted: one sentence with the file, the reason and the one command.
        """
        decision = self.decision(found)
        if decision or not risks:
            return decision
        raise Untrusted(f"{_told(found, risks)}{self._earlier(found)}; {remedy(found.source)}")

    def _earlier(self, found: Found) -> str:
        earlier = _from_tag(found.version) or next(
            (one for one in reversed(self._of_files()) if one.subject == found.source.subject), None
        )
        if earlier is None:
            return ""
        day = datetime.fromtimestamp(earlier.at_ms / 1000, UTC).date().isoformat()
        return f" (what {earlier.who} trusted on {day} were other bytes)"

    def _of_files(self) -> list[Decision]:
        try:
            document = json.loads(self._home.trust.read_bytes())
            return [Decision(**one) for one in document["decisions"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self._home.trust} does not parse ({error}); repair it or move it away") from error

    def _rewrite(self, change: Callable[[list[Decision]], list[Decision]]) -> None:
        path = self._home.trust
        with locked(path.with_name(f"{path.name}.lock")):
            document = {"schema": 1, "decisions": [asdict(one) for one in change(self._of_files())]}
            write_whole(path, json.dumps(document, indent=1).encode() + b"\n")


def _from_tag(version: Version | None) -> Decision | None:
    """A tag that does not parse is no decision."""
    try:
        document: Any = json.loads(version.tags[TAG]) if version else None
        return Decision(**document) if isinstance(document, dict) else None
    except (KeyError, ValueError, TypeError):
        return None


def _told(found: Found, risks: Sequence[Risk]) -> str:
    whole = found.path is not None and found.path.is_file()
    first = (
        f"{found.source.handle} {risks[0].why}" if whole else f"{found.source.handle}: {risks[0].file} {risks[0].why}"
    )
    return first if len(risks) == 1 else f"{first} (and {len(risks) - 1} more)"


def remedy(source: Source) -> str:
    """The one command that decides."""
    if source.path is not None:
        return "if you vouch for it, add --trust-pickle"
    return f'if you vouch for it: `fairlead models trust {shlex.quote(source.handle)} --why "..."`'
