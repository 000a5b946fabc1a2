"""Options that several verbs of `vita-eval` share."""

import argparse
import tempfile
from pathlib import Path

from vita_data.command.arguments import address, local_path, positive, word
from vita_data.errors import RequestError


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the policy and the folder for results."""
    parser.add_argument(
        "--policy",
        type=address,
        required=True,
        metavar="POLICY",
        help="policy to evaluate: ws://HOST:PORT of vita-serve, a run folder, or `random`",
    )
    parser.add_argument(
        "--source",
        type=word,
        metavar="NAME",
        help="source whose statistics scale states and actions; required if the checkpoint has several",
    )
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="folder for results")


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add whether an interrupted evaluation goes on."""
    parser.add_argument("--resume", action="store_true", help="continue an interrupted evaluation in DIR")


def add_replan(parser: argparse.ArgumentParser) -> None:
    """Add how much of a chunk is carried out.

    Assumes: 5, as openpi's LIBERO client does; the paper does not say.
    """
    parser.add_argument(
        "--replan-steps",
        type=positive,
        default=5,
        metavar="N",
        help="actions executed from each chunk before replanning (default: 5)",
    )


def make_results_folder(folder: Path) -> None:
    """Make the folder of `--out` before hours are spent on what goes into it.

    Raises:
        RequestError: it cannot be made, or not be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise RequestError(f"--out {folder}: expected a writable folder ({fault.strerror})") from fault
