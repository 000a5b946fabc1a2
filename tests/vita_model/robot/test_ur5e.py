"""The UR-5e's driver against modules with ur_rtde's names and signatures."""

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError, VitaDataError
from vita_model.robot.interfaces import Pose
from vita_model.robot.ur5e import Ur5e


class Control:
    def __init__(self, hostname, frequency=-1.0):
        if hostname == "nowhere":
            raise RuntimeError("connection refused")
        self.log, self.accepts = [], True
        Control.last = self

    def servoL(self, pose, speed, acceleration, time, lookahead_time, gain):
        self.log.append((pose, time))
        return self.accepts

    def servoStop(self, a=10.0):
        self.log.append("servoStop")

    def stopScript(self):
        self.log.append("stopScript")


class Receive:
    protective = False

    def __init__(self, hostname, frequency=-1.0):
        pass

    def getActualTCPPose(self):
        return [0.1, 0.2, 0.3, 0.0, np.pi, 0.0]

    def getActualQ(self):
        return [0.1 * k for k in range(6)]

    def isProtectiveStopped(self):
        return self.protective

    def isEmergencyStopped(self):
        return False


class Gripper:
    def __init__(self):
        self.moves = []

    def opening(self):
        return 0.5

    def move(self, gripper_open):
        self.moves.append(gripper_open)


@pytest.fixture
def installed(monkeypatch):
    for name, member in (("rtde_control", Control), ("rtde_receive", Receive)):
        module = ModuleType(name)
        setattr(module, f"{'RTDEControl' if member is Control else 'RTDEReceive'}Interface", member)
        monkeypatch.setitem(sys.modules, name, module)


def test_the_state_is_read(installed, monkeypatch):
    arm = Ur5e("10.0.0.2", Gripper())
    state = arm.state()

    np.testing.assert_allclose(state.pose.xyz_m, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(state.pose.rotation, np.diag([-1.0, 1.0, -1.0]), atol=1e-12)
    assert state.joints_rad.shape == (6,)
    assert state.gripper_open == 0.5
    assert not state.is_stopped
    monkeypatch.setattr(Receive, "protective", True)
    assert arm.state().is_stopped


def test_commands_are_sent_as_rotation_vectors(installed):
    gripper = Gripper()
    arm = Ur5e("10.0.0.2", gripper)
    rotation = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()

    arm.servo(Pose(xyz_m=np.array([1.0, 2.0, 3.0]), rotation=rotation), 0.25, 1 / 30)

    pose, period = Control.last.log[0]
    np.testing.assert_allclose(pose, [1, 2, 3, 0.1, 0.2, 0.3])
    assert period == 1 / 30
    assert gripper.moves == [0.25]


def test_stopping_twice_ends_the_script_once(installed):
    arm = Ur5e("10.0.0.2", Gripper())
    arm.hold()
    arm.stop()
    arm.stop()
    assert Control.last.log == ["servoStop", "servoStop", "stopScript"]


def test_a_script_ends_although_the_servo_does_not(installed, monkeypatch):
    def lost(self, a=10.0):
        raise RuntimeError("connection lost")

    arm = Ur5e("10.0.0.2", Gripper())
    monkeypatch.setattr(Control, "servoStop", lost)
    with pytest.raises(RuntimeError, match="connection lost"):
        arm.stop()
    assert Control.last.log == ["stopScript"]


def test_a_refused_command_and_an_absent_robot_are_said(installed):
    arm = Ur5e("10.0.0.2", Gripper())
    Control.last.accepts = False
    with pytest.raises(VitaDataError, match="rejected a command"):
        arm.servo(Pose(xyz_m=np.zeros(3), rotation=np.eye(3)), 1.0, 1 / 30)
    with pytest.raises(VitaDataError, match="nowhere: no UR robot answers"):
        Ur5e("nowhere", Gripper())


def test_a_missing_library_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtde_control", None)
    with pytest.raises(RequestError, match=r"pip install -e '\.\[ur5e\]'"):
        Ur5e("10.0.0.2", Gripper())
