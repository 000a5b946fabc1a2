"""`vita-data episodes`: the raw episodes of built sources as a table, CSV, JSON or a page, and lists of their ids."""

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

from vita_data.cli.shared import add_json_flag, add_verb, print_json, require_folder_of
from vita_data.command.arguments import any_folder, local_path, positive, word
from vita_data.command.exits import printable
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from vita_data.storage.files import AnyPath

# Parts of a row that are cut in the table on the terminal; ids and reasons never are.
_LONG = ("task", "text", "detail")
_LONGEST = 60
_SHOWN = ("source", "id", "outcome", "reason", "split", "suite", "task", "length_s", "num_steps")


def add_episodes_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    summary = (
        "list the raw episodes of built sources, stored or not: task, text, length, outcome, reason; choose some by a "
        "condition and write their ids for a manifest's `exclude`"
    )
    episodes = add_verb(verbs, "episodes", _episodes, summary)
    episodes.add_argument(
        "folders",
        nargs="+",
        type=any_folder,
        metavar="SHARDS",
        help="folder of a built source, or folder with several",
    )
    episodes.add_argument(
        "--where",
        type=word,
        metavar="EXPR",
        help="only episodes that satisfy an SQL condition on the columns, such as "
        "\"outcome = 'ok' and length_s < 2 and text like '%%cup%%'\"; aggregates such as avg(length_s) are per source",
    )
    episodes.add_argument(
        "--sort", type=word, metavar="COLUMNS", help='order of the rows, such as "source, length_s desc"'
    )
    episodes.add_argument("--limit", type=positive, metavar="N", help="only the first N rows")
    episodes.add_argument(
        "--quality",
        action="store_true",
        help="also measure stored episodes (speed, jerk, idle, static and black shares, copies); reads their actions "
        "and the images of the primary camera",
    )
    form = episodes.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print only CSV to stdout, all columns and whole texts")
    add_json_flag(form)
    form.add_argument(
        "--counts",
        action="store_true",
        help="print only how many episodes of each source are stored, dropped (with the reasons) or failed, and in all",
    )
    episodes.add_argument(
        "--html",
        type=local_path,
        metavar="FILE",
        help="also write a page: pictures, counts, measures and the first rows",
    )
    episodes.add_argument(
        "--ids", type=local_path, metavar="FILE", help="also write SOURCE<TAB>ID of each listed episode to a file"
    )
    add_quiet_flag(episodes)


def _episodes(arguments: argparse.Namespace) -> int:
    import polars as pl

    from vita_data.curation.condition import matching, ordered
    from vita_data.curation.ids import write_ids

    if arguments.html is not None:
        require_folder_of(arguments.html)
    folders = _sources(arguments.folders)
    chosen = whole = _tables(arguments, folders)
    if arguments.where is not None:
        chosen = [matching(table, arguments.where, place="--where") for table in whole]
    found = pl.concat(chosen)
    if arguments.sort is not None:
        found = ordered(found, arguments.sort, place="--sort")
    if arguments.limit is not None:
        found = found.head(arguments.limit)
    if arguments.ids is not None:
        write_ids(arguments.ids, found.select("source", "id").iter_rows())
    _show(arguments, found, folders, num_all=sum(map(len, whole)))
    return 0


def _tables(arguments: argparse.Namespace, folders: "Sequence[AnyPath]") -> "list[pl.DataFrame]":
    """Make the table of each source, with its measures if they are asked for."""
    from vita_data.curation.table import episode_table

    if not arguments.quality:
        return [episode_table(folder) for folder in folders]
    from vita_data.curation.quality import with_quality

    tables = []
    for folder in folders:
        with Progress(f"quality {folder.name}", unit="clips", quiet=arguments.quiet) as progress:
            tables.append(with_quality(episode_table(folder), folder, progress))
    return tables


def _show(arguments: argparse.Namespace, found: "pl.DataFrame", folders: "Sequence[AnyPath]", *, num_all: int) -> None:
    if arguments.html is not None:
        from vita_data.pages.episodes import episodes_page

        text = episodes_page(found, folders, num_all=num_all, asked=arguments.where or "")
        arguments.html.write_text(text, encoding="utf-8")
    if arguments.csv:
        sys.stdout.write(found.write_csv())
    elif arguments.json:
        print_json(found.to_dicts())
    elif arguments.counts:
        print("\n".join(_counts(found)))
    else:
        print("\n".join(_lines(found, num_all=num_all)))


def _sources(folders: "Sequence[AnyPath]") -> "list[AnyPath]":
    """List the built sources in the given folders.

    Raises:
        RequestError: two of them have one name, so that an id would not tell which is meant.
    """
    from vita_data.pages.shards.built import built_at
    from vita_data.shards.index import read_card, source_name

    found: dict[str, AnyPath] = {}
    for folder in (one for given in folders for one in built_at(given)):
        name = source_name(read_card(folder))
        if name in found:
            raise RequestError(f"source {name!r} is given twice, {found[name]} and {folder}; list them one by one")
        found[name] = folder
    return list(found.values())


def _lines(found: "pl.DataFrame", *, num_all: int) -> "Iterator[str]":
    """Yield the table for a terminal, without columns that are empty in every row, and the counts below it."""
    from vita_data.command.tables import text_table
    from vita_data.curation.table import COLUMNS

    measures = [name for name in found.columns if name not in COLUMNS and not name.endswith("_hash")]
    wanted = (*_SHOWN, *measures, "text", "detail")
    names = [name for name in wanted if any(found[name].to_list())]
    columns = [[_cell(name, value) for value in found[name].to_list()] for name in names]
    if found.height:
        numeric = "".join("r" if found[name].dtype.is_numeric() else "l" for name in names)
        yield from text_table([names, *zip(*columns, strict=True)], numeric)
    outcomes = Counter(found["outcome"].to_list())
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(outcomes.items()))
    yield f"{found.height:,} of {num_all:,} episodes{counts and ': '}{counts}"


def _counts(found: "pl.DataFrame") -> list[str]:
    """Format the outcomes of each source and of all, with the reasons of the drops, the most frequent first."""
    from vita_data.command.tables import text_table
    from vita_data.types import EpisodeOutcome

    names = found["source"].unique(maintain_order=True).to_list()
    tables = [(name, found.filter(found["source"] == name)) for name in names]
    rows = [["source", "episodes", *EpisodeOutcome, "dropped because"]]
    for name, table in [*tables, *([] if len(names) == 1 else [("all", found)])]:
        outcomes = Counter(table["outcome"].to_list())
        reasons = _reasons(table["reason"].to_list())
        rows.append([name, f"{table.height:,}", *(f"{outcomes[outcome]:,}" for outcome in EpisodeOutcome), reasons])
    return text_table(rows, "lrrrrl")


def _reasons(codes: "Sequence[str | None]") -> str:
    """Format drop codes with their meaning: `short (too few frames) 2`."""
    from vita_data.builder.drops import rule_of

    found = Counter(code for code in codes if code)
    return ", ".join(f"{code} ({rule_of(code).meaning}) {count:,}" for code, count in found.most_common())


def _cell(name: str, value: object) -> str:
    text = "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
    if name in _LONG and len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return printable(text)
