"""What every container tool must do, whoever wrote it. Nothing is fetched: images stand on ``scratch``.

::

    @pytest.mark.parametrize("check", container_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_tool(check, tmp_path):
        check(MyTool(), tmp_path)
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fairlead.contracts.containers import Build, ContainerTool, Image, Launch
from fairlead.contracts.errors import ContainerFailed, SourceNotFound

_EPOCH: Final = 315_532_800
_FILE: Final = (
    'FROM scratch\nCOPY data /data\nLABEL dev.fairlead.model="{model}"\nUSER 10001:10001\nCMD ["serve", "x"]\n'
)


def built(
    tool: ContainerTool, folder: Path, model: str = "churn", data: str = "data", platform: str = ""
) -> tuple[str, Image]:
    """An image without anything that runs, under a name of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(_FILE.format(model=model))
    (folder / "data").write_text(data)
    tag = f"localhost/fairlead-suite-{secrets.token_hex(4)}:1"
    return tag, tool.build(Build(folder, tag, _EPOCH, fresh=True, platform=platform))


def an_image_says_what_it_was_built_with(tool: ContainerTool, folder: Path) -> None:
    tag, made = built(tool, folder)
    _expect(made.labels.get("dev.fairlead.model") == "churn", "the label")
    _expect(made.user.startswith("10001"), "the user")
    _expect(made.command == ("serve", "x"), "the command")
    _expect(bool(made.layers) and bool(made.id), "layers and an id")
    _expect(tool.image(tag) == made, "the same when it is looked at later")


def the_same_files_are_the_same_layers(tool: ContainerTool, folder: Path) -> None:
    _, one = built(tool, folder / "a")
    _, other = built(tool, folder / "b")
    _expect(one.layers == other.layers, "the same layers from another folder at another time")


def labels_are_in_no_layer(tool: ContainerTool, folder: Path) -> None:
    _, one = built(tool, folder / "a", model="churn")
    _, other = built(tool, folder / "b", model="fraud")
    _expect(one.layers == other.layers and one.id != other.id, "the same layers, and another image")


def other_files_are_other_layers(tool: ContainerTool, folder: Path) -> None:
    _, one = built(tool, folder / "a")
    _, other = built(tool, folder / "b", data="other")
    _expect(one.layers != other.layers, "other layers")


def an_image_is_for_the_platform_that_was_asked_for(tool: ContainerTool, folder: Path) -> None:
    for platform in ("linux/amd64", "linux/arm64"):
        tag, made = built(tool, folder, platform=platform)
        _expect(made.platform == platform, f"an image for {platform}, not {made.platform!r}")
        _expect(tool.image(tag) == made, "the same when it is looked at later")


def an_image_that_is_not_there_is_named(tool: ContainerTool, folder: Path) -> None:  # noqa: ARG001 - as others
    _raises(SourceNotFound, lambda: tool.image("localhost/fairlead-suite-none:1"), "fairlead-suite-none")


def a_build_that_fails_says_so(tool: ContainerTool, folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    _raises(ContainerFailed, lambda: tool.build(Build(empty, "localhost/fairlead-suite-bad:1", _EPOCH)), "building")


def what_is_not_there_is_removed_without_an_error(tool: ContainerTool, folder: Path) -> None:  # noqa: ARG001
    if tool.runs:
        tool.remove("fairlead-suite-none")


def what_cannot_start_says_so(tool: ContainerTool, folder: Path) -> None:  # noqa: ARG001 - as others
    if tool.runs:
        launch = Launch("localhost/fairlead-suite-none:1", 8080)
        _raises((ContainerFailed, SourceNotFound), lambda: tool.start(launch), "fairlead-suite-none")


def what_a_failed_start_left_is_found_by_its_label_and_removed_by_its_name(tool: ContainerTool, folder: Path) -> None:
    if not tool.runs:
        return
    tag, _ = built(tool, folder)
    name, label = f"fairlead-suite-{secrets.token_hex(4)}", f"dev.fairlead.suite-{secrets.token_hex(4)}"
    with contextlib.suppress(ContainerFailed):  # there is no program in it
        tool.start(Launch(tag, 8080, name=name, labels={label: "one two"}))
    _expect(list(tool.labelled(label).values()) == ["one two"], "the container, with the label's value")
    tool.remove(name)
    _expect(not tool.labelled(label), "nothing after it was removed")


CHECKS: Final = (
    an_image_says_what_it_was_built_with,
    the_same_files_are_the_same_layers,
    labels_are_in_no_layer,
    other_files_are_other_layers,
    an_image_is_for_the_platform_that_was_asked_for,
    an_image_that_is_not_there_is_named,
    a_build_that_fails_says_so,
    what_is_not_there_is_removed_without_an_error,
    what_cannot_start_says_so,
    what_a_failed_start_left_is_found_by_its_label_and_removed_by_its_name,
)


def _raises(kind: Any, act: Callable[[], object], word: str) -> None:
    try:
        act()
    except kind as error:
        _expect(word in str(error), f"an error that says {word!r}")
    else:
        raise AssertionError(f"expected {kind}")


def _expect(held: bool, what: str) -> None:
    if not held:
        raise AssertionError(f"expected {what}")
