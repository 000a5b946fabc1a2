"""What the verbs of `vita-data` share: parsers, JSON, pages."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.command.arguments import local_path, positive, word
from vita_data.errors import RequestError
from vita_data.installation import MANIFESTS
from vita_data.nearby import near_name

if TYPE_CHECKING:
    from vita_data.builder import WorkerLimits
    from vita_data.types import Source

MANIFEST_HELP = f"TOML file of the mixture, or the name of one that comes with VITA: {', '.join(MANIFESTS.names())}"

RAW_HELP = "folder of the original download, or its address: s3://BUCKET/FOLDER, hf://datasets/ORG/NAME"


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    """Add a verb that `run` carries out."""
    parser = verbs.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
    parser.set_defaults(verb=run)
    return parser


def add_source_arguments(parser: argparse.ArgumentParser, *, metavar: str = "NAME", help_: str) -> None:
    """Add `--source` and `--source-file`, one of which is required."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--source", type=word, metavar=metavar, help=help_)
    which.add_argument(
        "--source-file",
        type=local_path,
        metavar="FILE",
        help="your own source: a Python file as vita_data/sources/README.md describes",
    )


def add_reader_limits(parser: argparse._ActionsContainer) -> None:
    """Add `--deadline` and `--memory-mb`, the limits of a process that reads raw files."""
    parser.add_argument(
        "--deadline",
        type=positive,
        default=60,
        metavar="S",
        help="give up a raw file on which a process works for S seconds without getting an image or episode (default: "
        "60; ten times as long if it waits for a disk or network)",
    )
    parser.add_argument(
        "--memory-mb",
        type=positive,
        default=1500,
        metavar="MB",
        help="memory that reading may take in each process; a raw file that needs more fails (default: 1500)",
    )


def reader_limits(arguments: argparse.Namespace) -> "WorkerLimits":
    """Return the limits that `add_reader_limits` asked for."""
    from vita_data.builder import WorkerLimits

    return WorkerLimits(deadline_s=arguments.deadline, memory_bytes=arguments.memory_mb * 1_000_000)


def load_asked(arguments: argparse.Namespace) -> "Source":
    """Import the source that `add_source_arguments` asked for.

    Raises:
        RequestError: it does not exist, or the file defines no source.
    """
    from vita_data.sources import load, load_own

    return load(arguments.source) if arguments.source_file is None else load_own(str(arguments.source_file))


def add_json_flag(parser: argparse._ActionsContainer) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, sort_keys=True))


def require_folder_of(path: Path) -> None:
    """Refuse a page whose folder does not exist; raises RequestError."""
    if path.is_dir():
        raise RequestError(f"--html {path} is a folder; give the path of the file to write")
    if not path.parent.is_dir():
        raise RequestError(f"--html {path}: the folder {path.parent} does not exist{near_name(path.parent)}")


def write_page(path: Path, page: str) -> int:
    """Write a page, print its path and return exit code 0."""
    require_folder_of(path)
    path.write_text(page, encoding="utf-8")
    print(path)
    return 0
