"""Made episodes in a made source, for tests that break one assumption at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.geometry import matrix_from_euler_xyz, rotation_delta
from vita_data.probe import Probe, ProbeResult, probe_tree
from vita_data.probe.run import Probed
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Episode,
    Instruction,
    Modality,
    Outcome,
    Part,
    PoseDelta,
    PoseTarget,
    RawTree,
    ResizeMode,
    RgbFrame,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

HZ = 10.0
NUM_ROWS = 60
INFO = SourceInfo(
    name="made", title="Made episodes", embodiment="arm", arms=Arms.RIGHT, modality=Modality.PAIRED, hz=HZ,
    cameras={CameraRole.PRIMARY: "front"}, action_origin=ActionOrigin.REACHED, action_space="7-D",
    text_style=TextStyle.IMPERATIVE, licence="none", redistributable=True, access="open", url="https://example.org",
    raw_layout="none",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """Two settings of the made source, for advice to name."""

    gripper_open_raw: float = 1.0
    orientation: str = "none"


class Frames:
    """Brown pictures, brighter row by row."""

    def __init__(self, num_frames: int = NUM_ROWS, *, swapped: bool = False) -> None:
        self.num_frames, self._swapped = num_frames, swapped

    def read(self, rows: list[int], resize: ResizeMode) -> Iterator[RgbFrame]:
        for row in rows:
            pixels = np.full((48, 64, 3), (90 + row, 60 + row, 30 + row), np.uint8)
            yield RgbFrame(pixels[..., ::-1] if self._swapped else pixels)


class NoTree(FsspecTree):
    """A tree that made episodes never ask for anything."""

    def __init__(self) -> None:
        super().__init__(".")


class Made:
    """A source of four parts of five episodes, each changed by a test before it comes out."""

    Settings = Settings

    def __init__(self, change: Callable[[Episode], Outcome] = lambda episode: episode, info: SourceInfo = INFO) -> None:
        self.INFO, self._change = info, change

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        return [Part(id=f"part-{number}", num_bytes=1, num_episodes=5) for number in range(4)]

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        for number in range(5):
            seed = 10 * int(part.id[-1]) + number
            yield self._change(made_episode(f"{part.id}#{number}", seed, settings.hz or HZ))

    def write_toy(self, root: str) -> None:
        raise NotImplementedError


def made_arm(seed: int) -> Arm:
    """A hand that points down and reaches every pose, with joints whose velocities are recorded."""
    rng = np.random.default_rng(seed)
    time = np.arange(NUM_ROWS + 1)[:, None] / HZ
    wave = np.sin(time * rng.uniform(0.8, 1.5, 6) + rng.uniform(0, 6, 6))
    xyz = 0.3 + 0.1 * wave[:, :3]
    rotation = matrix_from_euler_xyz(np.array([np.pi, 0, 0]) + 0.3 * wave[:, 3:])
    opening = (np.arange(NUM_ROWS + 1) < NUM_ROWS // 2).astype(float)
    joints = 0.5 * np.sin(time * 0.9 + np.arange(7))
    return Arm(
        xyz_m=xyz[:-1], rotation=rotation[:-1], gripper_open=opening[:-1], joint_position_rad=joints[:-1],
        joint_velocity_rad_s=(0.45 * np.cos(time * 0.9 + np.arange(7)))[:-1],
        action=ArmAction(motion=PoseTarget(xyz_m=xyz[1:], rotation=rotation[1:]), gripper_open=opening[1:]),
    )  # fmt: skip


def made_episode(id_: str, seed: int, hz: float) -> Episode:
    return Episode(
        id=id_, source="made", release="1", split=None, embodiment="arm", arms=Arms.RIGHT, hz=hz,
        step_index=np.arange(NUM_ROWS), instructions=(Instruction(text=f"put block {seed} away", origin="human"),),
        cameras={CameraRole.PRIMARY: Frames()}, right=made_arm(seed), action_origin=ActionOrigin.REACHED,
    )  # fmt: skip


def with_arm(episode: Episode, **changes: object) -> Episode:
    assert episode.right is not None
    return replace(episode, right=replace(episode.right, **changes))  # type: ignore[arg-type]


def with_action(episode: Episode, **changes: object) -> Episode:
    assert episode.right is not None
    assert episode.right.action is not None
    return with_arm(episode, action=replace(episode.right.action, **changes))  # type: ignore[arg-type]


def deltas_of(episode: Episode) -> PoseDelta:
    arm = episode.right
    assert arm is not None
    assert arm.action is not None
    motion = arm.action.motion
    assert isinstance(motion, PoseTarget)
    assert arm.xyz_m is not None
    assert arm.rotation is not None
    return PoseDelta(xyz_m=motion.xyz_m - arm.xyz_m, rotation=rotation_delta(arm.rotation, motion.rotation))


def scaled(factor: float) -> Callable[[Episode], Episode]:
    def change(episode: Episode) -> Episode:
        motion = deltas_of(episode)
        return with_action(episode, motion=replace(motion, xyz_m=factor * motion.xyz_m))

    return change


def shifted(rows: int) -> Callable[[Episode], Episode]:
    """Actions that stand `rows` rows later than they should."""

    def change(episode: Episode) -> Episode:
        motion = deltas_of(episode)
        return with_action(
            episode,
            motion=PoseDelta(xyz_m=np.roll(motion.xyz_m, rows, 0), rotation=np.roll(motion.rotation, rows, 0)),
        )

    return change


def flipped_command(episode: Episode) -> Episode:
    assert episode.right is not None
    assert episode.right.action is not None
    return with_action(episode, gripper_open=1 - episode.right.action.gripper_open)


def flipped_state(episode: Episode) -> Episode:
    assert episode.right is not None
    assert episode.right.gripper_open is not None
    return with_arm(episode, gripper_open=1 - episode.right.gripper_open)


def probed(change: Callable[[Episode], Outcome] = lambda episode: episode, *, info: SourceInfo = INFO,
           settings: Settings | None = None, limit: int = 20) -> Probed:  # fmt: skip
    return probe_tree(Made(change, info), NoTree(), settings or Settings(), limit=limit)


def answer(found: Probed, name: Probe) -> ProbeResult:
    return next(result for result in found.report.results if result.probe is name)


def failed(found: Probed) -> list[Probe]:
    return [result.probe for result in found.report.failed]
