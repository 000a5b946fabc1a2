"""Fractal, the RT-1 kitchen robot data of Open X-Embodiment, in RLDS form: `fractal20220817_data/0.1.0`.

The shared layout of its steps is in `_shared/google_rlds.py`; this module contains what is specific to Fractal. The
other cameras, boxes and goals of its observations are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.formats.rlds.dataset import RldsDataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureSpec, TensorEncoding
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.sources._shared.google_rlds import (
    compare_commands,
    list_google_parts,
    open_google_dataset,
    read_steps,
    to_outcome,
)
from vita_data.sources._shared.google_rlds_toy import toy_features, toy_jpegs, toy_record, toy_step_spec
from vita_data.sources._shared.lerobot.oxe import fractal_conversions
from vita_data.types import (
    ActionOrigin,
    ActionRange,
    Arms,
    CameraRole,
    CommandReader,
    Modality,
    Outcome,
    Part,
    RawTree,
    SourceInfo,
    TextStyle,
)

_HZ = 3.0

INFO = SourceInfo(
    name="fractal",
    title="Fractal / RT-1 (RLDS)",
    embodiment="google_robot",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=_HZ,
    cameras={CameraRole.PRIMARY: "image"},
    action_origin=ActionOrigin.COMMANDED,
    action_space="7-D: commanded displacement (m) and turn (rpy, rad) in the base frame, gripper made absolute, "
    "1 = open; base dx dy dyaw where the base moves",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0",
    redistributable=True,
    access="public bucket gs://gresearch/robotics, no account",
    url="https://robotics-transformer1.github.io",
    raw_layout="fractal20220817_data/0.1.0: dataset_info.json, features.json, "
    "fractal20220817_data-train.tfrecord-XXXXX-of-YYYYY",
    max_step_m=0.5,
    max_step_rad=1.6,
    notes=(
        "Steps after the one whose action terminates the episode are no rows; that one is.",
        "The gripper command is relative in the files; here it is the opening commanded last, as in Octo and OpenVLA.",
        "Steps of more than 0.5 m or 1.6 rad are marked invalid and kept as they are; the files have some up to 22 m.",
        "The base slots are masked in episodes whose base never moves.",
        "There is only a train split: 5 % of the episodes, by a hash of their id, are val, unless a copy has its own.",
        "The success ratings (aspects) are no filter: the release as a whole is what the paper's Table 10 counts.",
    ),
    published_episodes={"0.1.0, VITA Table 10": 87212},
    published_range=ActionRange(
        q01=(-0.225, -0.148, -0.232, -0.352, -0.419, -0.436), q99=(0.178, 0.149, 0.218, 0.589, 0.353, 0.448)
    ),
)

_NAME = "fractal20220817_data"
_TOOL_POSE = "steps/observation/base_pose_tool_reached"
_LEROBOT = fractal_conversions(INFO, hz=_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of Fractal."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of Fractal exists, several exist and none was chosen, or the release lacks keys or has
            vectors of another width.
        SourceError: its JSON files cannot be read.
    """
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        return _LEROBOT.parts(raw, settings)
    dataset = _open(raw, pick_release(raw, [_NAME], settings.release), settings)
    return list_google_parts(raw, dataset, tool_pose=_TOOL_POSE)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    dataset = _open(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, settings))


def command_reader(raw: RawTree, settings: Settings) -> CommandReader:
    """Make a reader of recorded and rebuilt commands."""
    finder = RecordFinder(raw, lambda release: _open(raw, release, settings))
    return lambda clip: compare_commands(clip, finder)


def _open(raw: RawTree, release: str, settings: Settings) -> RldsDataset:
    return open_google_dataset(raw, release, settings, required=[_TOOL_POSE])


def _outcome(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    """Convert one record.

    Assumes: instructions are filled templates of a verb and its objects (RT-1, Table 1). The gripper's history uses
        only the kept steps, since the steps after the end do not belong to the demonstration.
    """
    steps = read_steps(record, tool_pose=_TOOL_POSE).until_terminate()
    return to_outcome(record, steps, info=INFO, dataset=dataset, hz=settings.hz or _HZ, text_origin="template")


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_TEXTS = ("pick green can from the top shelf", "move orange near sponge", "close middle drawer")
_IMAGE_SIZE = (256, 320)
_REOPENS, _MOVES_BASE, _GOES_ON, _NEVER_ENDS, _ENDS_SOON, _NO_TEXT, _OUTLIERS = 1, 1, 2, 3, 4, 5, 6
_ASPECTS = ("already_success", "feasible", "has_aspects", "success", "undesirable")
_ATTRIBUTES = ("collection_mode", "data_type", "env", "location", "objects_family", "task_family")
_FEATURES = (
    toy_features(tool_pose=_TOOL_POSE, image_size=_IMAGE_SIZE, observation_encoding=TensorEncoding.NONE)
    | {f"aspects/{name}": FeatureSpec(dtype="bool") for name in _ASPECTS}
    | {f"attributes/{name}": FeatureSpec(dtype="int64") for name in _ATTRIBUTES}
    | {f"attributes/{name}_name": FeatureSpec(dtype="string") for name in _ATTRIBUTES}
    | {
        f"steps/observation/{name}": toy_step_spec(*shape)
        for name, shape in {
            "gripper_closedness_commanded": (1,),
            "orientation_box": (2, 3),
            "orientation_start": (4,),
            "robot_orientation_positions_box": (3, 3),
            "rotation_delta_to_go": (3,),
            "src_rotation": (4,),
            "vector_to_go": (3,),
            "workspace_bounds": (3, 3),
        }.items()
    }
)


def write_toy(root: str) -> None:
    """Write `fractal20220817_data/0.1.0`: train with 2 files of 4 and 3 episodes.

    Among them: one that starts closed and moves its base, one with steps after its end, one without an end, one that
    ends after 9 steps, one without text, and one with more outliers than allowed.
    """
    records = [_toy_record(number) for number in range(7)]
    write_rlds(root, release=f"{_NAME}/0.1.0", features=_FEATURES, splits={"train": [records[:4], records[4:]]})


def _toy_record(number: int) -> RldsValues:
    num_steps = 24 + 2 * number
    ends = {_GOES_ON: num_steps - 7, _NEVER_ENDS: None, _ENDS_SOON: 8}
    step = np.arange(num_steps + 1)
    closed = (step >= num_steps // 3) & (step < 2 * num_steps // 3)
    is_dropped = number >= _ENDS_SOON
    gripper = np.where(closed, 0.0, 1.0) if number != _REOPENS else np.where(step < 12, 0.0, 1.0)
    images = toy_jpegs(
        _IMAGE_SIZE, num_steps=1 if is_dropped else num_steps, episode=number, hz=_HZ, gripper_open=gripper
    )
    record = toy_record(
        _FEATURES,
        tool_pose=_TOOL_POSE,
        gripper_open=gripper,
        images=images * (num_steps // len(images)),
        hz=_HZ,
        seed=number,
        text="" if number == _NO_TEXT else _TOY_TEXTS[number % len(_TOY_TEXTS)],
        terminate_at=ends.get(number, num_steps - 1),
    )
    base, jumps = np.zeros((num_steps, 2)), np.array(record["steps/action/world_vector"])
    base[5:9, 0] = 0.02 if number == _MOVES_BASE else 0.0
    jumps[3:6] += 22.0 if number == _OUTLIERS else 0.0
    return record | {"steps/action/base_displacement_vector": base, "steps/action/world_vector": jumps}
