"""Kuka, the QT-Opt grasping data of Open X-Embodiment, in RLDS form: `kuka/0.1.0`, as released or as prepared copies.

The shared layout of its steps is in `_shared/google_rlds.py`; this module contains what is specific to Kuka. Prepared
copies (images of at most 256x256, only the successes) differ only in numbers given in features.json.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.formats.rlds.dataset import RldsDataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureSpec, TensorEncoding
from vita_data.formats.rlds.files import RldsSettings
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
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    CommandReader,
    Drop,
    Modality,
    Outcome,
    Part,
    RawTree,
    Reason,
    SourceInfo,
    TextStyle,
)

_HZ = 10.0
_MIN_FRAMES = 2

INFO = SourceInfo(
    name="kuka",
    title="Kuka / QT-Opt (RLDS)",
    embodiment="kuka_iiwa",
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
    url="https://arxiv.org/abs/1806.10293",
    raw_layout="kuka/0.1.0: dataset_info.json, features.json, kuka-train.tfrecord-XXXXX-of-YYYYY",
    notes=(
        f"min_frames is {_MIN_FRAMES} here, not 13: the paper asks for more than 12 frames (VITA 7.1), but the mean "
        "successful episode has 11.7, and Table 10 counts them all. Futures beyond the end are masked.",
        "Only episodes marked successful are kept: 209,880 of 580,392.",
        "The gripper command is relative in the files; here it is the opening commanded last, as in Octo and OpenVLA.",
        "The instruction is generic ('pick anything'): two words that pass the text rules by their verb.",
        "There is only a train split: 5 % of the episodes, by a hash of their id, are val, unless a copy has its own.",
    ),
    published_episodes={"0.1.0": 580392, "successes (VITA Table 10)": 209880},
)

_NAME = "kuka"
_TOOL_POSE = "steps/observation/clip_function_input/base_pose_tool_reached"
_SUCCESS = "success"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of Kuka."""

    min_frames: int = _MIN_FRAMES
    """Minimum rows of a clip: fewer than elsewhere, since Kuka's mean episode has 11.7 and the paper counts them."""
    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of Kuka exists, several exist and none was chosen, or the release lacks keys or has
            vectors of another width.
        SourceError: its JSON files cannot be read.
    """
    dataset = _open(raw, pick_release(raw, [_NAME], settings.release), settings)
    return list_google_parts(raw, dataset, tool_pose=_TOOL_POSE)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    dataset = _open(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, settings))


def command_reader(raw: RawTree, settings: Settings) -> CommandReader:
    """Make a reader of recorded and rebuilt commands."""
    finder = RecordFinder(raw, lambda release: _open(raw, release, settings))
    return lambda clip: compare_commands(clip, finder)


def _open(raw: RawTree, release: str, settings: Settings) -> RldsDataset:
    return open_google_dataset(raw, release, settings, required=[_TOOL_POSE, _SUCCESS])


def _outcome(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    """Convert one record; a failed grasp is not read further.

    Assumes: every step is a row, whatever its terminate flag: Table 10 counts whole successful episodes. The pose's
        quaternion is x y z w as in Fractal, and the text was added for the release, not by someone who saw the episode.
    """
    if not record.ints(_SUCCESS).all():
        return Drop(episode=record.id, reason=Reason.UNSUCCESSFUL, detail="success is false")
    steps = read_steps(record, tool_pose=_TOOL_POSE)
    return to_outcome(record, steps, info=INFO, dataset=dataset, hz=settings.hz or _HZ, text_origin="auto")


# ------------------------------------------------------------------------------------------------------- toy tree

_LENGTHS = (14, 13, 9, 12, 1, 11)
_FAILED = (3, 5)
_STARTS_CLOSED = 1
_TEXT = "pick anything"


def write_toy(root: str) -> None:
    """Write `kuka/0.1.0` as released: train with 2 files of 3 episodes, measured values deflated.

    Among them: one that starts closed, one of 9 steps, one of a single step, and two failed grasps.
    """
    _write(root, image_size=(512, 640), encoding=TensorEncoding.ZLIB, numbers=range(len(_LENGTHS)))


def _write_toy_prepared(root: str) -> None:
    """Write `kuka/0.1.0` as prepared: only the successes, 256x256, measured values not deflated."""
    successes = [number for number in range(len(_LENGTHS)) if number not in _FAILED]
    _write(root, image_size=(256, 256), encoding=TensorEncoding.NONE, numbers=successes)


def _write(root: str, *, image_size: tuple[int, int], encoding: TensorEncoding, numbers: Sequence[int]) -> None:
    features = _toy_features(image_size, encoding)
    records = [_toy_record(features, number, image_size) for number in numbers]
    write_rlds(root, release=f"{_NAME}/0.1.0", features=features, splits={"train": [records[:3], records[3:]]})


def _toy_features(image_size: tuple[int, int], encoding: TensorEncoding) -> dict[str, FeatureSpec]:
    return toy_features(tool_pose=_TOOL_POSE, image_size=image_size, observation_encoding=encoding) | {
        "steps/observation/clip_function_input/workspace_bounds": toy_step_spec(3, 3, encoding=encoding),
        "steps/observation/task_id": toy_step_spec(1, encoding=encoding),
        _SUCCESS: FeatureSpec(dtype="bool"),
    }


def _toy_record(features: dict[str, FeatureSpec], number: int, image_size: tuple[int, int]) -> RldsValues:
    num_steps = _LENGTHS[number]
    is_late = np.arange(num_steps + 1) > num_steps // 2
    gripper = np.where(is_late == (number == _STARTS_CLOSED), 1.0, 0.0)
    num_drawn = 1 if number in _FAILED else num_steps
    images = toy_jpegs(image_size, num_steps=num_drawn, episode=number, hz=_HZ, gripper_open=gripper)
    record = toy_record(
        features,
        tool_pose=_TOOL_POSE,
        gripper_open=gripper,
        images=images * (num_steps // len(images)),
        hz=_HZ,
        seed=number,
        text=_TEXT,
        terminate_at=num_steps - 1,
    )
    return record | {_SUCCESS: np.array(number not in _FAILED)}
