"""Toy videos of Ego4D, with metadata and annotations in the layout of its own JSON files.

The JSON has the fields that our reader and other readers use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vita_data.formats.toy import toy_frame
from vita_data.sources.ego4d.json_files import FRAMES_PER_S
from vita_data.types import Image, Json, ResizeMode

_SIZE = (144, 192)
_WEARER = "#C C picks up a red cup from the table"


@dataclass(frozen=True, slots=True)
class ToyAction:
    """An FHO action over half-open frames; a rejected one has no uid, as in the release."""

    start_frame: int
    end_frame: int
    text: str
    is_rejected: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyVideo:
    """A video and its annotations; `redacted` are half-open frame ranges."""

    number: int
    folder: str
    num_frames: int
    actions: tuple[ToyAction, ...]
    split_fho: str | None = "train"
    split_em: str | None = None
    is_stereo: bool = False
    redacted: tuple[tuple[int, int], ...] = ()

    @property
    def uid(self) -> str:
        """The video's uid, in the format of the release."""
        return f"{self.number:08x}-d0c5-4a1e-9b7a-0123456789ab"

    @property
    def annotation_uid(self) -> str:
        """The uid of the single annotator's pass over the video."""
        return f"{self.number:08x}-0a55-4a1e-9b7a-0123456789ab"


def toy_videos(folders: tuple[str, str]) -> tuple[ToyVideo, ...]:
    """Return five videos: two that give clips, one per folder, and a held-out, a stereo and a test one in the first."""
    small, full = folders
    return (
        ToyVideo(
            number=1,
            folder=small,
            num_frames=600,
            actions=(
                ToyAction(20, 260, _WEARER),
                ToyAction(300, 540, "#c C  opens the drawer with the left hand"),
                ToyAction(310, 550, "#O A man Y walks around the room"),
                ToyAction(312, 552, "#C C drops the #unsure on the floor"),
                ToyAction(320, 560, "#C C closes the drawer slowly", is_rejected=True),
                ToyAction(350, 590, "#C C puts the cup in the sink"),
            ),
            redacted=((570, 580),),
        ),
        ToyVideo(
            number=2,
            folder=full,
            num_frames=150,
            split_fho="val",
            actions=(ToyAction(0, 120, "#C C turns the screw with a screwdriver"), ToyAction(138, 150, _WEARER)),
        ),
        ToyVideo(number=3, folder=small, num_frames=15, split_em="val", actions=(ToyAction(0, 15, _WEARER),)),
        ToyVideo(number=4, folder=small, num_frames=15, is_stereo=True, actions=(ToyAction(0, 15, _WEARER),)),
        ToyVideo(number=5, folder=small, num_frames=15, split_fho="test", actions=()),
    )


def toy_frames(video: ToyVideo) -> Iterator[Image]:
    """Draw a video: frames of the first windows show their steps; between them the picture does not change."""
    steps = np.zeros(video.num_frames, np.int64)
    for action in reversed(video.actions):
        steps[action.start_frame : action.end_frame] = np.arange(action.end_frame - action.start_frame)
    drawn: dict[int, Image] = {}
    for step in steps.tolist():
        if step not in drawn:
            drawn[step] = toy_frame(*_SIZE, step=step, episode=video.number, resize=ResizeMode.CENTER_CROP)
        yield drawn[step]


def metadata_json(videos: Sequence[ToyVideo]) -> Json:
    """Return the content of `ego4d.json`."""
    return {"version": "v2", "description": "toy", "videos": [_video(video) for video in videos], "clips": []}


def actions_json(videos: Sequence[ToyVideo]) -> Json:
    """Return the content of `fho_main.json`: one annotated interval per video."""
    return {
        "version": "2.0",
        "videos": [
            {
                "video_uid": video.uid,
                "annotated_intervals": [
                    {
                        "clip_uid": f"{video.number:08x}-c11b-4a1e-9b7a-0123456789ab",
                        "redacted": False,
                        "narrated_actions": [_action(video, action) for action in video.actions],
                    }
                ],
            }
            for video in videos
        ],
    }


def narrations_json(videos: Sequence[ToyVideo]) -> Json:
    """Return the content of `narration.json`: one pass, with a narration in the middle of each action."""
    return {
        video.uid: {
            "narration_pass_1": {
                "narrations": [
                    {
                        "timestamp_sec": _middle(action) / FRAMES_PER_S,
                        "timestamp_frame": _middle(action),
                        "narration_text": action.text,
                        "annotation_uid": video.annotation_uid,
                    }
                    for action in video.actions
                ],
                "summaries": [],
            },
            "status": "complete",
        }
        for video in videos
    }


def _video(video: ToyVideo) -> Json:
    return {
        "video_uid": video.uid,
        "duration_sec": video.num_frames / FRAMES_PER_S,
        "video_metadata": {"fps": FRAMES_PER_S, "num_frames": video.num_frames, "video_codec": "vp9"},
        "split_em": video.split_em,
        "split_av": None,
        "split_fho": video.split_fho,
        "is_stereo": video.is_stereo,
        "has_redacted_regions": bool(video.redacted),
        "redacted_intervals": [_place(start, end) for start, end in video.redacted],
    }


def _action(video: ToyVideo, action: ToyAction) -> Json:
    return {
        "uid": None if action.is_rejected else f"{action.start_frame:08x}-ac71-4a1e-9b7a-{video.number:012x}",
        **_place(action.start_frame, action.end_frame),
        "is_valid_action": True,
        "is_rejected": action.is_rejected,
        "is_invalid_annotation": False,
        "reject_reason": "toy" if action.is_rejected else None,
        "narration_text": action.text,
        "narration_timestamp_sec": _middle(action) / FRAMES_PER_S,
        "narration_annotation_uid": video.annotation_uid,
    }


def _middle(action: ToyAction) -> int:
    return (action.start_frame + action.end_frame) // 2


def _place(start_frame: int, end_frame: int) -> Json:
    return {
        "start_frame": start_frame,
        "end_frame": end_frame,
        "start_sec": start_frame / FRAMES_PER_S,
        "end_sec": end_frame / FRAMES_PER_S,
    }
