"""LIBERO in LeRobot form: conversions of OpenVLA's replays, told by their columns and by their gripper commands.

They are labelled 10, 20 or 30 fps; the simulator's control rate is 20. A gripper command is -1 open and +1 closed, or
flipped to 1 open and 0 closed. A state is position, axis-angle (some are named roll, pitch, yaw) and two fingers;
images are rotated by 180 degrees already, as those of the replays.

Source: any4lerobot, `libero_dataset_transform`; openpi, convert_libero_data_to_lerobot.py; the cards of
`physical-intelligence/libero`, `lerobot/libero` and `HuggingFaceVLA/libero`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath

import pyarrow as pa

from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    PairedRows,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.lerobot.dataset import read_column, read_table
from vita_data.formats.lerobot.meta import LeRobotDataset
from vita_data.sources._shared.lerobot.conversions import Conversions, declare, relabelled
from vita_data.sources.libero.release import suite_of
from vita_data.types import Arm, CameraRole, Episode, Float64, Gaps, Json, RawTree, SourceInfo, SourceSettings

_LABELS = (20.0, 10.0, 30.0)
_NUM_LOOKED_AT = 20
"""Episodes in which a command to open, -1, is looked for: each starts with an open hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    release: str
    state: str
    action: str
    image: str
    wrist: str


_KEYS = (
    _Keys(
        release="lerobot/any4lerobot",
        state="observation.state",
        action="action",
        image="observation.images.image",
        wrist="observation.images.wrist_image",
    ),
    _Keys(
        release="lerobot/image2",
        state="observation.state",
        action="action",
        image="observation.images.image",
        wrist="observation.images.image2",
    ),
    _Keys(release="lerobot/openpi", state="state", action="actions", image="image", wrist="wrist_image"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoMeaning:
    """What the source knows about LIBERO's values."""

    hz: float
    position_scale_m: float
    rotation_scale_rad: float
    arm: Callable[[Float64, None, Float64], Arm]
    """Pairs states [T, 8] with raw commands [T, 7]."""
    convention: Callable[[str, str, Flip], Json]
    """The constants of the simulator, by suite, task and how images are flipped."""


class _Libero(LeRobotSource):
    """Reads the raw commands as the source's other releases do."""

    def __init__(
        self, declaration: LeRobotDeclaration, keys: _Keys, meaning: LiberoMeaning, *, is_flipped: bool = False
    ) -> None:
        super().__init__(declaration, release=keys.release)
        self.keys, self._meaning, self._is_flipped = keys, meaning, is_flipped

    def flipped(self) -> "_Libero":
        """Return the same for commands that are 1 open and 0 closed."""
        return _Libero(self.declaration, self.keys, self._meaning, is_flipped=True)

    def finish(self, episode: Episode, rows: PairedRows, table: pa.Table, settings: SourceSettings) -> Episode:
        """Pair states with raw commands, and add the simulator's convention."""
        command = rows.action[self.keys.action].copy()
        if self._is_flipped:
            command[:, 6] = 1.0 - 2.0 * command[:, 6]
        place = PurePosixPath(str(episode.provenance["file"])).parts[0]
        suite, task = suite_of(place) or "", episode.instructions[0].text.replace(" ", "_")
        return replace(
            episode,
            right=self._meaning.arm(rows.state[self.keys.state], None, command),
            gaps=Gaps.BRIDGE,
            provenance={**episode.provenance, "suite": suite, "task": task},
            extras=self._meaning.convention(suite, task, Flip.ROT180),
        )


class LiberoConversions(Conversions):
    """The known conversions of LIBERO."""

    def __init__(self, info: SourceInfo, meaning: LiberoMeaning) -> None:
        known = [
            _Libero(declared, keys, meaning)
            for keys in _KEYS
            for declared in relabelled(_declaration(info, keys, meaning), *_LABELS)
        ]
        super().__init__(info, known, other="libero*/*.hdf5")

    def told(self, raw: RawTree, dataset: LeRobotDataset) -> LeRobotSource:
        """Find the conversion; also look whether its gripper commands are flipped."""
        found = super().told(raw, dataset)
        if not isinstance(found, _Libero):
            raise TypeError("expected a conversion of LIBERO")
        opens = any((command < -0.5).any() for command in _gripper_commands(raw, dataset, found.keys.action))
        return found if opens else found.flipped()


def _gripper_commands(raw: RawTree, dataset: LeRobotDataset, key: str) -> Iterator[Float64]:
    for episode in islice(dataset.episodes, _NUM_LOOKED_AT):
        with suppress(EpisodeError):  # it fails when it is read
            yield read_column(read_table(raw, episode, [key]), key, width=7, name=episode.id)[:, 6]


def refuse_libero_settings(*, suites: Sequence[str], tasks: Sequence[str], orientation: Flip) -> None:
    """Refuse settings that have no effect on LeRobot datasets.

    Raises:
        RequestError: one of them was given.
    """
    if suites or tasks:
        raise RequestError(
            "--set suites and --set tasks do not apply to LeRobot datasets; select by task in a manifest "
            "(where), or give the folder of one suite"
        )
    if orientation is not Flip.ROT180:
        raise RequestError(
            f"--set orientation={orientation}: the images of the LeRobot conversions are stored as rot180 and are not "
            "rotated again; omit orientation, or build from HDF5 files"
        )


def _declaration(info: SourceInfo, keys: _Keys, meaning: LiberoMeaning) -> LeRobotDeclaration:
    angles = RotationForm.AXIS_ANGLE
    cameras = {CameraRole.PRIMARY: keys.image, CameraRole.WRIST_RIGHT: keys.wrist}
    return declare(
        info,
        hz=meaning.hz,
        columns={keys.state: 8, keys.action: 7},
        cameras=[Camera(role=role, key=key, turned=Flip.NONE) for role, key in cameras.items()],
        text_origin="task_name",
        right=ArmColumns(
            position=Position(keys.state, 0, unit_m=1.0),
            rotation=Rotation(keys.state, 3, angles, unit_rad=1.0),
            gripper=Gripper(keys.state, 6, open=0.04, closed=0.0),
            joints=None,
            action=PoseAction(
                motion=Motion.DELTA,
                frame=Frame.BASE,
                position=Position(keys.action, 0, unit_m=meaning.position_scale_m, limit=1.0),
                rotation=Rotation(keys.action, 3, angles, unit_rad=meaning.rotation_scale_rad, limit=1.0),
                gripper=Gripper(keys.action, 6, open=-1.0, closed=1.0),
            ),
        ),
    )
