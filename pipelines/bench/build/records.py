"""A generated RLDS tree like Bridge's: 256x256 JPEGs of realistic size in three views, and a blank fourth view."""

from pathlib import Path

import numpy as np
import simplejpeg

from pipelines.bench.build.videos import moving_scene
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_arm
from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.types import IMAGE_SIZE, Float64

_HZ, _NUM_STEPS, _NUM_FILES = 5.0, 38, 4
"""Bridge's rate and mean length."""
_FLAGS = ("is_first", "is_last", "is_terminal")
_VIEWS = ("image_0", "image_1", "image_2", "image_3")
_IMAGE = FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(IMAGE_SIZE, IMAGE_SIZE, 3), num_levels=1)
_FEATURES = {
    "steps/action": FeatureSpec(shape=(7,), num_levels=1),
    "steps/observation/state": FeatureSpec(shape=(7,), num_levels=1),
    "steps/language_instruction": FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1),
    "episode_metadata/file_path": FeatureSpec(kind=FeatureKind.TEXT, dtype="string"),
    **{f"steps/{name}": FeatureSpec(dtype="bool", num_levels=1) for name in _FLAGS},
    **{f"steps/observation/{view}": _IMAGE for view in _VIEWS},
}


def write_record_tree(raw: Path, *, num_records: int) -> int:
    """Write a tree for source `bridge`, with four files of equal length; returns the number of frames."""
    scene = moving_scene(IMAGE_SIZE, IMAGE_SIZE, _NUM_STEPS, seed=3)
    images = [simplejpeg.encode_jpeg(pixels, 95, "RGB", "420") for pixels in scene]
    records = [_record(number, images) for number in range(num_records)]
    files = [records[number::_NUM_FILES] for number in range(_NUM_FILES)]
    write_rlds(str(raw), release="bridge_dataset/1.0.0", features=_FEATURES, splits={"train": files})
    return num_records * _NUM_STEPS


def _record(number: int, images: list[bytes]) -> RldsValues:
    state, action = _motion(number)
    step = np.arange(_NUM_STEPS)
    blank = simplejpeg.encode_jpeg(np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), 95, "RGB", "420")
    return {
        "steps/action": action,
        "steps/observation/state": state,
        "steps/language_instruction": [b"put the carrot on the plate"] * _NUM_STEPS,
        "episode_metadata/file_path": [f"sink/task_{number}/out.npy".encode()],
        "steps/is_first": step == 0,
        "steps/is_last": step == _NUM_STEPS - 1,
        "steps/is_terminal": step == _NUM_STEPS - 1,
        **{f"steps/observation/{view}": images for view in _VIEWS[:3]},
        f"steps/observation/{_VIEWS[3]}": [blank] * _NUM_STEPS,
    }


def _motion(seed: int) -> tuple[Float64, Float64]:
    """Make states and actions [T, 7]; the first action is a placeholder, as in the real files."""
    arm = toy_arm(_NUM_STEPS, hz=_HZ, seed=seed)
    turn = euler_xyz_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    action = np.zeros((_NUM_STEPS, 7))
    action[:-1] = np.column_stack([np.diff(arm.xyz_m, axis=0), turn, arm.gripper_open[1:]])
    action[0, :6] = 0.0
    return np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation), arm.gripper_open]), action
