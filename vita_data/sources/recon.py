"""RECON, off-road driving with a Jackal, in its RLDS form `berkeley_gnm_recon/0.1.0`; `video`, no actions.

The waypoint actions of the release are not read: their scale is specific to the release and differs between
trajectories (Octo undoes it with a factor per trajectory). The measured motion is kept as the state of the base.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, require_features
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_jpeg, toy_road_frame
from vita_data.geometry import wrap_angle
from vita_data.sources._shared.lerobot.recon import recon_conversions
from vita_data.types import (
    Arms,
    Base,
    CameraRole,
    Drop,
    Episode,
    Float64,
    Instruction,
    Modality,
    Outcome,
    Part,
    RawTree,
    Reason,
    SourceInfo,
    TextStyle,
)

_HZ = 3.0

INFO = SourceInfo(
    name="recon",
    title="RECON (Berkeley GNM, RLDS)",
    embodiment="jackal",
    arms=Arms.BASE,
    modality=Modality.VIDEO,
    hz=_HZ,
    cameras={CameraRole.PRIMARY: "image"},
    action_origin=None,
    action_space="none; the state holds the base's x, y in metres and yaw relative to the episode's start",
    text_style=TextStyle.CONSTANT,
    licence="CC BY 4.0",
    redistributable=True,
    access="public, no account",
    url="https://sites.google.com/view/recon-robot",
    raw_layout="berkeley_gnm_recon/0.1.0: dataset_info.json, features.json, <name>-<split>.tfrecord-XXXXX-of-YYYYY",
    notes=(
        "One text serves all episodes; it is taken from the data and judged for emptiness alone.",
        "The images are 120x160: stored at 256x256 they are enlarged and change their aspect.",
        "A release without a validation split has 5% of its episodes, by hash, as val; the public one has none.",
    ),
    published_episodes={"0.1.0, VITA Table 10": 11834},
)

_NAMES = ("berkeley_gnm_recon",)
_IMAGE = "steps/observation/image"
_POSITION, _YAW = "steps/observation/position", "steps/observation/yaw"
_TEXT = "steps/language_instruction"
_FILE_PATH = "episode_metadata/file_path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of RECON."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of RECON exists, several exist and none was chosen, or the release lacks keys.
        SourceError: its JSON files cannot be read.
    """
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        return _LEROBOT.parts(raw, settings)
    dataset = open_dataset(raw, pick_release(raw, _NAMES, settings.release), settings)
    required = {_IMAGE: None, _POSITION: 2, _YAW: 1, _TEXT: None}
    require_features(dataset.features, required, place=f"{dataset.release}/features.json in {raw.root}")
    return list_parts(raw, dataset)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file; every step of an episode is a row.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, settings))


def _outcome(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    images, position, yaw = record.byte_strings(_IMAGE), record.floats(_POSITION), record.floats(_YAW)
    if not len(images) == len(position) == len(yaw):
        raise EpisodeError(f"{record.id}: {len(images)} frames, {len(position)} positions and {len(yaw)} yaws")
    if not len(images):
        return Drop(episode=record.id, reason=Reason.SHORT, detail="no steps")
    return Episode(
        id=record.id,
        source=INFO.name,
        release=dataset.release,
        split=dataset.split_of(record),
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or _HZ,
        step_index=np.arange(len(images)),
        instructions=_instructions(record.texts(_TEXT)),
        cameras={CameraRole.PRIMARY: EncodedFrames(images)},
        base=Base(pose=_relative_pose(position, yaw[:, 0])),
        provenance=_provenance(record),
    )


def _relative_pose(position_m: Float64, yaw_rad: Float64) -> Float64:
    """Express positions [T, 2] and yaws [T] in the frame of the first row: x forward, y to the left, yaw in [-pi, pi).

    Assumes: positions are metres in the odometry frame, as the Jackal reports them.
    """
    cos, sin = np.cos(yaw_rad[0]), np.sin(yaw_rad[0])
    x, y = (position_m - position_m[0]).T
    return np.column_stack([cos * x + sin * y, cos * y - sin * x, wrap_angle(yaw_rad - yaw_rad[0])])


def _instructions(texts: list[str]) -> tuple[Instruction, ...]:
    """Keep each text of the steps once, in order; an episode without text gets an empty one."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()] or [""]
    return tuple(Instruction(text=text, origin="template") for text in distinct)


def _provenance(record: RldsRecord) -> dict[str, object]:
    place: dict[str, object] = {"file": record.file, "record": record.index}
    path = record.text(_FILE_PATH)
    # The outer folders are those of the authors' disk; the last two names identify the trajectory.
    return place if path is None else place | {"file_path": "/".join([name for name in path.split("/") if name][-2:])}


_LEROBOT = recon_conversions(INFO, hz=_HZ, relative_pose=_relative_pose)

# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_STEPS = (30, 24, 20, 18, 15, 9)
_TOY_BLACK, _TOY_NO_TEXT = 3, 4
_TOY_START_M = (12.0, -7.0)
_TOY_TEXT = b"Navigate"
_TOY_FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal")
_TOY_SPEED_M, _TOY_TURN_RAD = 0.4, 0.11


def write_toy(root: str) -> None:
    """Write `berkeley_gnm_recon/0.1.0`: train with 2 files of 3 episodes.

    The stored yaw crosses pi. One episode is black, one has no text, and one is too short.
    """
    records = [_toy_record(number, num_steps) for number, num_steps in enumerate(_TOY_STEPS)]
    features = {
        **dict.fromkeys(_TOY_FLAGS, FeatureSpec(dtype="bool", num_levels=1)),
        "steps/action": _steps(2),
        "steps/action_angle": _steps(3),
        _IMAGE: FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(120, 160, 3), num_levels=1),
        _POSITION: _steps(2),
        _YAW: _steps(1),
        "steps/observation/state": _steps(3),
        _TEXT: FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1),
        _FILE_PATH: FeatureSpec(kind=FeatureKind.TEXT, dtype="string"),
    }
    write_rlds(
        root, release="berkeley_gnm_recon/0.1.0", features=features, splits={"train": [records[:3], records[3:]]}
    )


def _steps(size: int) -> FeatureSpec:
    return FeatureSpec(dtype="float64", shape=(size,), num_levels=1)


def _toy_record(number: int, num_steps: int) -> RldsValues:
    yaw = np.pi - 0.5 + _TOY_TURN_RAD * np.arange(num_steps)
    stride = _TOY_SPEED_M * np.column_stack([np.cos(yaw), np.sin(yaw)])
    position = np.array(_TOY_START_M) + np.cumsum(stride, axis=0) - stride
    pose = np.column_stack([position, wrap_angle(yaw)])
    last = np.arange(num_steps) == num_steps - 1
    return {
        **dict(zip(_TOY_FLAGS, (np.arange(num_steps) == 0, last, last), strict=True)),
        "steps/action": np.tile([1.6, 0.2], (num_steps, 1)),
        "steps/action_angle": np.tile([1.6, 0.2, _TOY_TURN_RAD], (num_steps, 1)),
        _IMAGE: _toy_jpegs(number, pose),
        _POSITION: pose[:, :2],
        _YAW: pose[:, 2:],
        "steps/observation/state": pose,
        _TEXT: [b"" if number == _TOY_NO_TEXT else _TOY_TEXT] * num_steps,
        _FILE_PATH: [f"/home/author/recon/jackal_2019-08-02-16-23-29_{number}_r00/traj_data.pkl".encode()],
    }


def _toy_jpegs(number: int, pose: Float64) -> list[bytes]:
    if number == _TOY_BLACK:
        return [toy_jpeg(np.zeros((120, 160, 3), np.uint8))] * len(pose)
    return [
        toy_jpeg(toy_road_frame(120, 160, step=step, episode=number, xy_m=xy_m, yaw_rad=float(yaw_rad)))
        for step, (*xy_m, yaw_rad) in enumerate(pose - [*_TOY_START_M, 0.0])
    ]
