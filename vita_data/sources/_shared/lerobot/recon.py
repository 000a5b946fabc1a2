"""RECON in LeRobot form: video with the base's pose; its 2-D action, padded to 7 values, is not read.

Source: lerobot and any4lerobot, `gnm_dataset_transform`: a state is x, y, three zeros, yaw, then padding.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vita_data.action_convention import Flip
from vita_data.declared import Camera, LeRobotDeclaration, LeRobotSource, PairedRows
from vita_data.errors import EpisodeError
from vita_data.sources._shared.lerobot.conversions import Conversions, declare
from vita_data.types import Arms, Base, CameraRole, Episode, Float64, SourceInfo, SourceSettings

_STATE = "observation.state"
_WIDTHS = (8, 6)

RelativePose = Callable[[Float64, Float64], Float64]
"""Expresses positions [T, 2] and yaws [T] in the frame of the first row."""


class _Recon(LeRobotSource):
    """Reads the pose of the base."""

    def __init__(self, declaration: LeRobotDeclaration, *, relative_pose: RelativePose) -> None:
        super().__init__(declaration, release="lerobot/gnm")
        self._relative_pose = relative_pose

    def finish(self, episode: Episode, rows: PairedRows, table: pa.Table, settings: SourceSettings) -> Episode:
        """Add the base."""
        state = rows.state[_STATE]
        if np.any(state[:, 2:5]):
            raise EpisodeError(f"{episode.id}: expected states x, y, 0, 0, 0, yaw, found {state[0].tolist()}")
        pose = self._relative_pose(state[:, :2], state[:, 5])
        return replace(episode, arms=Arms.BASE, base=Base(pose=pose))


def recon_conversions(info: SourceInfo, *, hz: float, relative_pose: RelativePose) -> Conversions:
    """Make the conversions."""
    camera = Camera(role=CameraRole.PRIMARY, key="observation.images.image", turned=Flip.NONE)
    declared = [
        declare(info, hz=hz, columns={_STATE: width}, cameras=[camera], text_origin="template", right=None)
        for width in _WIDTHS
    ]
    return Conversions(info, [_Recon(each, relative_pose=relative_pose) for each in declared])
