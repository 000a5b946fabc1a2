"""Which features an exported LeRobot dataset has, found by reading the vectors of all clips once."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vita_data.errors import RequestError
from vita_data.export.columns import action_names, state_names
from vita_data.export.opened import OpenedSource
from vita_data.formats.lerobot.layout_v3 import OWN
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import IMAGE_SIZE, CameraRole, Json

ACTION, STATE = "action", "observation.state"
MASK_ACTION, MASK_STATE = "mask.action", "mask.state"
"""lerobot takes each key that begins with `action` or `observation` as an input of a policy, so masks do not."""
STEP = "step_index"
_SAME_RATE = 1e-6
_LARGEST_DENOMINATOR = 10_000


def image_key(role: CameraRole) -> str:
    """Return the feature of a camera."""
    return f"observation.images.{role}"


def camera_mask_key(role: CameraRole) -> str:
    """Return the column that is False where a camera has no image; lerobot takes `image` in a name for pictures."""
    return f"mask.camera.{role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What all episodes of an exported dataset have in common."""

    rate: Fraction
    action_columns: tuple[int, ...]
    """The columns of the action [40] that some clip has."""
    state_columns: tuple[int, ...]
    """The columns of the state [64] that some clip has."""
    cameras: tuple[CameraRole, ...]
    embodiments: tuple[str, ...]
    codec: str
    """What `info.json` calls the codec: h264 or av1."""

    @property
    def fps(self) -> float:
        """The rate as `info.json` has it: a whole number if it is one."""
        return int(self.rate) if self.rate.denominator == 1 else float(self.rate)

    @property
    def robot(self) -> str:
        """The robots in one word."""
        return " ".join(self.embodiments)

    def numbers(self) -> dict[str, Json]:
        """Describe the columns of the tables."""
        found: dict[str, Json] = {}
        actions, states = action_names(), state_names()
        for key, dtype, names in (
            (STATE, "float32", [states[column] for column in self.state_columns]),
            (ACTION, "float32", [actions[column] for column in self.action_columns]),
            (MASK_STATE, "bool", [states[column] for column in self.state_columns]),
            (MASK_ACTION, "bool", [actions[column] for column in self.action_columns]),
        ):
            if names:
                found[key] = {"dtype": dtype, "shape": [len(names)], "names": names}
        found |= {camera_mask_key(role): _scalar("bool") for role in self.cameras}
        return found | {STEP: _scalar("int64")} | {key: _scalar(dtype) for key, dtype in OWN.items()}

    def videos(self) -> dict[str, Json]:
        """Describe the cameras."""
        facts: Json = {
            "video.height": IMAGE_SIZE, "video.width": IMAGE_SIZE, "video.codec": self.codec,
            "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": self.fps, "video.channels": 3,
            "has_audio": False,
        }  # fmt: skip
        shape = {"shape": [IMAGE_SIZE, IMAGE_SIZE, 3], "names": ["height", "width", "channels"]}
        return {image_key(role): {"dtype": "video", **shape, "info": facts} for role in self.cameras}


def find_layout(source: OpenedSource, *, codec: str) -> Layout:
    """Read the vectors of all clips to find what they have.

    Raises:
        RequestError: not every row has its images, or the clips have several rates.
    """
    if not source.has_every_row:
        folder = source.splits[0].folder
        raise RequestError(
            f"{folder} stores one image a second, and LeRobot needs one for each row; build it again: `vita-data build "
            f"--source {source.name} --raw RAW --out {folder.parent}_all_frames --frames all`"
        )
    action, state = np.zeros(ACTION_DIM, bool), np.zeros(STATE_DIM, bool)
    rates, cameras, embodiments = set[float](), set[CameraRole](), set[str]()
    for split in source.splits:
        embodiments |= {str(name) for name in split.clips["embodiment"].unique()}
        for clip in split:
            action |= clip.action_mask
            state |= clip.state_mask
            rates.add(clip.hz)
            cameras |= set(clip.cameras)
    return Layout(
        rate=_one_rate(source.name, sorted(rates)),
        action_columns=tuple(np.flatnonzero(action).tolist()),
        state_columns=tuple(np.flatnonzero(state).tolist()),
        cameras=tuple(role for role in CameraRole if role in cameras),
        embodiments=tuple(sorted(embodiments)),
        codec=codec,
    )


def _one_rate(name: str, rates: Sequence[float]) -> Fraction:
    if rates[-1] - rates[0] > _SAME_RATE * rates[0]:
        raise RequestError(
            f"{name} has clips of {len(rates)} rates, from {rates[0]:.6g} to {rates[-1]:.6g} Hz, and a LeRobot dataset "
            "has one; export it with --format parquet"
        )
    return Fraction(rates[0]).limit_denominator(_LARGEST_DENOMINATOR)


def _scalar(dtype: str) -> Json:
    return {"dtype": dtype, "shape": [1], "names": None}
