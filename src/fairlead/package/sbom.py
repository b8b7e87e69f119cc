"""A CycloneDX 1.6 bill of materials of an image: libraries with digests, licences and who needs whom, and the model.

Nothing in it depends on when or where it was made (https://cyclonedx.org/docs/1.6/json/).
"""

from __future__ import annotations

import email
import json
import re
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

from fairlead.package.image import Facts
from fairlead.package.lock import WHEELS, Wheel

FILE = "sbom.cdx.json"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
_KNOWN = ("MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "ISC", "MPL-2.0", "PSF-2.0", "Unlicense", "0BSD", "Zlib")


def document(facts: Facts, context: Path, wheels: Sequence[Wheel], tag: str) -> dict[str, Any]:
    """``context``: where the wheels lie.  ``tag``: name of the image."""
    said = {one.name: _metadata(context / WHEELS / one.file) for one in wheels}
    found = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": tag, "name": tag},
            "tools": {"components": [{"type": "application", "name": "fairlead", "version": facts.fairlead}]},
        },
        "components": [
            {"type": "container", "bom-ref": str(facts.base), "name": facts.base.name, **_hashed(facts.base.digest)},
            _model(facts),
            *(_library(one, said[one.name]) for one in wheels),
        ],
        "dependencies": _dependencies(facts, wheels, said, tag),
    }
    found["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(found, sort_keys=True)).urn
    return found


def _model(facts: Facts) -> dict[str, Any]:
    lineage = [{"name": f"fairlead:{name}", "value": value} for name, value in sorted(facts.lineage.items()) if value]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": facts.lineage.get("model", facts.endpoint),
        "version": facts.lineage.get("model.version", ""),
        **_hashed(facts.lineage.get("model.digest", "")),
        "properties": [{"name": "fairlead:runtime", "value": facts.runtime}, *lineage],
    }


def _library(one: Wheel, said: Message) -> dict[str, Any]:
    found = {
        "type": "library",
        "bom-ref": _url(one),
        "name": one.name,
        "version": one.version,
        "purl": _url(one),
        "hashes": [{"alg": "SHA-256", "content": one.sha256}],
    }
    licence = _licence(said)
    return {**found, "licenses": [licence]} if licence else found


def _licence(said: Message) -> dict[str, Any] | None:
    """The expression, else the one identifier or name that the package gives; a whole text is no name."""
    if expression := said.get("License-Expression"):
        return {"expression": str(expression).strip()}
    text = str(said.get("License") or "").strip()
    if text in _KNOWN:
        return {"license": {"id": text}}
    if text and len(text) < 80 and "\n" not in text:
        return {"license": {"name": text}}
    told = next((one for one in said.get_all("Classifier") or () if one.startswith("License :: ")), "")
    return {"license": {"name": told.rpartition(" :: ")[2]}} if told else None


def _dependencies(facts: Facts, wheels: Sequence[Wheel], said: Mapping[str, Message], tag: str) -> list[dict[str, Any]]:
    """Who asks for whom, of what is here; what only an extra asks for is left out."""
    refs = {one.name: _url(one) for one in wheels}
    asked = {tag: sorted({str(facts.base), "model", *(refs[name] for name in ("fairlead",) if name in refs)})}
    for one in wheels:
        needs = {_spelled(line) for line in said[one.name].get_all("Requires-Dist") or () if "extra ==" not in line}
        asked[_url(one)] = sorted(refs[name] for name in needs if name in refs and name != one.name)
    return [{"ref": ref, "dependsOn": needs} for ref, needs in asked.items()]


def _hashed(digest: str) -> dict[str, Any]:
    bare = digest.removeprefix("sha256:")
    return {"hashes": [{"alg": "SHA-256", "content": bare}]} if bare else {}


def _url(one: Wheel) -> str:
    """A package URL (https://github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{one.name}@{one.version.replace('+', '%2B')}"


def _spelled(line: str) -> str:
    found = _SPDX.match(line.replace("_", "-"))
    return re.sub(r"[-.]+", "-", found[0]).lower() if found else ""


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))
