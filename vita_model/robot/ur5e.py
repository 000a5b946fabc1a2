"""A UR-5e through `ur_rtde`, which is imported when a robot is opened; users provide the gripper's driver.

It has never been run on a real robot, only against a test double with the library's signatures.
"""

from importlib import import_module
from typing import Any, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError, VitaDataError
from vita_data.installation import install_extra
from vita_model.robot.interfaces import ArmState, Pose

_LOOKAHEAD_S = 0.1
_GAIN = 300.0
_SPEED_M_S, _ACCELERATION_M_S2 = 0.25, 0.5
"""Required by the library, but ignored by the controller in servoL."""


class Gripper(Protocol):
    """A parallel gripper, such as the Robotiq 2F-85 (width / 0.085 m is the opening)."""

    def opening(self) -> float:
        """Give the opening, 0 closed .. 1 open."""
        ...

    def move(self, gripper_open: float) -> None:
        """Move to an opening without waiting."""
        ...


class Ur5e:
    """The arm of VITA 10.1."""

    def __init__(self, host: str, gripper: Gripper) -> None:
        """Connect.

        Raises:
            RequestError: ur_rtde is not installed.
            VitaDataError: no robot answers.
        """
        try:
            control, receive = import_module("rtde_control"), import_module("rtde_receive")
        except ImportError as error:
            raise RequestError(f"ur_rtde cannot be imported ({error}); {install_extra('ur5e')}") from error
        try:
            self._control: Any = control.RTDEControlInterface(host)
            self._receive: Any = receive.RTDEReceiveInterface(host)
        except (RuntimeError, OSError) as fault:
            raise VitaDataError(
                f"{host}: no UR robot answers ({fault}); check that it is on and in remote control"
            ) from fault
        self._gripper = gripper
        self._is_open = True

    def state(self) -> ArmState:
        """Read pose, joints, gripper and safety."""
        pose = np.asarray(self._receive.getActualTCPPose(), np.float64)
        return ArmState(
            pose=Pose(xyz_m=pose[:3], rotation=Rotation.from_rotvec(pose[3:]).as_matrix()),
            joints_rad=np.asarray(self._receive.getActualQ(), np.float64),
            gripper_open=self._gripper.opening(),
            is_stopped=bool(self._receive.isProtectiveStopped() or self._receive.isEmergencyStopped()),
        )

    def servo(self, pose: Pose, gripper_open: float, period_s: float) -> None:
        """Move towards a pose.

        Raises:
            VitaDataError: the robot rejects the command.
        """
        target = [*pose.xyz_m.tolist(), *Rotation.from_matrix(pose.rotation).as_rotvec().tolist()]
        if not self._control.servoL(target, _SPEED_M_S, _ACCELERATION_M_S2, period_s, _LOOKAHEAD_S, _GAIN):
            raise VitaDataError("the robot rejected a command; check its control panel")
        self._gripper.move(gripper_open)

    def hold(self) -> None:
        """Stand still."""
        self._control.servoStop()

    def stop(self) -> None:
        """Stand still and end the robot's script."""
        if self._is_open:
            self._is_open = False
            try:
                self._control.servoStop()
            finally:
                self._control.stopScript()
