"""BridgeData V2 in RLDS form, both public releases; its other forms (raw pickles, HDF5) are not read.

`bridge/0.1.0` is Open X-Embodiment's copy: one 480x640 image, the action a dict. `bridge_dataset/1.0.0`, also found
renamed to `bridge_orig/1.0.0`, is the authors' own: 256x256, a flat 7-D action. The layout is detected from
`features.json`, not from the name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, require_features
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_arm, toy_frames, toy_jpeg
from vita_data.geometry import euler_xyz_from_matrix, matrix_from_euler_xyz, rotation_delta
from vita_data.sources._shared.lerobot.bridge import bridge_conversions
from vita_data.types import (
    ActionOrigin,
    ActionRange,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Drop,
    Episode,
    Float64,
    Instruction,
    Modality,
    Outcome,
    Part,
    PoseTarget,
    RawTree,
    Reason,
    SourceInfo,
    TextStyle,
)

_HZ = 5.0

INFO = SourceInfo(
    name="bridge",
    title="BridgeData V2 (RLDS)",
    embodiment="widowx",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=_HZ,
    cameras={CameraRole.PRIMARY: "image (bridge/0.1.0) or image_0 (bridge_dataset/1.0.0)"},
    action_origin=ActionOrigin.REACHED,
    action_space="7-D: displacement to the next recorded hand pose (composed rotations), gripper command 1 = open",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0",
    redistributable=True,
    access="public, no account",
    url="https://rail-berkeley.github.io/bridgedata/",
    raw_layout="bridge/0.1.0 or bridge_dataset/1.0.0 (bridge_orig/1.0.0): dataset_info.json, features.json, "
    "<name>-<split>.tfrecord-XXXXX-of-YYYYY",
    notes=(
        "The first step (an all-zero action) and the last (no pose to reach) are no rows: T_raw - 2 rows an episode.",
        "Motion leads to the next recorded pose, not to the commanded one: the arm follows commands imperfectly.",
        "Release 1.0.0: the gripper action is made 0 or 1 as in Octo and OpenVLA; undecided values at an episode's end "
        "take the raw last value and may lie between. Release 0.1.0 is 0 or 1 already. 1 is open in both.",
        "The split test of 0.1.0 is val here; a copy with train alone has 5% of its episodes, by hash, as val.",
        "The state's gripper is as stored. image_1 to image_3 are not read.",
    ),
    published_episodes={
        "bridge/0.1.0, train and test": 28935,
        "bridge/0.1.0, train (VITA Table 10)": 25460,
        "bridge_dataset/1.0.0": 60064,
    },
    published_range=ActionRange(
        q01=(-0.030, -0.043, -0.026, -0.086, -0.098, -0.169), q99=(0.029, 0.042, 0.041, 0.088, 0.083, 0.164)
    ),
)

_NAMES = ("bridge", "bridge_dataset", "bridge_orig")
_OPEN, _CLOSED = 0.95, 0.05
_STATE = "steps/observation/state"
_FILE_PATH = "episode_metadata/file_path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of Bridge."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The keys of one of the two releases."""

    image: str
    text: str
    action: str
    action_width: int
    gripper: Callable[[RldsRecord], Float64]
    integers: tuple[str, ...] = ()
    """Keys with whole numbers."""


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of Bridge exists, several exist and none was chosen, or the release lacks keys.
        SourceError: its JSON files cannot be read.
    """
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        return _LEROBOT.parts(raw, settings)
    dataset = open_dataset(raw, pick_release(raw, _NAMES, settings.release), settings)
    layout = _layout(dataset)
    required = {_STATE: 7, layout.action: layout.action_width, layout.image: None, layout.text: None}
    place = f"{dataset.release}/features.json in {raw.root}"
    require_features(dataset.features, required, place=place, integers=layout.integers)
    return list_parts(raw, dataset)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, _layout(dataset), settings))


def _layout(dataset: RldsDataset) -> _Layout:
    if "steps/action/open_gripper" in dataset.features:
        return _Layout(
            image="steps/observation/image",
            text="steps/observation/natural_language_instruction",
            action="steps/action/open_gripper",
            action_width=1,
            gripper=lambda record: record.ints("steps/action/open_gripper").astype(np.float64),
            integers=("steps/action/open_gripper",),
        )
    if "steps/action" in dataset.features:
        return _Layout(
            image="steps/observation/image_0",
            text="steps/language_instruction",
            action="steps/action",
            action_width=7,
            gripper=lambda record: record.floats("steps/action")[:, 6],
        )
    raise RequestError(
        f"{dataset.release}/features.json has neither steps/action nor steps/action/open_gripper, so it is not a "
        "Bridge release"
    )


def _outcome(dataset: RldsDataset, layout: _Layout, settings: Settings, record: RldsRecord) -> Outcome:
    state, gripper, images = record.floats(_STATE), layout.gripper(record), record.byte_strings(layout.image)
    if not len(state) == len(gripper) == len(images):
        raise EpisodeError(f"{record.id}: {len(images)} frames, {len(state)} states and {len(gripper)} actions")
    if state.shape[1] != 7:
        raise EpisodeError(
            f"{record.id}: expected a state of 7 values (x y z roll pitch yaw gripper), got {state.shape[1]}"
        )
    if len(state) < 3:
        return Drop(
            episode=record.id,
            reason=Reason.SHORT,
            detail=f"{len(state)} raw steps leave no row after the first and the last are taken off",
        )
    return Episode(
        id=record.id,
        source=INFO.name,
        release=dataset.release,
        split=dataset.split_of(record),
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or _HZ,
        step_index=np.arange(1, len(state) - 1),
        instructions=_instructions(record.texts(layout.text)),
        cameras={CameraRole.PRIMARY: EncodedFrames(images[1:-1])},
        right=_arm(state, gripper),
        action_origin=INFO.action_origin,
        provenance=_provenance(record),
    )


def _arm(state: Float64, gripper: Float64) -> Arm:
    """Take rows 1..T-2 of a raw state [T, 7] and gripper action [T]; the target of a row is the pose of the next row.

    Raw action 0 is a placeholder, and the last step has no next pose (Octo, data_utils.py: relabel_bridge_actions).
    """
    rotation = matrix_from_euler_xyz(state[:, 3:6])
    motion = PoseTarget(xyz_m=state[2:, :3], rotation=rotation[2:])
    action = ArmAction(motion=motion, gripper_open=_decided(gripper[1:])[:-1])
    return Arm(xyz_m=state[1:-1, :3], rotation=rotation[1:-1], gripper_open=state[1:-1, 6], action=action)


def _decided(value: Float64) -> Float64:
    """Replace each undecided value (0.05 to 0.95) of a gripper command [T] by the next decided one (0 or 1).

    If no decided value follows, it becomes the raw value of the last action, which may be between the thresholds:
    Octo's scan runs backwards and starts from that value (data_utils.py: binarize_gripper_actions).

    Assumes: NaN stays NaN for later checks.
    """
    decided = np.flatnonzero((value > _OPEN) | (value < _CLOSED))
    following = np.searchsorted(decided, np.arange(len(value)))
    candidates = np.append((value[decided] > _OPEN).astype(np.float64), value[-1])
    return np.where(np.isnan(value), value, candidates[following])


def _instructions(texts: list[str]) -> tuple[Instruction, ...]:
    """Keep each text of the steps once, in order; an episode without text gets an empty one."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()] or [""]
    return tuple(Instruction(text=text, origin="human") for text in distinct)


def _provenance(record: RldsRecord) -> dict[str, object]:
    place: dict[str, object] = {"file": record.file, "record": record.index}
    path = record.text(_FILE_PATH)
    return place if path is None else place | {"file_path": _below_data_root(path)}


def _below_data_root(path: str) -> str:
    """Remove the authors' folders from a recorded path: `/nfs/.../bridge_data_v1/lab/scene/...` starts at the data."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    roots = [number for number, part in enumerate(parts) if part.startswith("bridge_data_v")]
    return "/".join(parts[roots[0] if roots else -4 :])


_LEROBOT = bridge_conversions(INFO, decided=_decided)

# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_TEXTS = ("put the carrot on the plate", "flip the pot upright in the sink", "turn the lever to the front")
_EMPTY_TEXT, _TOO_SHORT = 2, 4
_METADATA = {
    "episode_metadata/file_path": FeatureSpec(kind=FeatureKind.TEXT, dtype="string"),
    "episode_metadata/episode_id": FeatureSpec(dtype="int32"),
}


def write_toy(root: str) -> None:
    """Write `bridge_dataset/1.0.0`: train with 2 files of 3 episodes, val with 1 of 2.

    It has the quirks of the real files: a first action of almost zero, an episode without text, one that is too short,
    and one whose last step does not set is_last.
    """
    records = [_flat_record(number, num_steps=10 if number == _TOO_SHORT else 40 + 2 * number) for number in range(8)]
    features = (
        _METADATA
        | _step_features("bool", "is_first", "is_last", "is_terminal")
        | {
            "steps/action": _steps(7),
            _STATE: _steps(7),
            "steps/language_instruction": FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1),
            **{f"steps/observation/image_{view}": _image(256, 256) for view in range(4)},
        }
    )
    write_rlds(
        root,
        release="bridge_dataset/1.0.0",
        features=features,
        splits={"train": [records[:3], records[3:6]], "val": [records[6:]]},
    )


def _write_toy_oxe(root: str) -> None:
    """Write `bridge/0.1.0` with two train episodes and one test episode."""
    records = [_oxe_record(number, num_steps=20 + number) for number in range(3)]
    features = _step_features("bool", "is_first", "is_last", "is_terminal", "action/open_gripper") | {
        "steps/action/world_vector": _steps(3),
        "steps/action/rotation_delta": _steps(3),
        "steps/action/terminate_episode": _steps(),
        _STATE: _steps(7),
        "steps/observation/image": _image(480, 640),
        "steps/observation/natural_language_instruction": FeatureSpec(
            kind=FeatureKind.TEXT, dtype="string", num_levels=1
        ),
    }
    write_rlds(root, release="bridge/0.1.0", features=features, splits={"train": [records[:2]], "test": [records[2:]]})


def _steps(*shape: int) -> FeatureSpec:
    return FeatureSpec(shape=shape, num_levels=1)


def _step_features(dtype: str, *names: str) -> dict[str, FeatureSpec]:
    return {f"steps/{name}": FeatureSpec(dtype=dtype, num_levels=1) for name in names}


def _image(height: int, width: int) -> FeatureSpec:
    return FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(height, width, 3), num_levels=1)


def _flat_record(number: int, *, num_steps: int) -> RldsValues:
    state, action = _toy_motion(number, num_steps)
    dummy = [toy_jpeg(np.zeros((256, 256, 3), np.uint8))] * num_steps
    return _toy_flags(number, num_steps) | {
        "steps/action": action,
        _STATE: state,
        "steps/language_instruction": [_toy_text(number)] * num_steps,
        "steps/observation/image_0": _toy_jpegs(256, 256, number, num_steps),
        **{f"steps/observation/image_{view}": dummy for view in (1, 2, 3)},
        "episode_metadata/file_path": [f"toysink/task_{number}/out.npy".encode()],
        "episode_metadata/episode_id": np.array(number),
    }


def _oxe_record(number: int, *, num_steps: int) -> RldsValues:
    state, action = _toy_motion(number, num_steps)
    return _toy_flags(number, num_steps) | {
        "steps/action/world_vector": action[:, :3],
        "steps/action/rotation_delta": action[:, 3:6],
        "steps/action/open_gripper": action[:, 6] > 0.5,
        "steps/action/terminate_episode": np.arange(num_steps) == num_steps - 1.0,
        _STATE: state,
        "steps/observation/image": _toy_jpegs(480, 640, number, num_steps),
        "steps/observation/natural_language_instruction": [_toy_text(number)] * num_steps,
    }


def _toy_motion(number: int, num_steps: int) -> tuple[Float64, Float64]:
    """Make states [T, 7] and the commands [T, 7] that lead to the next ones; the first command is a placeholder."""
    arm = toy_arm(num_steps, hz=_HZ, seed=number)
    state = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation), arm.gripper_open])
    turn = euler_xyz_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    action = np.zeros((num_steps, 7))
    action[:-1] = np.column_stack([np.diff(arm.xyz_m, axis=0), turn, arm.gripper_open[1:]])
    action[num_steps // 2 - 2, 6] = 0.5
    action[0] = [1e-10] * 6 + [1.0]
    return state, action


def _toy_flags(number: int, num_steps: int) -> dict[str, np.ndarray]:
    step = np.arange(num_steps)
    last = (step == num_steps - 1) & (number != 1)
    return {"steps/is_first": step == 0, "steps/is_last": last, "steps/is_terminal": last}


def _toy_text(number: int) -> bytes:
    return b"" if number == _EMPTY_TEXT else _TOY_TEXTS[number % len(_TOY_TEXTS)].encode()


def _toy_jpegs(height: int, width: int, number: int, num_steps: int) -> list[bytes]:
    arm = toy_arm(num_steps, hz=_HZ, seed=number)
    return [toy_jpeg(frame) for frame in toy_frames(height, width, range(num_steps), episode=number, arms=[arm])]
