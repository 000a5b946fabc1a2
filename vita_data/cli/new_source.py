"""`vita-data new-source`: a first draft of a source file for an unknown dataset."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

from vita_data.cli.shared import (
    RAW_HELP,
    add_json_flag,
    add_reader_limits,
    add_verb,
    print_json,
    reader_limits,
    require_folder_of,
)
from vita_data.command.arguments import address, local_path, word
from vita_data.command.exits import one_line, printable
from vita_data.errors import RequestError

if TYPE_CHECKING:
    from vita_data.drafts import Draft


def add_new_source_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    summary = (
        "draft a source file for an unknown LeRobot, RLDS or HDF5 dataset: arms, columns, rate, gripper, lag, delta or "
        "absolute, with the evidence from the data, what it does not tell, and the files that nothing reads"
    )
    new = add_verb(verbs, "new-source", _new_source, summary)
    new.add_argument("--from", dest="tree", required=True, type=address, metavar="DIR", help=RAW_HELP)
    new.add_argument("--out", required=True, type=local_path, metavar="FILE", help="new Python file for the draft")
    new.add_argument("--name", type=word, metavar="NAME", help="name of the source (default: the file's, without .py)")
    add_reader_limits(new)
    add_json_flag(new)


def _new_source(arguments: argparse.Namespace) -> int:
    from vita_data.drafts import DraftRequest, draft_apart
    from vita_data.sources import names

    out, name = arguments.out, arguments.name or re.sub(r"\W", "_", arguments.out.stem)
    require_folder_of(out)
    if out.suffix != ".py" or out.exists():
        raise RequestError(f"--out {out}: expected the path of a new file that ends in .py")
    if not name.isidentifier() or name in names():
        raise RequestError(f"--name {name}: expected letters, digits and underscores, and no source that exists")
    draft = draft_apart(DraftRequest(raw=arguments.tree, name=name), reader_limits(arguments))
    out.write_text(draft.text, encoding="utf-8")
    if arguments.json:
        unread = None if draft.unread is None else draft.unread.as_json()
        print_json({"evidence": draft.evidence, "untold": draft.untold, "unread": unread, "unused": draft.unused})
        return 0
    print("\n".join(map(printable, _lines(draft))))
    print(out)
    print(
        f"fill in each TODO, then: vita-data probe --source-file {out} --raw {arguments.tree} --html probe.html",
        file=sys.stderr,
    )
    return 0


def _lines(draft: "Draft") -> list[str]:
    lines = ["the data tells:", *(f"  {one_line(line)}" for line in draft.evidence)]
    lines += ["it does not tell:", *(f"  {one_line(line)}" for line in draft.untold)]
    lines += ["not used: " + (", ".join(draft.unused) or "none")]
    if draft.unread is not None:
        some = "" if draft.unread.is_whole else " (the search was stopped early, there may be more)"
        lines += [f"files that nothing reads{some}: {draft.unread.num_files}"]
        lines += [f"  {count} {pattern}" if count > 1 else f"  {pattern}" for pattern, count in draft.unread.patterns]
    return lines
