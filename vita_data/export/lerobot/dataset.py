"""Writes a LeRobot dataset of format v3.0 from a built source."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.export.card import ExportNote, card_text, write_card
from vita_data.export.lerobot.episodes import BLANK, ExportedEpisode, episodes_of
from vita_data.export.lerobot.features import ACTION, MASK_ACTION, MASK_STATE, STATE, Layout, find_layout, image_key
from vita_data.export.lerobot.meta import FileSizes, ListedEpisode, MetaFiles, Origin
from vita_data.export.lerobot.stats import ColumnStats, PixelStats, column_figures, sampled_rows
from vita_data.export.lerobot.tables import data_table
from vita_data.export.lerobot.videos import EpisodeVideo, VideoFiles
from vita_data.export.opened import ExportRequest, ExportResult, OpenedSource, export_folder, open_for_export
from vita_data.export.tables import TableFiles
from vita_data.formats.lerobot.layout_v3 import DATA_PATH, numbering
from vita_data.types import CameraRole, Image, Json, Split

_MASKS = {STATE: MASK_STATE, ACTION: MASK_ACTION}
_ABOUT = """A LeRobot dataset of format v3.0 with {num} episodes at {fps:g} Hz ({splits}).

- `action`: displacement of the hand in m and extrinsic xyz Euler angles of its turn in rad, in the base frame, to the
  next row; gripper absolute, 0 closed, 1 open; joint targets in rad.
- `observation.state`: position in m, the first two columns of the rotation matrix, gripper, joints in rad and rad/s.
- `mask.action`, `mask.state`: True where a value is real; elsewhere it is 0 and has no meaning. `mask.action` is also
  False where the action may not be learned from. `mask.camera.NAME`: False where the image is blank.
- `step_index`: the native step in the recording. An episode ends where steps are missing, except for removed no-ops.
- `meta/vita_clips.parquet`: the raw episode, split and all texts of each episode.
"""


def export_lerobot(
    request: ExportRequest, *, codec: str = "h264", sizes: FileSizes | None = None, progress: Progress = SILENT
) -> ExportResult:
    """Write the dataset; progress counts clips.

    Raises:
        ManifestError: nothing is built in the folder.
        RequestError: the output is taken, the licence forbids passing on, images were left out, or the rate varies.
        ShardError: a shard is damaged, or an image does not decode.
    """
    source = open_for_export(request)
    layout = find_layout(source, codec=codec)
    with export_folder(request.out) as root:
        writer = _Writer(root, layout, sizes or FileSizes(), request.splits)
        progress.start(source.num_clips)
        try:
            for clip in source.clips():
                for episode in episodes_of(clip):
                    writer.write(episode)
                progress.update()
        finally:
            writer.close()
        meta = writer.finish()
        note = ExportNote(
            source=source.name, format="lerobot", licence=source.licence, redistributable=source.redistributable
        )
        write_card(root, _card(source, layout, meta), note)
    return ExportResult(
        folder=str(request.out), num_clips=source.num_clips, num_episodes=meta.num_episodes, num_rows=meta.num_rows,
        notes=tuple(_notes(source, meta)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Camera:
    """The videos of a camera and the levels of its images."""

    files: VideoFiles
    total: PixelStats


class _Writer:
    """Writes episodes one after the other."""

    def __init__(self, root: Path, layout: Layout, sizes: FileSizes, splits: tuple[Split, ...]) -> None:
        self._layout, self._features = layout, layout.numbers()
        self._meta = MetaFiles(root=root, layout=layout, sizes=sizes)
        self._data = TableFiles(root, DATA_PATH, max_bytes=sizes.data_bytes)
        widths = {key: feature["shape"] for key, feature in self._features.items()}
        self._total = {key: ColumnStats(int(shape[0])) for key, shape in widths.items() if isinstance(shape, list)}
        self._cameras = {
            role: _Camera(
                files=VideoFiles(
                    root, image_key(role), rate=layout.rate, codec=layout.codec, max_bytes=sizes.video_bytes
                ),
                total=PixelStats(),
            )
            for role in layout.cameras
        }

    def write(self, episode: ExportedEpisode) -> None:
        """Write the rows, the videos and the entry of an episode."""
        meta, clip = self._meta, episode.clip
        columns = {**episode.columns(self._layout), **self._numbering(episode)}
        figures: dict[str, Json] = {}
        videos: dict[str, EpisodeVideo] = {}
        for role, camera in self._cameras.items():
            own = PixelStats()
            videos[image_key(role)] = camera.files.write(_shown(episode, role, own), episode.num_rows)
            camera.total.merge(own)
            figures[image_key(role)] = own.figures()
        listed = ListedEpisode(
            index=meta.num_episodes, num_rows=episode.num_rows, first_row=meta.num_rows, task=clip.instruction.text,
            data=self._data.write(data_table(columns, self._features)), videos=videos,
            figures={**figures, **column_figures(columns, _MASKS, self._total)},
            origin=_origin(episode, meta.num_episodes),
        )  # fmt: skip
        meta.add(listed, clip.split)

    def close(self) -> None:
        """Complete the data and video files."""
        self._data.close()
        for camera in self._cameras.values():
            camera.files.close()

    def finish(self) -> MetaFiles:
        """Write `meta/`."""
        pixels = {image_key(role): camera.total.figures() for role, camera in self._cameras.items()}
        self._meta.finish({**pixels, **{key: stats.figures() for key, stats in self._total.items()}})
        return self._meta

    def _numbering(self, episode: ExportedEpisode) -> dict[str, np.ndarray]:
        meta = self._meta
        return numbering(
            episode.num_rows, fps=self._layout.fps, episode=meta.num_episodes, first_row=meta.num_rows,
            task=meta.task_index(episode.clip.instruction.text),
        )  # fmt: skip


def _shown(episode: ExportedEpisode, role: CameraRole, stats: PixelStats) -> Iterator[Image]:
    """Yield what the video shows, and count the levels of some of the real images."""
    counted = sampled_rows(episode.num_rows)
    for row, pixels in enumerate(episode.frames(role)):
        if pixels is not None and row in counted:
            stats.add(pixels)
        yield BLANK if pixels is None else pixels


def _origin(episode: ExportedEpisode, index: int) -> Origin:
    clip = episode.clip
    return Origin(
        episode_index=index, key=clip.key, first_step=int(clip.step_index[episode.start]), split=clip.split,
        episode=clip.episode, release=clip.release, embodiment=clip.embodiment,
        instructions=[text.text for text in clip.instructions],
    )  # fmt: skip


def _splits(meta: MetaFiles) -> str:
    return ", ".join(f"{split}: episodes {first} to {stop - 1}" for split, (first, stop) in meta.splits.items())


def _card(source: OpenedSource, layout: Layout, meta: MetaFiles) -> str:
    about = _ABOUT.format(num=meta.num_episodes, fps=layout.fps, splits=_splits(meta))
    return card_text(source, tags=["LeRobot"], files=[("train", "data/*/*.parquet")], about=about)


def _notes(source: OpenedSource, meta: MetaFiles) -> Iterator[str]:
    yield _splits(meta)
    if Split.VAL in meta.splits and Split.TRAIN in meta.splits:
        yield "lerobot trains on all episodes; to leave the held-out ones out, export with --split train"
    if source.has_depth:
        yield "depth images are not exported"
