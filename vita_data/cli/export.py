"""`vita-data export` and `push`: a built source as a LeRobot dataset or as Parquet, and its upload to the hub."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from vita_data.cli.shared import add_json_flag, add_verb, print_json
from vita_data.command.arguments import any_folder, local_folder, local_path, word
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.errors import RequestError

if TYPE_CHECKING:
    from vita_data.export.opened import ExportRequest, ExportResult

_LEROBOT, _PARQUET = "lerobot", "parquet"
_CODECS = ("h264", "av1")


def add_export_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    export = add_verb(
        verbs, "export", _export, "write a built source as a LeRobot dataset (v3.0) or as Parquet with one row a clip"
    )
    export.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    export.add_argument(
        "--format",
        required=True,
        choices=(_LEROBOT, _PARQUET),
        help="lerobot needs a build with --frames all; parquet takes any",
    )
    export.add_argument("--out", required=True, type=local_path, metavar="DIR", help="new folder for the export")
    export.add_argument("--split", choices=("train", "val"), help="export this split only (default: both)")
    export.add_argument(
        "--codec", choices=_CODECS, help=f"codec of the videos of a LeRobot dataset (default: {_CODECS[0]})"
    )
    export.add_argument(
        "--in-house",
        action="store_true",
        help="the export is not passed on; needed if the licence forbids passing the data on",
    )
    add_json_flag(export)
    add_quiet_flag(export)

    push = add_verb(
        verbs, "push", _push, "upload an export with its card to a dataset repository of the Hugging Face hub"
    )
    push.add_argument("folder", type=local_folder, metavar="DIR", help="folder that `vita-data export --out` wrote")
    push.add_argument("repo", type=word, metavar="ORG/NAME", help="the repository, which is created if it is missing")
    push.add_argument("--private", action="store_true", help="create the repository as a private one")
    push.add_argument(
        "--in-house",
        action="store_true",
        help="all who can read the private repository are in house; needed if the licence forbids passing the data on",
    )
    add_quiet_flag(push)


def _export(arguments: argparse.Namespace) -> int:
    from vita_data.export.opened import ExportRequest
    from vita_data.types import Split

    if arguments.codec is not None and arguments.format != _LEROBOT:
        raise RequestError(f"--codec needs --format {_LEROBOT}; Parquet keeps the stored JPEG images")
    request = ExportRequest(
        folder=arguments.folder,
        out=arguments.out,
        splits=tuple(Split) if arguments.split is None else (Split(arguments.split),),
        in_house=arguments.in_house,
    )
    with Progress(f"export {arguments.folder.name}", unit="clips", quiet=arguments.quiet) as progress:
        result = _run(request, arguments, progress)
    if arguments.json:
        print_json(asdict(result))
    else:
        print(f"{result.folder}: {result.num_episodes} episodes, {result.num_rows} rows")
        print("".join(f"  {note}\n" for note in result.notes), end="")
    return 0


def _run(request: "ExportRequest", arguments: argparse.Namespace, progress: Progress) -> "ExportResult":
    if arguments.format == _PARQUET:
        from vita_data.export.parquet import export_parquet

        return export_parquet(request, progress=progress)
    from vita_data.export.lerobot.dataset import export_lerobot

    return export_lerobot(request, codec=arguments.codec or _CODECS[0], progress=progress)


def _push(arguments: argparse.Namespace) -> int:
    from vita_data.export.push import PushRequest, push

    request = PushRequest(
        folder=arguments.folder,
        repo=arguments.repo,
        private=arguments.private,
        in_house=arguments.in_house,
        quiet=arguments.quiet,
    )
    print(push(request))
    return 0
