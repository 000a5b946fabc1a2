"""`vita-data merge`: one built source of several."""

import argparse
from dataclasses import asdict

from vita_data.cli.shared import add_json_flag, add_verb, print_json
from vita_data.command.arguments import any_folder, any_path, word
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.errors import RequestError


def add_merge_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    merge = add_verb(
        verbs,
        "merge",
        _merge,
        "make one built source of several; its shards are links to theirs where the disk allows it",
    )
    merge.add_argument("folders", nargs="+", type=any_folder, metavar="DIR/NAME", help="folders of the built sources")
    merge.add_argument("--name", required=True, type=word, metavar="NAME", help="name of the merged source")
    merge.add_argument("--out", required=True, type=any_path, metavar="DIR", help="folder for it: writes DIR/NAME")
    add_json_flag(merge)
    add_quiet_flag(merge)


def _merge(arguments: argparse.Namespace) -> int:
    from vita_data.merge.merge import merge

    if not arguments.name.isidentifier():
        raise RequestError(f"--name {arguments.name}: expected letters, digits and underscores, as in my_robots")
    with Progress(f"merge {arguments.name}", unit="shards", quiet=arguments.quiet) as progress:
        result = merge(arguments.folders, arguments.out, arguments.name, progress)
    if arguments.json:
        print_json(asdict(result))
    elif not result.is_new:
        print(f"{result.folder}: merged before; nothing to do")
    else:
        print(
            f"{result.folder}: {result.num_shards} shards ({result.num_linked} files linked, "
            f"{result.num_copied} copied, {result.num_kept} from an earlier run)"
        )
    return 0
