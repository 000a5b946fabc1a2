"""Ego4D: narrated first-person video cut into clips; `video`, no actions.

There are two modes: the 8-s windows of the Forecasting Hands and Objects (FHO) actions, and windows around single
narrations. The choice of videos follows the Ego4D CLEP preprocessing. Hand poses, gaze, sound and the canonical clip
files are not read.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.video.stream import VideoTimes, scan_times, write_toy_video
from vita_data.formats.video.windows import VideoPass, WindowStream
from vita_data.guard import data_fault, guarded
from vita_data.sources.ego4d.annotated import (
    ACTIONS,
    ANNOTATIONS,
    METADATA,
    MULTI,
    NARRATIONS,
    AnnotatedEpisode,
    Catalogue,
    Fault,
    Mode,
    catalogue_of,
)
from vita_data.sources.ego4d.json_files import (
    FRAMES_PER_S,
    Ego4dVideo,
    Span,
)
from vita_data.sources.ego4d.toy import actions_json, metadata_json, narrations_json, toy_frames, toy_videos
from vita_data.types import (
    Arms,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Instruction,
    Int64,
    Modality,
    Outcome,
    Part,
    RawTree,
    Reason,
    ResizeMode,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

VIDEO_FOLDERS = ("v2/video_540ss", "v2/full_scale")

INFO = SourceInfo(
    name="ego4d",
    title="Ego4D",
    embodiment="human",
    arms=Arms.NONE,
    modality=Modality.VIDEO,
    hz=None,
    cameras={CameraRole.PRIMARY: "the video"},
    action_origin=None,
    action_space="none",
    text_style=TextStyle.NARRATION,
    licence="Ego4D licence agreement",
    redistributable=False,
    access="signed agreement, about 48 hours; keys are valid for 14 days",
    url="https://ego4d-data.org",
    raw_layout="ego4d.json and v2/{video_540ss or full_scale}/<video_uid>.mp4 with v2/annotations/fho_main.json "
    "(mode=narration: narration.json or all_narrations_redacted.json)",
    notes=(
        "The rate is measured on each video's time stamps; canonical videos have 30 Hz.",
        "Images are the centre square: what happens at the sides of a wide video is cut off.",
        "Videos that are validation or test of another Ego4D benchmark are left out (held_out).",
        "Steps count from the clip's first frame; provenance says where in the video that is.",
    ),
    published_episodes={"VITA Table 10": 59427},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """Settings (`--set`) of Ego4D; human video keeps its aspect ratio, so the centre square is the default."""

    mode: Mode = Mode.FHO_WINDOW
    resize: ResizeMode = ResizeMode.CENTER_CROP


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows of a video [T]: its shown frames, their steps and their times."""

    frame_index: Int64
    step: Int64
    time_s: Float64

    def within(self, span: Span, hz: float) -> "_Rows":
        """Keep the rows of a window; a row less than half a frame before its start is its first."""
        start, stop = np.searchsorted(self.time_s, np.array([span.start_s, span.end_s]) - 0.5 / hz)
        return _Rows(
            frame_index=self.frame_index[start:stop], step=self.step[start:stop], time_s=self.time_s[start:stop]
        )


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per annotated video that is not FHO test; the episodes of a missing video fail.

    Raises:
        RequestError: metadata, annotations or video folder are missing, or a JSON file has another layout.
    """
    packed = _read(raw, settings).packed
    folders = [folder for folder in VIDEO_FOLDERS if raw.exists(folder)]
    if not folders:
        raise RequestError(f"--raw {raw.root}: folder {' or '.join(VIDEO_FOLDERS)} not found; download one of them")
    # prefer the copy with a short side of 540 to the full one: it decodes faster and is still larger than 256
    found = {PurePosixPath(path).stem: path for folder in reversed(folders) for path in raw.glob(f"{folder}/*.mp4")}
    listed = [
        Part(
            id=found.get(uid, f"{VIDEO_FOLDERS[0]}/{uid}.mp4"),
            num_bytes=raw.size(found[uid]) if uid in found else 0,
            num_episodes=of_video.num_rows,
        )
        for uid, of_video in packed.items()
    ]
    return sorted(listed, key=lambda part: part.id)


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Cut one video into its clips in a single pass, in the order of their starts.

    If the file of a video is missing or broken, each of its episodes is a Failure.

    Source: vita_data/README.md (steps from the clip's first frame, held-out videos, which copy is read).
    Assumes: annotations count frames and seconds from the video's first frame; a `--set hz=` replaces the measured
        rate but not the step numbers.
    """
    uid = PurePosixPath(part.id).stem
    catalogue = _read(raw, settings)
    items, video = catalogue.items(uid), catalogue.videos.get(uid)
    if video is not None and (fault := _video_fault(video)):
        yield from (_drop(item, fault) for item in items)
        return
    try:
        if video is None:
            what = f"annotated, but {METADATA[0]} has no valid entry for it"
            raise EpisodeError(f"{part.id}: {what}; use files of the same release")
        if not raw.exists(part.id):
            raise EpisodeError(f"{part.id}: annotated, but the video does not exist; download it")
        path = raw.local_path(part.id)
        times = scan_times(path, name=part.id)
    except Exception as error:  # noqa: BLE001 - as `guarded`: what is wrong with a video is its episodes' Failure
        detail = data_fault(error, part.id)
        yield from (Failure(episode=item.id, detail=detail) for item in items)
        return
    rows = _video_rows(times)
    faults = [_fault(item, video) for item in items]
    kept = [
        rows.within(item.span, times.hz)
        for item, fault in zip(items, faults, strict=True)
        if fault is None and item.span is not None
    ]
    windows = VideoPass(path, times=times, windows=[window.frame_index for window in kept], name=part.id)
    numbered = enumerate(kept)
    for item, fault in zip(items, faults, strict=True):
        if fault is not None:
            yield _drop(item, fault)
        else:
            number, window = next(numbered)
            stream, hz = windows.stream(number), settings.hz or times.hz
            yield guarded(item.id, partial(_episode, item, window, part.id, stream, hz))


def _video_rows(times: VideoTimes) -> _Rows:
    step, frame_index = times.rows()
    return _Rows(frame_index=frame_index, step=step, time_s=times.time_s[frame_index])


def _episode(item: AnnotatedEpisode, rows: _Rows, path: str, stream: WindowStream, hz: float) -> Episode:
    uid = PurePosixPath(path).stem
    # a window beyond the end of its video has no rows, so it is too short for a clip
    first, start_s = (int(rows.step[0]), float(rows.time_s[0])) if len(rows.step) else (0, 0.0)
    return Episode(
        id=item.id,
        source=INFO.name,
        release="v2",
        split=item.split,
        split_group=uid,
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=hz,
        step_index=rows.step - first,
        instructions=(Instruction(text=item.text, origin="narration"),),
        cameras={CameraRole.PRIMARY: stream},
        provenance={
            "file": path,
            "record": item.record,
            "video_uid": uid,
            "first_step": first,
            "start_s": round(start_s, 6),
        },
    )


def _drop(item: AnnotatedEpisode, fault: Fault) -> Drop:
    return Drop(episode=item.id, reason=fault.reason, detail=fault.detail)


def _video_fault(video: Ego4dVideo) -> Fault | None:
    """Tell why no clip of a video may be used.

    Assumes: a video that is "multi" in another benchmark contains validation or test clips.
    """
    held_out = [f"{key} is {split}" for key, split in video.other_splits.items() if split in ("val", "test", MULTI)]
    if held_out:
        return Fault(reason=Reason.HELD_OUT, detail="; ".join(held_out))
    return Fault(reason=Reason.STEREO, detail="stereoscopic video") if video.is_stereo else None


def _fault(item: AnnotatedEpisode, video: Ego4dVideo) -> Fault | None:
    if item.fault is not None:
        return item.fault
    if item.span is None:
        return Fault(reason=Reason.INVALID_ANNOTATION, detail="neither frames nor seconds say when it happens")
    for hidden in video.redacted:
        if item.span.overlaps(hidden):
            detail = f"overlaps what is redacted from {hidden.start_s:.2f} s to {hidden.end_s:.2f} s"
            return Fault(reason=Reason.REDACTED, detail=detail)
    return None


def _read(raw: RawTree, settings: SourceSettings) -> Catalogue:
    if not isinstance(settings, Settings):
        raise TypeError(f"expected the Settings of ego4d, got {type(settings).__name__}")
    return catalogue_of(raw, mode=settings.mode, min_frames=settings.min_frames)


# ------------------------------------------------------------------------------------------------------- toy tree


def write_toy(root: str) -> None:
    """Write five videos of 30 Hz: two that give clips, a held-out one, a stereo one and a test one.

    The frames of the first windows show their step from the window's start; between them the picture does not change.
    """
    for folder in (*VIDEO_FOLDERS, ANNOTATIONS):
        (Path(root) / folder).mkdir(parents=True, exist_ok=True)
    videos = toy_videos(VIDEO_FOLDERS)
    for video in videos:
        write_toy_video(str(Path(root, video.folder, f"{video.uid}.mp4")), toy_frames(video), fps=int(FRAMES_PER_S))
    for path, value in (
        (METADATA[0], metadata_json(videos)),
        (ACTIONS[0], actions_json(videos)),
        (NARRATIONS[0], narrations_json(videos)),
    ):
        Path(root, path).write_text(json.dumps(value, indent=1))
