"""What of a spec must reach into the container: files of this machine, and secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.document import Path
from fairlead.kit.spec.read import SpecFile
from fairlead.package.sources import Kind, parse
from fairlead.wiring import contained, mentions
from fairlead.wiring.compose.asked import WORK

_SECRETS: Final = "/run/secrets/"


@dataclass
class Inside:
    """``variables``: environment variable to where the spec names it.  ``files``: path on this machine to path in the
    container and where it is named.  ``secrets``: name of a file under /run/secrets to where it is named."""

    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)


def found(file: SpecFile) -> Inside:
    """Raises UsageError for what cannot be brought in."""
    inside = Inside()
    document = file.spec.model_dump(mode="json", exclude_unset=True)
    for path, where, text, secrets in contained.told(file, document, inside.variables):
        _look(file, inside, path, where, text, secrets)
    return inside


def _look(file: SpecFile, inside: Inside, path: Path, where: str, text: str, secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        name = secret.removeprefix(_SECRETS)
        if not secret.startswith(_SECRETS) or "/" in name:
            raise UsageError(
                f"{where} is a secret in a file, which compose puts under {_SECRETS}; name it "
                f"file:{_SECRETS}NAME, or env:NAME"
            )
        inside.secrets.setdefault(name, where)
    if local := _local(file, path, text):
        target = local if local.startswith("/") else f"{WORK}/{local.removeprefix('./')}"
        if ".." in local.split("/"):
            raise UsageError(f"{where} is {text}, outside of the folder of the spec; put it beside the spec")
        if ":" in local:
            raise UsageError(f"{where} is {text}, and compose takes no colon in the name of a file; name it otherwise")
        source = local if local.startswith(("/", "./")) else f"./{local}"
        inside.files.setdefault(source, (target, where))


def _local(file: SpecFile, path: Path, text: str) -> str:
    """The file or folder of this machine that a field names; empty: none."""
    if "://" in text:
        return ""
    if mentions.fits(path, mentions.MODEL) and text and parse(text).kind is Kind.CLASS:
        raise UsageError(
            f"{file.at(*path)} is a class of yours, which no image has; log it as an MLflow model, and name that"
        )
    known = mentions.fits(path, mentions.MODEL) or mentions.fits(path, mentions.LLM)
    absolute = text if text.startswith("/") and len(text) > 1 and not known else ""
    return contained.local(file, path, text) or absolute
