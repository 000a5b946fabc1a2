"""`python -m vita_model train | serve | eval` are the commands `vita-train`, `vita-serve` and `vita-eval`."""

import sys
from collections.abc import Sequence
from importlib import import_module

_COMMANDS = {"train": "vita_model.cli", "serve": "vita_model.serving.cli", "eval": "vita_model.sims.cli.main"}
"""Modules with a function `main(arguments) -> exit code`; only the one that is asked for is imported."""
_USAGE = "usage: python -m vita_model {train,serve,eval} ARGUMENTS; each has its own --help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns its exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    command = given[0] if given else ""
    if command in ("-h", "--help"):
        print(_USAGE)
        return 0
    if command not in _COMMANDS:
        print(f"vita_model: expected train, serve or eval, got {command!r}; {_USAGE}", file=sys.stderr)
        return 2
    code: int = import_module(_COMMANDS[command]).main(given[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
