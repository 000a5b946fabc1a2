"""The list of episodes of format v3.0: parquet tables in `meta/episodes/`, one row an episode.

Several episodes lie in one data file and in one video file, and data and videos need not be cut alike.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pyarrow.parquet as pq

from vita_data.formats.lerobot.episode import LeRobotEpisode, VideoSpan, checked_index, missing_entries, read_entries
from vita_data.formats.lerobot.info import PathTemplates, fill, join, keys_of
from vita_data.types import Json, RawTree

EPISODES_FOLDER = "meta/episodes"
_STATISTICS = "stats/"
_OWN_PLACE = "meta/episodes/"


def episode_files(raw: RawTree, root: str) -> list[str]:
    """List the tables of the list of episodes."""
    return raw.glob(join(root, f"{EPISODES_FOLDER}/*/*.parquet"))


def read_rows(raw: RawTree, name: str) -> list[Json]:
    """Read one table of the list, without the statistics, which are most of it."""
    with raw.open(name) as file:
        table = pq.ParquetFile(file)
        wanted = [key for key in table.schema_arrow.names if not key.startswith((_STATISTICS, _OWN_PLACE))]
        rows: list[Json] = table.read(columns=wanted).select(wanted).to_pylist()
    return rows


def list_episodes(
    info: Json, templates: PathTemplates, tables: Mapping[str, Sequence[Json]], *, fps: float
) -> Iterator[LeRobotEpisode]:
    """Yield one episode per row of the tables, by index, and an episode with a fault if rows are missing.

    Args:
        info: the content of `meta/info.json`.
        templates: the paths of the files.
        tables: the rows of each table of the list.
        fps: the rate; two episodes that show the same half of a frame have a fault.
    """
    entries = [
        (f"{name}#{number:06d}", f"{name} row {number}", row)
        for name, rows in tables.items()
        for number, row in enumerate(rows)
    ]
    read = partial(_episode, templates, videos=keys_of(info, "video"), images=keys_of(info, "image"))
    episodes = list(read_entries(entries, read, layout=3))
    found = (episode for episode in episodes if not episode.fault)
    yield from _refuse_overlaps(sorted(found, key=lambda episode: episode.index), fps)
    yield from (episode for episode in episodes if episode.fault)
    name = join(templates.root, EPISODES_FOLDER)
    yield from missing_entries(name, listed=len(entries), total=info.get("total_episodes"))


def _episode(templates: PathTemplates, row: Json, videos: tuple[str, ...], images: tuple[str, ...]) -> LeRobotEpisode:
    index, num_steps, texts = checked_index(row)
    first, stop = int(str(row["dataset_from_index"])), int(str(row["dataset_to_index"]))
    if stop - first != num_steps:
        raise ValueError(f"episode {index} has length {num_steps}, but the rows {first} to {stop}")
    return LeRobotEpisode(
        index=index,
        num_steps=num_steps,
        texts=texts,
        meta=row,
        table=join(templates.root, fill(templates.table, **_place(row, "data"))),
        videos={key: _span(templates, row, key) for key in videos},
        images=images,
        is_packed=True,
        first_row=first,
    )


def _place(row: Json, files: str) -> dict[str, int]:
    return {key: int(str(row[f"{files}/{key}"])) for key in ("chunk_index", "file_index")}


def _span(templates: PathTemplates, row: Json, key: str) -> VideoSpan:
    files = f"videos/{key}"
    start_s, stop_s = (float(str(row[f"{files}/{end}_timestamp"])) for end in ("from", "to"))
    if not 0 <= start_s <= stop_s < math.inf:
        raise ValueError(f"the video of {key!r} is from {start_s} s to {stop_s} s")
    path = join(templates.root, fill(templates.video, **_place(row, files), video_key=key))
    return VideoSpan(path=path, start_s=start_s, stop_s=stop_s)


def _refuse_overlaps(episodes: Sequence[LeRobotEpisode], fps: float) -> Iterator[LeRobotEpisode]:
    """Give a fault to episodes that claim the same rows of a video as another one: the list was written wrongly."""
    spans = defaultdict[str, list[tuple[float, float, int]]](list)
    for number, episode in enumerate(episodes):
        for span in episode.videos.values():
            spans[span.path].append((span.start_s, span.stop_s or span.start_s, number))
    faults: dict[int, str] = {}
    for path, claimed in spans.items():
        claimed.sort()
        for (_, stop_s, one), (start_s, _, other) in pairwise(claimed):
            if stop_s - start_s > 0.5 / fps:
                both = f"episodes {episodes[one].index} and {episodes[other].index}"
                what = f"{path}: {EPISODES_FOLDER} lists {both} both at {start_s:.3f} s of the video; fetch it again"
                faults.setdefault(one, what)
                faults.setdefault(other, what)
    for number, episode in enumerate(episodes):
        yield replace(episode, fault=faults[number], table=episode.id) if number in faults else episode
