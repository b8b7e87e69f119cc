"""One target of ``bench.parsers`` under atheris, with the coverage of our code as its guide.

usage: python -m bench.guided TARGET [options of libFuzzer] [CORPUS]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fairlead"], enable_loader_override=False):
    from bench import parsers


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, parsers.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
