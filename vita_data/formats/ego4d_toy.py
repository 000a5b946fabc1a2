"""Toy metadata and annotations in the shape of Ego4D's own JSON files; the fields that our reader and others use."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vita_data.formats.ego4d_json import FRAMES_PER_S
from vita_data.types import Json


@dataclass(frozen=True, slots=True)
class ToyAction:
    """An FHO action over half-open frames; a rejected one has no uid, as in the release."""

    start_frame: int
    end_frame: int
    text: str
    is_rejected: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyVideo:
    """A video and what was annotated in it; `redacted` are half-open frames."""

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
        """The video's uid, of the form of the release's."""
        return f"{self.number:08x}-d0c5-4a1e-9b7a-0123456789ab"

    @property
    def annotation_uid(self) -> str:
        """The uid of the one annotator's pass over the video."""
        return f"{self.number:08x}-0a55-4a1e-9b7a-0123456789ab"


def metadata_json(videos: Sequence[ToyVideo]) -> Json:
    """Lay out `ego4d.json`."""
    return {"version": "v2", "description": "toy", "videos": [_video(video) for video in videos], "clips": []}


def actions_json(videos: Sequence[ToyVideo]) -> Json:
    """Lay out `fho_main.json`: one annotated interval a video."""
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
    """Lay out `narration.json`: one pass, a narration in the middle of each action."""
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
