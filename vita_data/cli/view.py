"""`vita-data view`: built sources in a browser, from a folder of files or from a server."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.cli.shared import add_reader_limits, add_verb, reader_limits
from vita_data.command.arguments import address, any_folder, local_path, port, positive
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.errors import RequestError
from vita_data.nearby import near_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vita_data.pages.viewer.files import ViewerFiles
    from vita_data.storage.files import AnyPath

_PORT = 8010
_NUM_CLIPS = 50


def add_view_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    summary = (
        "look at built sources in a browser: search and sort clips, play their cameras over action and state plots, "
        "see what was dropped and why"
    )
    view = add_verb(verbs, "view", _view, summary)
    view.add_argument(
        "folders",
        nargs="+",
        type=any_folder,
        metavar="SHARDS",
        help="folder of a built source, or folder with several",
    )
    where = view.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--html", type=local_path, metavar="DIR", help="write a folder whose index.html opens without a server"
    )
    where.add_argument(
        "--serve", action="store_true", help="serve to browsers of this machine and read clips on demand"
    )
    view.add_argument("--port", type=port, metavar="N", help=f"port of --serve (default: {_PORT}; 0: any free port)")
    view.add_argument(
        "--num-clips",
        type=positive,
        metavar="N",
        help=f"with --html, write the first N clips of each source (default: {_NUM_CLIPS}); the list has all",
    )
    view.add_argument(
        "--raw",
        type=address,
        metavar="DIR",
        help="original download of the source (with several: folder with NAME/ for each), to show pictures of "
        "episodes that were not stored",
    )
    view.add_argument(
        "--source-file",
        action="append",
        default=[],
        type=local_path,
        metavar="FILE",
        help="Python file of your own source, to read its --raw (repeatable)",
    )
    add_reader_limits(view)
    add_quiet_flag(view)


def _view(arguments: argparse.Namespace) -> int:
    from vita_data.pages.viewer.files import ViewerFiles
    from vita_data.sources import load_own

    if arguments.html is None and arguments.num_clips is not None:
        raise RequestError("--num-clips needs --html; --serve shows all clips")
    if not arguments.serve and arguments.port is not None:
        raise RequestError("--port needs --serve")
    if arguments.source_file and arguments.raw is None:
        raise RequestError("--source-file needs --raw; without a download no source is read")
    folders = _built(arguments.folders)
    raws = _raws(arguments.raw, folders)
    own = {load_own(str(file)).INFO.name: str(file.absolute()) for file in arguments.source_file}
    limits = reader_limits(arguments)
    if arguments.serve:
        with closing(ViewerFiles(folders, raws=raws, own=own, limits=limits)) as files:
            return _serve(files, _PORT if arguments.port is None else arguments.port)
    from vita_data.pages.viewer.export import export, require_free

    require_free(arguments.html)
    num_written = arguments.num_clips or _NUM_CLIPS
    with (
        closing(ViewerFiles(folders, raws=raws, own=own, limits=limits, num_written=num_written)) as files,
        Progress("view", unit="files", quiet=arguments.quiet) as progress,
    ):
        page = export(files, arguments.html, progress)
    print(page)
    return 0


def _built(given: "Sequence[AnyPath]") -> "list[AnyPath]":
    """List the built sources of all folders; raises RequestError if two have a name, which addresses begin with."""
    from vita_data.pages.shards.built import built_at
    from vita_data.shards.index import read_card, source_name

    found: dict[str, AnyPath] = {}
    for folder in (one for each in given for one in built_at(each)):
        name = source_name(read_card(folder))
        if found.setdefault(name, folder) != folder:
            raise RequestError(f"{found[name]} and {folder} both hold the source {name}; give one of them")
    return list(found.values())


def _serve(files: "ViewerFiles", number: int) -> int:
    from vita_data.pages.viewer.server import ViewerServer

    with ViewerServer(files, number) as server:
        print(f"{server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def _raws(raw: str | None, folders: "Sequence[AnyPath]") -> "Mapping[str, str]":
    """Return the download of each source, by name."""
    from vita_data.shards.index import read_card, source_name
    from vita_data.storage.files import open_path

    if raw is None:
        return {}
    if "://" not in raw and not Path(raw).exists():
        raise RequestError(f"--raw {raw}: the folder does not exist{near_name(Path(raw))}")
    names = [source_name(read_card(folder)) for folder in folders]
    if len(names) == 1:
        return {names[0]: raw}
    found = {name: f"{raw.rstrip('/')}/{name}" for name in names if (open_path(raw) / name).is_dir()}
    if not found:
        raise RequestError(f"--raw {raw}: expected a folder for each source, such as {names[0]}; found none")
    return found
