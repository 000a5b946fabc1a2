"""RoboMIND's language: the instruction list (one text per task) and the annotations (one summary per trajectory).

They are separate from the trajectories, in the raw folder or beside it. The quality of the texts is not judged here.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from vita_data.errors import RequestError, raise_machine_fault
from vita_data.formats.json_text import parse_json
from vita_data.formats.raw_tree.file_head import unreadable_text
from vita_data.instruction_text import normalize_text
from vita_data.sources._shared.robomind.tree import Trajectory
from vita_data.types import Instruction, RawTree, Split

INSTRUCTION_LIST = "RoboMIND_v1_2_instr.csv"
ANNOTATIONS = "language_description_annotation_json"
_NOTHING = frozenset(("", "none"))
_PARSED: WeakKeyDictionary[RawTree, dict[str, Mapping[str, str]]] = WeakKeyDictionary()


def instructions(raw: RawTree, trajectory: Trajectory) -> tuple[Instruction, ...]:
    """Collect the texts of a trajectory: its own summary, its task's instruction or, without both, the task's name.

    A summary `[none]` counts as missing. Steps of an annotation describe a part of the trajectory and are not used.

    Assumes: a missing list or annotation is not a fault; the origin `task_name` shows what was used instead.

    Raises:
        RequestError: one of the files is invalid.
    """
    summaries = _parsed(raw, f"{ANNOTATIONS}/{trajectory.folder}.json")
    summary = next((summaries[place] for place in _annotated_places(trajectory) if place in summaries), "")
    listed = _parsed(raw, INSTRUCTION_LIST).get(trajectory.task, "")
    found = [Instruction(text=text, origin="human") for text in (summary, listed) if not _is_nothing(text)]
    return tuple(found) or (Instruction(text=task_name(trajectory.task), origin="task_name"),)


def check_texts(raw: RawTree, folders: Iterable[str]) -> None:
    """Read the instruction list and the annotations of these robot folders, so that a broken file is reported early.

    Raises:
        RequestError: one of the files is invalid.
    """
    for file in (INSTRUCTION_LIST, *(f"{ANNOTATIONS}/{folder}.json" for folder in folders)):
        _parsed(raw, file)


def task_name(task: str) -> str:
    """Convert a task folder's name to words, without underscores and digits (dates and serial numbers)."""
    words = (word.strip("-") for word in re.sub(r"\d+", "", task.replace("_", " ")).split())
    return " ".join(word for word in words if word)


def parse_instruction_list(text: str) -> list[tuple[str, str]]:
    """Read the rows (task, instruction) of the instruction list, in order; a task may occur twice.

    Raises:
        ValueError: the text is not CSV, or lacks these columns.
    """
    try:
        # accept the line endings of any system
        rows = list(csv.DictReader(io.StringIO(text, newline=None)))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows or not {"task", "instruction"} <= set(rows[0]):
        raise ValueError("expected the columns task and instruction")
    return [(row["task"] or "", row["instruction"] or "") for row in rows]


def parse_annotations(text: str) -> dict[str, str]:
    """Map the place of each annotated trajectory in a release to its summary.

    Invalid items and summaries that are not texts are ignored.

    Raises:
        ValueError: the text is not a list of {"id", "response": {"task_summary"}}.
    """
    items = parse_json(text)
    found: dict[str, str] = {}
    for item in items if isinstance(items, list) else [items]:
        match item:
            case {"id": str(place), "response": dict(response)}:
                summary = response.get("task_summary")
                found[place.removesuffix("/data")] = summary if isinstance(summary, str) else ""
    if not isinstance(items, list) or (items and not found):
        raise ValueError("expected a list of items with id and response")
    return found


def _annotated_places(trajectory: Trajectory) -> Iterable[str]:
    """Return the trajectory's own place; if it has no train/val level, also the places with one."""
    if trajectory.split is not None:
        return (trajectory.place,)
    folder, _, episode = trajectory.place.rpartition("/")
    return (trajectory.place, *(f"{folder}/{split}/{episode}" for split in Split))


def _parsed(raw: RawTree, file: str) -> Mapping[str, str]:
    # each of 26,000 parts needs them
    cache = _PARSED.setdefault(raw, {})
    if file not in cache:
        cache[file] = _parse_file(raw, file)
    return cache[file]


def _parse_file(raw: RawTree, file: str) -> Mapping[str, str]:
    path = next((path for path in (file, f"../{file}") if raw.exists(path)), None)
    if path is None:
        return {}
    try:
        text = raw.read_bytes(path).decode("utf-8-sig")
        if file != INSTRUCTION_LIST:
            return parse_annotations(text)
        # the first entry of a duplicate task wins
        return dict(reversed(parse_instruction_list(text)))
    except (OSError, ValueError, csv.Error) as error:
        raise_machine_fault(error, path)
        what = unreadable_text(raw, path, reason=str(error))
        raise RequestError(f"--raw {raw.root}: {path} cannot be read {what}") from error


def _is_nothing(text: str) -> bool:
    return normalize_text(text).strip("[]. ").lower() in _NOTHING
