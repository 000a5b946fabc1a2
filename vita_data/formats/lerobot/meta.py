"""The `meta/` folder of a LeRobot dataset: its features, its episodes, and the paths of their files.

Source: huggingface/lerobot, datasets of codebase_version v2.0, v2.1 (one file per episode) and v3.0 (packed files).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import pyarrow as pa

from vita_data.errors import SourceError, raise_machine_fault
from vita_data.formats.json_text import parse_json
from vita_data.formats.lerobot import list_v2, list_v3
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.info import INFO_FILE, ODD, explain, fps_of, join, layout_of, templates_of
from vita_data.formats.limits import MAX_INVALID_ENTRIES
from vita_data.formats.raw_tree.file_head import look, unreadable, unreadable_text
from vita_data.types import Json, RawTree


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotDataset:
    """A dataset's description; `info` is the content of `meta/info.json`."""

    root: str
    fps: float
    info: Json
    episodes: tuple[LeRobotEpisode, ...]


def find_lerobot(raw: RawTree) -> list[str]:
    """List the folders with a LeRobot dataset: the raw tree itself (an empty name) or its direct subfolders."""
    if raw.exists(INFO_FILE):
        return [""]
    return [str(PurePosixPath(path).parents[1]) for path in raw.glob(f"*/{INFO_FILE}")]


def open_lerobot(raw: RawTree, root: str) -> LeRobotDataset:
    """Read the description of a dataset; an invalid entry of its list becomes an episode with a fault.

    Raises:
        RequestError: the dataset has another format version.
        SourceError: one of its files is missing, damaged or lacks a field, or no entry of the list can be read.
    """
    name, layout = join(root, INFO_FILE), 2
    try:
        info = parse_json(raw.read_bytes(name))
        layout = layout_of(info, name=name)
        listed = _read_v2 if layout == 2 else _read_v3
        return listed(raw, root, info)
    except _DescriptionError as error:
        raise error.told(raw, layout) from error.fault
    except OSError as error:
        raise _DescriptionError(name, error).told(raw, layout) from error
    except ODD as error:
        raise _DescriptionError(name, error).told(raw, layout) from error


class _DescriptionError(Exception):
    """What is wrong with one file of the description."""

    def __init__(self, name: str, fault: Exception) -> None:
        super().__init__(f"{name}: {fault}")
        self.name, self.fault = name, fault

    def told(self, raw: RawTree, layout: int) -> SourceError:
        """Make the message; a fault of the machine is raised as such."""
        name, error = self.name, self.fault
        raise_machine_fault(error, name)
        if name.endswith(".parquet") and isinstance(error, OSError | pa.ArrowException):
            what = unreadable(partial(raw.open, name), name=name, reason="the file is damaged", own={"parquet"})
            return SourceError(f"{name}: cannot be read {what}")
        if isinstance(error, OSError):
            return SourceError(f"{name}: cannot be read {unreadable_text(raw, name, reason=str(error.strerror))}")
        own = {"parquet"} if name.endswith(".parquet") else {"text"}
        found = look(partial(raw.open, name), name=name, own=own)
        what = f"; it is {found.what}: {found.advice}" if found else ""
        return SourceError(f"{name}: {explain(error, layout)}{what}")


def _read_v2(raw: RawTree, root: str, info: Json) -> LeRobotDataset:
    name = join(root, list_v2.EPISODES_FILE)
    try:
        lines = list_v2.parse_lines(raw.read_bytes(name))
    except (OSError, *ODD) as error:
        raise _DescriptionError(name, error) from error
    fps, files = fps_of(info), list_v2.FilesV2.of(info, templates_of(info, root))
    episodes = tuple(list_v2.list_episodes(files, lines, total=info.get("total_episodes")))
    if lack := _lack(episodes):
        raise SourceError(f"{_first_fault(episodes)} {unreadable_text(raw, name, reason=lack)}")
    return LeRobotDataset(root=root, fps=fps, info=info, episodes=episodes)


def _read_v3(raw: RawTree, root: str, info: Json) -> LeRobotDataset:
    fps, templates = fps_of(info), templates_of(info, root)
    tables: dict[str, list[Json]] = {}
    for name in list_v3.episode_files(raw, root):
        try:
            tables[name] = list_v3.read_rows(raw, name)
        except (OSError, pa.ArrowException, *ODD) as error:
            raise _DescriptionError(name, error) from error
    if not any(tables.values()):
        place = join(root, list_v3.EPISODES_FOLDER)
        raise SourceError(f"{place}: expected tables of episodes (chunk-000/file-000.parquet), found none; fetch them")
    episodes = tuple(list_v3.list_episodes(info, templates, tables, fps=fps))
    if lack := _lack(episodes):
        raise SourceError(f"{_first_fault(episodes)}; {lack}")
    return LeRobotDataset(root=root, fps=fps, info=info, episodes=episodes)


def _lack(episodes: Sequence[LeRobotEpisode]) -> str:
    """Say how few entries of a list are valid, if there are none, or few among very many; empty otherwise."""
    num_invalid = sum(bool(episode.fault) for episode in episodes)
    num_valid = len(episodes) - num_invalid
    if num_valid and num_invalid <= max(num_valid, MAX_INVALID_ENTRIES):
        return ""
    return f"{num_valid} of its {len(episodes)} entries are valid"


def _first_fault(episodes: Sequence[LeRobotEpisode]) -> str:
    return next(episode.fault for episode in episodes if episode.fault)
