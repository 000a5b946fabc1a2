"""The `vita-data` command: its verbs, their arguments, and errors as one line."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.cli.build import add_build_arguments, run_build, run_status
from vita_data.command.arguments import address, any_folder, local_path, positive, setting, word
from vita_data.command.exits import OneLineParser, exit_code, one_line
from vita_data.errors import AGAIN, RESUME, RequestError
from vita_data.storage.files import require_no_file, storage_errors

if TYPE_CHECKING:
    from vita_data.storage.files import AnyPath
    from vita_data.types import Json, Manifest

# Each verb imports what it needs only when it runs, so that `--help` and typos are answered at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vita-data` and return its exit code: 0 done, 1 bad data, 2 bad request."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb

    def run() -> int:
        with storage_errors(getattr(arguments, "folder", "storage")):
            return verb(arguments)

    return exit_code(
        f"vita-data {arguments.name}",
        run,
        interrupted=f"interrupted; {RESUME if arguments.name == 'build' else AGAIN}",
        remedy="fix this and run the same command again",
    )


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog="vita-data", description="Build raw robot and video datasets into shards, check them and mix them."
    )
    verbs = parser.add_subparsers(dest="name", required=True, metavar="VERB")

    build = _verb(verbs, "build", run_build, "build a raw dataset into shards with index, card and statistics")
    add_build_arguments(build)
    _json_flag(build)

    status = _verb(verbs, "status", run_status, "show the progress of a build")
    status.add_argument(
        "folder", type=any_folder, metavar="DIR/NAME", help="folder of the build: --out plus source name"
    )
    _json_flag(status)

    _probe_verb(verbs)
    toy = _verb(verbs, "toy", _toy, "write small synthetic raw datasets in their real on-disk layout")
    toy.add_argument("--source", required=True, type=word, metavar="NAME|all", help="source to write, or all of them")
    toy.add_argument(
        "--raw", required=True, type=local_path, metavar="DIR", help="where NAME/ is written; use DIR/NAME as --raw"
    )

    sources = _verb(
        verbs,
        "sources",
        _sources,
        "list the sources with rate, cameras, actions and licence; with NAME also its raw layout and settings",
    )
    sources.add_argument("source", nargs="?", type=word, metavar="NAME", help="show all details of this source")
    _json_flag(sources)

    _mix_verb(verbs)

    stats = _verb(verbs, "stats", _stats, "recompute the normalization statistics of a built source")
    stats.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    _json_flag(stats)

    verify = _verb(verbs, "verify", _verify, "check every shard against its index and checksums")
    verify.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    _json_flag(verify)

    _page_verbs(verbs)
    return parser


def _mix_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = (
        "check a manifest against built shards; print each source's windows, weight, share and repeats per 100k steps "
        "for every stage, and compare the shares with the paper's Table 10"
    )
    mix = _verb(verbs, "mix", _mix, summary)
    mix.add_argument("manifest", type=local_path, metavar="MANIFEST", help="TOML file of the mixture")
    mix.add_argument(
        "--shards",
        required=True,
        type=any_folder,
        metavar="DIR",
        help="folder with the built sources; NAME.lock.json is written there if it is writable",
    )
    mix.add_argument(
        "--basis",
        choices=("weight", "frames", "windows"),
        help="what shares are computed from (default: the manifest's)",
    )
    mix.add_argument(
        "--batch-size", type=positive, metavar="N", help="global batch size for counting repeats (default: 1024)"
    )
    _json_flag(mix)


def _page_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = _verb(
        verbs, "inspect", _inspect, "write a page of a built source: images, instructions, action and state plots"
    )
    inspect.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    inspect.add_argument("--clip", type=word, metavar="KEY", help="show this clip (default: the first few)")
    inspect.add_argument("--html", required=True, type=local_path, metavar="FILE", help="where the page is written")

    report = _verb(verbs, "report", _report, "write a page of all built sources, their mixture and training runs")
    report.add_argument("folder", type=any_folder, metavar="DIR", help="folder with the built sources")
    report.add_argument("--manifest", type=local_path, metavar="MANIFEST", help="also show this mixture")
    report.add_argument(
        "--run",
        action="append",
        default=[],
        type=local_path,
        metavar="RUN",
        help="also show this training run (repeatable)",
    )
    report.add_argument("--html", required=True, type=local_path, metavar="FILE", help="where the page is written")


def _probe_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    probe = _verb(
        verbs, "probe", _probe, "check raw data against the assumptions of its source; exit with 1 if one fails"
    )
    probe.add_argument(
        "--source", required=True, type=word, metavar="NAME", help="source to read (see `vita-data sources`)"
    )
    probe.add_argument(
        "--raw",
        required=True,
        type=address,
        metavar="DIR",
        help="folder or URL of the original download",
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
    _json_flag(probe)


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
    parser.set_defaults(verb=run)
    return parser


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, sort_keys=True))


def _probe(arguments: argparse.Namespace) -> int:
    from vita_data.config.settings import parse_settings
    from vita_data.probe import DEFAULT_LIMIT, probe, probe_page
    from vita_data.sources import load

    source = load(arguments.source)
    settings = parse_settings(source.Settings, arguments.set, source=arguments.source)
    if arguments.html is not None:
        _require_folder_of(arguments.html)
    probed = probe(source, arguments.raw, settings, limit=arguments.limit or DEFAULT_LIMIT)
    if arguments.html is not None:
        arguments.html.write_text(probe_page(probed), encoding="utf-8")
    if arguments.json:
        _print_json(probed.report.as_json())
    else:
        print("\n".join(probed.report.lines()))
        print(arguments.html or "no page was written; add --html FILE for one with contact sheets and tables")
    for result in probed.report.failed:
        print(f"vita-data probe: {arguments.source}: {result.line}", file=sys.stderr)
    return 1 if probed.report.failed else 0


def _toy(arguments: argparse.Namespace) -> int:
    from vita_data import sources
    from vita_data.nearby_raw import holds_raw

    names = sources.names() if arguments.source == "all" else [arguments.source]
    loaded = [sources.load(name) for name in names]
    require_no_file(arguments.raw, "--raw")
    for name in names:
        folder = arguments.raw / name
        if folder.exists() and any(folder.iterdir()):
            raise RequestError(f"{folder} is not empty; give a new folder")
    for name, source in zip(names, loaded, strict=True):
        if arguments.raw.is_dir() and holds_raw(source, str(arguments.raw)):
            raise RequestError(f"--raw {arguments.raw} already contains raw data of {name!r}; give a new folder")
    for name, source in zip(names, loaded, strict=True):
        folder = arguments.raw / name
        folder.mkdir(parents=True, exist_ok=True)
        source.write_toy(str(folder))
        print(folder)
    return 0


def _sources(arguments: argparse.Namespace) -> int:
    from vita_data import sources
    from vita_data.config.settings import describe_settings

    described: list[Json] = []
    for name in [arguments.source] if arguments.source else sources.names():
        source = sources.load(name)
        described.append({**asdict(source.INFO), "settings": describe_settings(source.Settings)})
    if arguments.json:
        _print_json(described)
        return 0
    if arguments.source:
        print("\n".join(_source_lines(described[0])))
        return 0
    rows = [["source", "hz", "modality", "cameras", "actions", "licence", "passing on", "access"]]
    for name in sources.names():
        info = sources.load(name).INFO
        rows.append(
            [
                name,
                "per file" if info.hz is None else f"{info.hz:g}",
                info.modality,
                " ".join(sorted(info.cameras)),
                info.action_origin or "none",
                info.licence,
                "allowed" if info.redistributable else "forbidden",
                info.access,
            ]
        )
    _print_table(rows)
    return 0


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


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _mix(arguments: argparse.Namespace) -> int:
    from vita_data.loader.mixture.report import BATCH_SIZE, mix
    from vita_data.loader.mixture.text import mix_text
    from vita_data.manifest import load_manifest
    from vita_data.types import Basis

    basis = None if arguments.basis is None else Basis(arguments.basis)
    batch_size = arguments.batch_size or BATCH_SIZE
    manifest = load_manifest(arguments.manifest)
    report = mix(manifest, arguments.shards, basis=basis, batch_size=batch_size)
    if arguments.json:
        _print_json(report.as_json())
    else:
        print(mix_text(report))
        print("".join(_limit_notes(manifest, arguments.shards)), end="")
    try:
        lock = report.write_lock(arguments.shards)
    except RequestError as error:
        # Shards are often on a read-only mount or in someone else's bucket; the requested table is printed anyway.
        print(f"vita-data mix: note: {one_line(str(error))}", file=sys.stderr)
        return 0
    if not arguments.json:
        print(f"lock file: {lock}")
    return 0


def _limit_notes(manifest: "Manifest", shards: "AnyPath") -> "Iterator[str]":
    from vita_data.shards.index import read_card

    for name in sorted({entry.source for entry in manifest.entries}):
        if (limit := read_card(shards / name).get("limit")) is not None:
            yield f"note: {name} is limited to its first {limit} raw episodes (--limit {limit})\n"


def _stats(arguments: argparse.Namespace) -> int:
    from vita_data.shards.stats import STATS, write_stats

    stats = write_stats(arguments.folder)
    if arguments.json:
        _print_json(stats.as_json())
    else:
        print(arguments.folder / STATS)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from vita_data.shards.verify import verify

    report = verify(arguments.folder)
    if arguments.json:
        _print_json(asdict(report))
    else:
        print(
            f"{report.source}: {report.num_shards} shards, {report.num_clips} clips, {report.num_members} members, "
            f"{len(report.problems)} problem{'' if len(report.problems) == 1 else 's'}"
        )
    for problem in report.problems:
        print(f"vita-data verify: {problem}", file=sys.stderr)
    return 1 if report.problems else 0


def _inspect(arguments: argparse.Namespace) -> int:
    from vita_data.pages.shards.inspect import inspect_page

    return _write_page(arguments.html, inspect_page(arguments.folder, key=arguments.clip))


def _report(arguments: argparse.Namespace) -> int:
    from vita_data.pages.report import report_page

    page = report_page(arguments.folder, manifest=arguments.manifest, runs=arguments.run)
    return _write_page(arguments.html, page)


def _require_folder_of(path: Path) -> None:
    if path.is_dir():
        raise RequestError(f"--html {path} is a folder; give the path of the file to write")
    if not path.parent.is_dir():
        raise RequestError(f"--html {path}: the folder {path.parent} does not exist")


def _write_page(path: Path, page: str) -> int:
    _require_folder_of(path)
    path.write_text(page, encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
