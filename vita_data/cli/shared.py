"""What the verbs of `vita-data` share: parsers, JSON, pages."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.installation import MANIFESTS

MANIFEST_HELP = f"TOML file of the mixture, or the name of one that comes with VITA: {', '.join(MANIFESTS.names())}"


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


def add_json_flag(parser: argparse.ArgumentParser) -> None:
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
        raise RequestError(f"--html {path}: the folder {path.parent} does not exist")


def write_page(path: Path, page: str) -> int:
    """Write a page, print its path and return exit code 0."""
    require_folder_of(path)
    path.write_text(page, encoding="utf-8")
    print(path)
    return 0
