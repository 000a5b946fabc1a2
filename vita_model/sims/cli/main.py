"""The command `vita-eval`: evaluate policies in simulation, record demonstrations, print result tables."""

import argparse
import sys
from collections.abc import Callable, Sequence

from vita_data.command.exits import OneLineParser, exit_code
from vita_model.sims.cli import benchmarks as cli_benchmarks
from vita_model.sims.cli import replay as cli_replay
from vita_model.sims.cli import scripted as cli_scripted

_Command = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed policy or Ctrl-C, 2 invalid request."""
    arguments = _parser().parse_args(argv)
    command: _Command = arguments.command
    return exit_code("vita-eval", lambda: command(arguments), interrupted="interrupted")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog="vita-eval",
        description="Evaluate a policy in simulation. Simulators must be installed already; nothing is downloaded.",
    )
    verbs = parser.add_subparsers(required=True, metavar="BENCHMARK")
    cli_scripted.add(verbs)
    cli_benchmarks.add(verbs)
    cli_replay.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
