"""`vita-data mix`, `stats` and `verify`: built sources and their mixture."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from vita_data.cli.shared import MANIFEST_HELP, add_json_flag, add_verb, print_json
from vita_data.command.arguments import any_folder, local_path, positive
from vita_data.command.exits import one_line
from vita_data.command.progress import BYTES, Progress, add_quiet_flag
from vita_data.errors import RequestError, ShardError

if TYPE_CHECKING:
    from vita_data.shards.verify import VerifyReport
    from vita_data.storage.files import AnyPath
    from vita_data.types import Manifest


def add_shard_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that read built sources."""
    _mix_verb(verbs)

    stats = add_verb(verbs, "stats", _stats, "recompute the normalization statistics of a built source")
    stats.add_argument("folder", type=any_folder, metavar="DIR/NAME", help="folder of the built source")
    add_json_flag(stats)
    add_quiet_flag(stats)

    verify = add_verb(
        verbs,
        "verify",
        _verify,
        "check every byte of built sources, and their cards, indexes and tables against one another",
    )
    verify.add_argument(
        "folders",
        nargs="+",
        type=any_folder,
        metavar="SHARDS",
        help="folder of a built source, or folder with several",
    )
    add_json_flag(verify)
    add_quiet_flag(verify)


def _mix_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = (
        "check a manifest against built shards; print each source's windows, weight, share and repeats per 100k steps "
        "for every stage, and compare the shares with the paper's Table 10"
    )
    mix = add_verb(verbs, "mix", _mix, summary)
    mix.add_argument("manifest", type=local_path, metavar="MANIFEST", help=MANIFEST_HELP)
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
    add_json_flag(mix)
    add_quiet_flag(mix)


def _mix(arguments: argparse.Namespace) -> int:
    from vita_data.loader.mixture.report import BATCH_SIZE, mix
    from vita_data.loader.mixture.text import mix_text
    from vita_data.manifest import load_manifest
    from vita_data.types import Basis

    basis = None if arguments.basis is None else Basis(arguments.basis)
    batch_size = arguments.batch_size or BATCH_SIZE
    manifest = load_manifest(arguments.manifest)
    with Progress(f"mix {manifest.name}", unit="parts", quiet=arguments.quiet) as progress:
        report = mix(manifest, arguments.shards, basis=basis, batch_size=batch_size, progress=progress)
    if arguments.json:
        print_json(report.as_json())
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
        if (limit := read_card(shards / name)["limit"]) is not None:
            yield f"note: {name} is limited to its first {limit} raw episodes (--limit {limit})\n"


def _stats(arguments: argparse.Namespace) -> int:
    from vita_data.shards.stats import STATS, write_stats

    with Progress(f"stats {arguments.folder.name}", unit="clips", quiet=arguments.quiet) as progress:
        stats = write_stats(arguments.folder, progress)
    if arguments.json:
        print_json(stats.as_json())
    else:
        print(arguments.folder / STATS)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    folders = _to_verify(arguments.folders)
    reports = {str(folder): _verify_one(folder, arguments) for folder in folders}
    bad = [name for name, report in reports.items() if report.problems]
    is_one = folders == arguments.folders and len(folders) == 1
    if arguments.json:
        found = [{"folder": name, **asdict(report)} for name, report in reports.items()]
        print_json(asdict(reports[str(folders[0])]) if is_one else {"sources": found, "num_failed": len(bad)})
    elif not is_one:
        told = f"problems in {', '.join(bad)}" if bad else "no problems"
        print(f"{len(reports)} source{'' if len(reports) == 1 else 's'}: {told}")
    return 1 if bad else 0


def _to_verify(given: "Sequence[AnyPath]") -> "list[AnyPath]":
    """List the built sources that the given folders are or contain.

    Raises:
        ManifestError: a folder is neither a built source nor contains one.
    """
    from vita_data.shards.index import is_built, read_card, sources_in, unfinished_in

    found: dict[AnyPath, None] = {}
    for folder in given:
        if is_built(folder):
            found[folder] = None
            continue
        names = sources_in(folder)
        if not names:
            read_card(folder)  # raises, and says what the folder is
        for name in unfinished_in(folder):
            print(f"vita-data verify: note: {folder / name}: not checked, it is not finished", file=sys.stderr)
        found |= dict.fromkeys(folder / name for name in names)
    return list(found)


def _verify_one(folder: "AnyPath", arguments: argparse.Namespace) -> "VerifyReport":
    """Verify a built source and print what was found; a damaged card is a problem like others."""
    from vita_data.shards.verify import VerifyReport, verify

    with Progress(f"verify {folder.name}", unit=BYTES, quiet=arguments.quiet) as progress:
        try:
            report = verify(folder, progress)
        except ShardError as fault:
            report = VerifyReport(
                source=folder.name, num_shards=0, num_clips=0, num_members=0, problems=(str(fault),), notes=()
            )
    if not arguments.json:
        print(
            f"{report.source}: {report.num_shards} shards, {report.num_clips} clips, {report.num_members} members, "
            f"{len(report.problems)} problem{'' if len(report.problems) == 1 else 's'}",
            flush=True,
        )
    for note in report.notes:
        print(f"vita-data verify: note: {one_line(note)}", file=sys.stderr)
    for problem in report.problems:
        print(f"vita-data verify: {one_line(problem)}", file=sys.stderr)
    return report
