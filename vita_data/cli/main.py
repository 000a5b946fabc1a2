"""The `vita-data` command: its verbs, their arguments, and errors as one line."""

import argparse
import sys
from collections.abc import Callable, Sequence

from vita_data.cli.build import add_build_arguments, run_build, run_status
from vita_data.cli.episodes import add_episodes_verb
from vita_data.cli.export import add_export_verbs
from vita_data.cli.merge import add_merge_verb
from vita_data.cli.new_source import add_new_source_verb
from vita_data.cli.pages import add_page_verbs
from vita_data.cli.raw import add_raw_verbs
from vita_data.cli.shards import add_shard_verbs
from vita_data.cli.shared import add_json_flag, add_verb
from vita_data.cli.view import add_view_verb
from vita_data.command.arguments import any_folder
from vita_data.command.exits import OneLineParser, exit_code
from vita_data.errors import AGAIN, RESUME
from vita_data.storage.files import storage_errors

# Each verb imports what it needs only when it runs, so that `--help` and typos are answered at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vita-data` and return its exit code: 0 done, 1 bad data, 2 bad request."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb

    def run() -> int:
        with storage_errors(getattr(arguments, "folder", "storage")):
            return verb(arguments)

    return exit_code(
        f"vita-data {arguments.verb_name}",
        run,
        interrupted=f"interrupted; {RESUME if arguments.verb_name == 'build' else AGAIN}",
        remedy="fix this and run the same command again",
    )


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog="vita-data", description="Build raw robot and video datasets into shards, check them and mix them."
    )
    verbs = parser.add_subparsers(dest="verb_name", required=True, metavar="VERB")

    build = add_verb(verbs, "build", run_build, "build a raw dataset into shards with index, card and statistics")
    add_build_arguments(build)
    add_json_flag(build)

    status = add_verb(verbs, "status", run_status, "show the progress of a build")
    status.add_argument(
        "folder", type=any_folder, metavar="DIR/NAME", help="folder of the build: --out plus source name"
    )
    add_json_flag(status)

    add_raw_verbs(verbs)
    add_new_source_verb(verbs)
    add_shard_verbs(verbs)
    add_episodes_verb(verbs)
    add_merge_verb(verbs)
    add_page_verbs(verbs)
    add_view_verb(verbs)
    add_export_verbs(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
