"""Alerts for others: the body that Alertmanager posts to webhooks (version 4), and a line for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead.monitor.alerts import Alert

_NO_END = "0001-01-01T00:00:00Z"


def body(
    alerts: Sequence[Alert], *, receiver: str = "fairlead", external_url: str = "", at_most: int = 100
) -> dict[str, Any]:
    """One group of alerts, as JSON values. More than ``at_most`` are left out and counted in ``truncatedAlerts``."""
    labels = [alert.all_labels for alert in alerts]
    grouped = _common(labels, ("alertname", "endpoint"))
    key = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(grouped.items()))
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{key}}}",
        "truncatedAlerts": max(0, len(alerts) - at_most),
        "status": "firing" if any(alert.status == "firing" for alert in alerts) else "resolved",
        "receiver": receiver,
        "groupLabels": grouped,
        "commonLabels": _common(labels),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": external_url,
        "alerts": [_one(alert, external_url) for alert in alerts[:at_most]],
    }


def _one(alert: Alert, external_url: str) -> dict[str, Any]:
    return {
        "status": alert.status,
        "labels": alert.all_labels,
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_ms),
        "endsAt": rfc3339(alert.ends_ms) if alert.ends_ms else _NO_END,
        "generatorURL": external_url,
        "fingerprint": alert.fingerprint,
    }


def fields(alert: Alert) -> dict[str, Any]:
    """Keys and values of one structured log line."""
    return {
        "alert": alert.name,
        "status": alert.status,
        "severity": alert.severity,
        "endpoint": alert.endpoint,
        "value": alert.value,
        "since": rfc3339(alert.starts_ms),
        "fingerprint": alert.fingerprint,
        "summary": alert.annotations.get("summary", ""),
    }


def rfc3339(at_ms: int) -> str:
    """Unix ms as ``2026-01-31T08:30:00.000Z``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _common(maps: Sequence[Mapping[str, str]], names: Sequence[str] | None = None) -> dict[str, str]:
    if not maps:
        return {}
    first = maps[0]
    wanted = first if names is None else [name for name in names if name in first]
    return {name: first[name] for name in wanted if all(one.get(name) == first[name] for one in maps)}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
