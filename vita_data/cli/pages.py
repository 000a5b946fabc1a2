"""`vita-data inspect` and `report`: pages of built sources and training runs."""

import argparse
import os
from pathlib import Path
from urllib.parse import quote

from vita_data.cli.shared import add_verb, write_page
from vita_data.command.arguments import any_folder, local_path, word
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.errors import RequestError


def add_page_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that write pages."""
    inspect = add_verb(
        verbs, "inspect", _inspect, "write a page of a built source: images, instructions, action and state plots"
    )
    inspect.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    inspect.add_argument("--clip", type=word, metavar="KEY", help="show this clip (default: the first few)")
    inspect.add_argument("--html", required=True, type=local_path, metavar="FILE", help="where the page is written")
    add_quiet_flag(inspect)

    report = add_verb(verbs, "report", _report, "write a page of all built sources, their mixture and training runs")
    report.add_argument("folder", type=any_folder, metavar="DIR", help="folder with the built sources")
    report.add_argument(
        "--manifest", type=local_path, metavar="MANIFEST", help="also show this mixture (a file or a name)"
    )
    report.add_argument(
        "--run",
        action="append",
        default=[],
        type=local_path,
        metavar="RUN",
        help="also show this training run (repeatable)",
    )
    report.add_argument(
        "--rollouts",
        action="append",
        default=[],
        type=local_path,
        metavar="DIR",
        help="also show the film and success rates that `vita-eval tabletop | robosuite evaluate` wrote, those of one "
        "task together, or the rates of `vita-eval replay --out` beside them (repeatable)",
    )
    report.add_argument(
        "--view", type=local_path, metavar="DIR", help="also link this viewer, which `vita-data view --html` wrote"
    )
    report.add_argument("--html", required=True, type=local_path, metavar="FILE", help="where the page is written")
    add_quiet_flag(report)


def _inspect(arguments: argparse.Namespace) -> int:
    from vita_data.pages.shards.inspect import inspect_page

    with Progress(f"inspect {arguments.folder.name}", unit="parts", quiet=arguments.quiet) as progress:
        page = inspect_page(arguments.folder, key=arguments.clip, progress=progress)
    return write_page(arguments.html, page)


def _report(arguments: argparse.Namespace) -> int:
    from vita_data.pages.report import report_page

    viewer = _viewer(arguments.view, arguments.html)
    with Progress("report", unit="parts", quiet=arguments.quiet) as progress:
        page = report_page(
            arguments.folder, manifest=arguments.manifest, runs=arguments.run, rollouts=arguments.rollouts,
            viewer=viewer, progress=progress,
        )  # fmt: skip
    return write_page(arguments.html, page)


def _viewer(folder: Path | None, html: Path) -> str | None:
    """Return the address of a viewer as seen from a page, so that both can be moved together.

    Raises:
        RequestError: the folder has no viewer.
    """
    from vita_data.pages.viewer.export import PAGE

    if folder is None:
        return None
    if not (folder / PAGE).is_file():
        raise RequestError(f"--view {folder}: {PAGE} not found; give the folder that `vita-data view --html` wrote")
    return quote(os.path.relpath(folder / PAGE, html.parent))
