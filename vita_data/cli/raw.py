"""`vita-data probe`, `toy` and `sources`: raw datasets and what is known of them."""

import argparse
import sys
from dataclasses import asdict
from filecmp import cmp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vita_data.cli.shared import (
    RAW_HELP,
    add_json_flag,
    add_reader_limits,
    add_source_arguments,
    add_verb,
    load_asked,
    print_json,
    reader_limits,
    require_folder_of,
)
from vita_data.command.arguments import address, local_path, positive, setting, word
from vita_data.command.exits import one_line, printable
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.command.tables import text_table
from vita_data.errors import RequestError
from vita_data.storage.files import require_no_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vita_data.probe.apart import ProbeRequest
    from vita_data.types import Json, Source


def add_raw_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that need no shards."""
    _probe_verb(verbs)
    toy = add_verb(verbs, "toy", _toy, "write small synthetic raw datasets in their real on-disk layout")
    add_source_arguments(toy, metavar="NAME|all", help_="source to write, or all that come with VITA")
    toy.add_argument(
        "--raw",
        required=True,
        type=local_path,
        metavar="DIR",
        help="where NAME/ is written, unless it is there already; use DIR/NAME as --raw",
    )

    sources = add_verb(
        verbs,
        "sources",
        _sources,
        "list the sources, also those of installed packages, with rate, cameras, actions and licence; with NAME also "
        "its raw layout and settings",
    )
    sources.add_argument("source", nargs="?", type=word, metavar="NAME", help="show all details of this source")
    sources.add_argument("--source-file", type=local_path, metavar="FILE", help="show all details of your own source")
    add_json_flag(sources)


def _probe_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    probe = add_verb(
        verbs, "probe", _probe, "check raw data against the assumptions of its source; exit with 1 if one fails"
    )
    add_source_arguments(probe, help_="source to read (see `vita-data sources`)")
    probe.add_argument(
        "--raw",
        required=True,
        type=address,
        metavar="DIR",
        help=RAW_HELP,
    )
    probe.add_argument(
        "--html", type=local_path, metavar="FILE", help="write a page with contact sheets, tables and examples"
    )
    probe.add_argument("--limit", type=positive, metavar="N", help="number of raw episodes to check (default: 50)")
    probe.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=VALUE",
        help="change a setting of the source (repeatable; see `vita-data sources NAME`)",
    )
    add_reader_limits(probe)
    add_json_flag(probe)
    add_quiet_flag(probe)


def _probe(arguments: argparse.Namespace) -> int:
    from vita_data.probe.apart import probe_apart

    request = _probe_request(arguments)
    if arguments.html is not None:
        require_folder_of(arguments.html)
    with Progress(f"probe {request.source}", unit="episodes", quiet=arguments.quiet) as progress:
        answer = probe_apart(request, reader_limits(arguments), progress)
    report = answer.report
    if arguments.html is not None:
        arguments.html.write_text(answer.page, encoding="utf-8")
    if arguments.json:
        print_json(report.as_json())
    else:
        print("\n".join(map(printable, report.lines())))
        print(arguments.html or "no page was written; add --html FILE for one with contact sheets and tables")
    for result in report.failed:
        print(f"vita-data probe: {request.source}: {one_line(result.line)}", file=sys.stderr)
    return 1 if report.failed else 0


def _probe_request(arguments: argparse.Namespace) -> "ProbeRequest":
    from vita_data.config.settings import parse_settings, settings_json
    from vita_data.probe import DEFAULT_LIMIT
    from vita_data.probe.apart import ProbeRequest

    source = load_asked(arguments)
    settings = parse_settings(source.Settings, arguments.set, source=source.INFO.name)
    return ProbeRequest(
        source=source.INFO.name,
        source_file="" if arguments.source_file is None else str(arguments.source_file.absolute()),
        raw=arguments.raw,
        settings=settings_json(settings),
        limit=arguments.limit or DEFAULT_LIMIT,
        with_page=arguments.html is not None,
    )


def _toy(arguments: argparse.Namespace) -> int:
    from vita_data import sources
    from vita_data.nearby_raw import holds_raw

    loaded = [sources.load(name) for name in sources.names()] if arguments.source == "all" else [load_asked(arguments)]
    names = [source.INFO.name for source in loaded]
    require_no_file(arguments.raw, "--raw")
    written = [name for name, source in zip(names, loaded, strict=True) if _has_toy(source, arguments.raw / name)]
    for name, source in zip(names, loaded, strict=True):
        if name not in written and arguments.raw.is_dir() and holds_raw(source, str(arguments.raw)):
            raise RequestError(f"--raw {arguments.raw} already contains raw data of {name!r}; give a new folder")
    for name, source in zip(names, loaded, strict=True):
        folder = arguments.raw / name
        if name in written:
            print(f"vita-data toy: {folder} already contains this toy; nothing was written", file=sys.stderr)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            source.write_toy(str(folder))
        print(folder)
    return 0


def _has_toy(source: "Source", folder: Path) -> bool:
    """Tell whether a folder contains the toy of a source; False if it is empty or missing.

    Raises:
        RequestError: it contains something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return False
    with TemporaryDirectory(prefix="vita-toy-") as scratch:
        source.write_toy(scratch)
        if _is_copy(folder, Path(scratch)):
            return True
    raise RequestError(f"{folder} is not empty, and what it contains is not this toy; give a new folder")


def _is_copy(folder: Path, toy: Path) -> bool:
    """Tell whether two trees have the same files; stops at the first other one, since a download may be huge."""
    left = {path.relative_to(toy) for path in toy.rglob("*") if path.is_file()}
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        name = path.relative_to(folder)
        if name not in left or not cmp(path, toy / name, shallow=False):
            return False
        left.remove(name)
    return not left


def _sources(arguments: argparse.Namespace) -> int:
    if arguments.source and arguments.source_file is not None:
        raise RequestError("give NAME or --source-file, not both")
    is_one = bool(arguments.source) or arguments.source_file is not None
    loaded, faults = ([load_asked(arguments)], []) if is_one else _load_all()
    if arguments.json:
        print_json([_described(source) for source in loaded])
    elif is_one:
        print("\n".join(_source_lines(_described(loaded[0]))))
    else:
        print("\n".join(text_table(_source_table(loaded), "l")))
    for fault in faults:
        print(f"vita-data sources: {one_line(str(fault))}", file=sys.stderr)
    return 1 if faults else 0


def _load_all() -> tuple[list["Source"], list[RequestError]]:
    """Load the sources of this package and of installed ones, and collect what is wrong with the latter."""
    from vita_data import sources

    loaded, faults = [sources.load(name) for name in sources.names()], []
    for name in sources.added_names():
        try:
            loaded.append(sources.load(name))
        except RequestError as error:
            faults.append(error)
    return loaded, faults


def _described(source: "Source") -> "Json":
    from vita_data.config.settings import describe_settings

    return {**asdict(source.INFO), "settings": describe_settings(source.Settings)}


def _source_table(loaded: "Sequence[Source]") -> list[list[str]]:
    rows = [["source", "hz", "modality", "cameras", "actions", "licence", "passing on", "access"]]
    for source in loaded:
        info = source.INFO
        rows.append(
            [
                info.name,
                "per file" if info.hz is None else f"{info.hz:g}",
                info.modality,
                " ".join(sorted(info.cameras)),
                info.action_origin or "none",
                info.licence,
                "allowed" if info.redistributable else "forbidden",
                info.access,
            ]
        )
    return rows


def _source_lines(described: "Json") -> list[str]:
    """Format one source for people: one line per fact, then one line per setting."""
    lines: list[str] = []
    for key, value in described.items():
        if key == "settings" and isinstance(value, dict):
            lines.append("settings:")
            lines += [f"  {name}={_plain(one['default'])}  ({one['type']})" for name, one in value.items()]
        elif isinstance(value, dict):
            lines.append(f"{key}: " + ", ".join(f"{name} {one}" for name, one in value.items()))
        elif isinstance(value, list | tuple):
            lines += [f"{key}:", *(f"  {one}" for one in value)]
        else:
            lines.append(f"{key}: {_plain(value)}")
    return lines


def _plain(value: object) -> str:
    return "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
