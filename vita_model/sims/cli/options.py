"""Options shared by several verbs of `vita-eval`."""

import argparse
import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vita_data.command.arguments import address, local_path, not_negative, positive, word
from vita_data.errors import RequestError
from vita_model.policy.chunks import Execution
from vita_model.policy.interfaces import Policy
from vita_model.policy.opener import load_policy
from vita_model.sims.results.delays import Delay
from vita_model.sims.results.journal import Place
from vita_model.sims.results.workers import Workers


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the options for the policy and the results folder."""
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
    """Add the option to continue an interrupted evaluation."""
    parser.add_argument("--resume", action="store_true", help="continue an interrupted evaluation in DIR")


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options that change how episodes are run, not what they are."""
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N",
        help="processes that share the episodes, each with its own simulator; a run folder is loaded by each, so "
        "better give them a server (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--video", action="store_true", help="write a film of each episode and a page of all to DIR/videos (slower)"
    )


def add_replan(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of executed actions per chunk.

    Assumes: 5, as in openpi's LIBERO client; the paper gives no value.
    """
    parser.add_argument(
        "--replan-steps",
        type=positive,
        default=5,
        metavar="N",
        help="actions executed from each chunk before replanning (default: 5)",
    )


def add_timing(parser: argparse.ArgumentParser) -> None:
    """Add the options for the time that the policy takes."""
    parser.add_argument(
        "--latency-ms", type=not_negative, default=0, metavar="MS",
        help="simulated time from a request to the policy's answer, in whole control steps (default: 0, the simulator "
        "waits)",
    )  # fmt: skip
    parser.add_argument(
        "--execution", type=Execution, choices=list(Execution), default=Execution.SYNCHRONOUS,
        help="whether the robot stands still until the answer, or runs on with the chunk that it has (default: "
        "synchronous)",
    )  # fmt: skip


def delay_of(arguments: argparse.Namespace) -> Delay:
    """Read the options of `add_timing`."""
    return Delay(latency_ms=arguments.latency_ms, execution=arguments.execution)


def open_policy(arguments: argparse.Namespace, convention: str) -> Policy:
    """Open the policy of `add_policy` in this process; raises as `load_policy`."""
    return load_policy(arguments.policy, convention=convention, source=arguments.source)


def workers_of(arguments: argparse.Namespace, convention: str) -> Workers | None:
    """Read the processes of `add_running`; None: this one is enough."""
    if arguments.workers == 1:
        return None
    opener = functools.partial(load_policy, arguments.policy, convention=convention, source=arguments.source)
    return Workers(number=arguments.workers, open_policy=opener)


def is_done(place: Place) -> bool:
    """Tell whether `--resume` finds a finished evaluation, and say so.

    Raises:
        RequestError: there is a finished evaluation, and no `--resume`; it is never replaced.
    """
    if place.is_taken:
        raise RequestError(f"--out: {place.result} holds the result of an earlier evaluation; choose another folder")
    if place.is_done:
        print(f"{place.result} is complete; choose another folder to evaluate again", flush=True)
    return place.is_done


@contextlib.contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """Create the folder of `--out` before a long evaluation; if that fails, remove what was created and is empty.

    Raises:
        RequestError: the folder cannot be created or is not writable.
    """
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise RequestError(f"--out {folder}: expected a writable folder ({fault.strerror})") from fault
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # results of the episodes so far stay
            for one in created:
                one.rmdir()
        raise
