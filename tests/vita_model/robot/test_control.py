"""The control loop on a stand-in arm with a clock of its own: chunks, rates, guards, and an arm that always stops."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import CameraRole
from vita_model.policy.chunks import Execution
from vita_model.policy.interfaces import PolicyInfo
from vita_model.robot.control import FINETUNED, LATENCY, Chunking, ControlConfig, Ending, SystemClock, drive
from vita_model.robot.guards import Limits, Workspace, next_pose
from vita_model.robot.interfaces import ArmState, Frame, Pose

BOX = Workspace(low_m=(-0.4, -0.4, 0.0), high_m=(0.4, 0.4, 0.6))
LIMITS = Limits(workspace=BOX)
CANONICAL = PolicyInfo(name="fake", convention="canonical")
HOME = Pose(xyz_m=np.array([0.0, 0.0, 0.3]), rotation=np.eye(3))


@dataclass
class FakeClock:
    time: float = 0.0

    def now(self):
        return self.time

    def wait_until(self, time_s):
        self.time = max(self.time, time_s)


@dataclass
class FakeArm:
    """Goes where it is sent at once, unless it is blocked."""

    clock: FakeClock
    pose: Pose = HOME
    gripper: float = 1.0
    blocked: bool = False
    is_stopped: bool = False
    sent: list = field(default_factory=list)
    log: list = field(default_factory=list)

    def state(self):
        return ArmState(pose=self.pose, joints_rad=np.zeros(6), gripper_open=self.gripper, is_stopped=self.is_stopped)

    def servo(self, pose, gripper_open, period_s):
        self.sent.append((self.clock.now(), pose, gripper_open, period_s))
        self.log.append("servo")
        if not self.blocked:
            self.pose, self.gripper = pose, gripper_open

    def hold(self):
        self.log.append("hold")

    def stop(self):
        self.log.append("stop")


@dataclass
class FakeCamera:
    clock: FakeClock
    age_s: float = 0.03

    def read(self):
        return Frame(image=np.zeros((480, 640, 3), np.uint8), time_s=self.clock.now() - self.age_s)


@dataclass
class FakePolicy:
    clock: FakeClock
    chunk: np.ndarray
    takes_s: float = 0.1
    info: PolicyInfo = CANONICAL
    asked: list = field(default_factory=list)

    def reset(self):
        pass

    def act(self, observation):
        self.asked.append((self.clock.now(), observation))
        self.clock.time += self.takes_s
        return self.chunk


def _chunk(rows=15, **columns):
    chunk = np.zeros((rows, 7))
    chunk[:, 6] = 1.0
    for name, value in columns.items():
        chunk[:, {"x": 0, "y": 1, "z": 2, "yaw": 5, "grip": 6}[name]] = value
    return chunk


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def arm(clock):
    return FakeArm(clock)


def _drive(arm, policy, *, cameras=None, num_checks=10**6, **changes):
    config = ControlConfig(limits=LIMITS, **({"most_s": 2.0} | changes))
    left = iter(range(num_checks))
    cameras = cameras or {CameraRole.PRIMARY: FakeCamera(arm.clock), CameraRole.WRIST_RIGHT: FakeCamera(arm.clock)}
    return drive(
        arm,
        cameras,
        policy,
        config,
        instruction="pick",
        clock=arm.clock,
        is_wanted=lambda: next(left, None) is not None,
    )


def test_chunks_are_carried_out_at_30_hz_and_deltas_add_up(arm, clock):
    policy = FakePolicy(clock, _chunk(x=0.002, yaw=0.01, grip=0.25))
    end = _drive(arm, policy)

    assert end.ending is Ending.TIME
    times = [sent[0] for sent in arm.sent[:15]]
    np.testing.assert_allclose(np.diff(times), 1 / 30)
    assert policy.asked[1][0] == pytest.approx(policy.asked[0][0] + 0.1 + 0.5)
    np.testing.assert_allclose(arm.sent[14][1].xyz_m, [0.03, 0, 0.3], atol=1e-12)
    turned = Rotation.from_matrix(arm.sent[14][1].rotation).as_euler("xyz")
    np.testing.assert_allclose(turned, [0, 0, 0.15], atol=1e-9)
    assert arm.sent[0][2] == 0.25
    assert end.num_limited == 0
    assert arm.log[0] == "hold"
    assert arm.log[-1] == "stop"


def test_the_papers_chunkings(arm, clock):
    assert (FINETUNED.num_steps, LATENCY.num_steps) == (15, 180)
    end = _drive(arm, FakePolicy(clock, _chunk(180), takes_s=2.0), chunking=LATENCY, most_s=7.99)
    assert (end.num_steps, end.num_answers) == (180, 1)


def test_more_of_a_chunk_than_is_wanted_is_left(arm, clock):
    end = _drive(arm, FakePolicy(clock, _chunk(40)), num_checks=1 + 15 + 1 + 3)
    assert (end.ending, end.num_answers, end.num_steps) == (Ending.OPERATOR, 2, 18)


def test_a_chunk_that_is_too_short_ends_the_run_unmoved(arm, clock):
    end = _drive(arm, FakePolicy(clock, _chunk(12)))
    assert (end.ending, end.num_steps) == (Ending.POLICY_ERROR, 0)
    assert "at least 15 actions, got 12" in end.detail
    assert arm.log[-1] == "stop"


def test_what_the_policy_sees(arm, clock):
    policy = FakePolicy(clock, _chunk())
    _drive(arm, policy, num_checks=3)
    seen = policy.asked[0][1]

    assert seen.instruction == "pick"
    assert set(seen.images) == {CameraRole.PRIMARY, CameraRole.WRIST_RIGHT}
    assert seen.state.mask.nonzero()[0].tolist() == list(range(24, 40))
    np.testing.assert_allclose(seen.state.values[24:27], [0, 0, 0.3], rtol=1e-6)


def test_speed_is_limited_and_counted(arm, clock):
    end = _drive(arm, FakePolicy(clock, _chunk(x=0.02, yaw=0.2)), num_checks=1 + 15)
    steps = np.diff([HOME.xyz_m, *(sent[1].xyz_m for sent in arm.sent)], axis=0)

    assert np.linalg.norm(steps, axis=1).max() <= LIMITS.speed_m_s / 30 + 1e-12
    assert end.num_limited == end.num_steps == 15


def test_the_tool_stays_in_the_workspace(arm, clock):
    _drive(arm, FakePolicy(clock, _chunk(z=-0.008)), most_s=6.0)
    heights = [sent[1].xyz_m[2] for sent in arm.sent]
    assert min(heights) == 0.0


def test_a_tool_beside_the_workspace_comes_back_no_faster_than_the_limit(clock):
    arm = FakeArm(clock, pose=replace(HOME, xyz_m=np.array([0.44, 0.44, -0.04])))
    end = _drive(arm, FakePolicy(clock, _chunk()), num_checks=1 + 15)
    places = np.array([[0.44, 0.44, -0.04], *(sent[1].xyz_m for sent in arm.sent)])

    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() <= LIMITS.speed_m_s / 30 + 1e-12
    np.testing.assert_allclose(places[-1], [0.4, 0.4, 0.0])
    assert 0 < end.num_limited < end.num_steps == 15


def test_a_tool_outside_the_workspace_is_not_moved(clock):
    arm = FakeArm(clock, pose=replace(HOME, xyz_m=np.array([0.0, 0.0, 0.9])))
    end = _drive(arm, FakePolicy(clock, _chunk()))
    assert (end.ending, end.num_steps) == (Ending.OUT_OF_WORKSPACE, 0)


def test_a_blocked_tool_ends_the_run(clock):
    arm = FakeArm(clock, blocked=True)
    end = _drive(arm, FakePolicy(clock, _chunk(x=0.008)))
    assert end.ending is Ending.TRACKING
    assert end.num_steps == 7  # 7 x 8 mm is more than 50 mm


def test_the_robots_own_stop_ends_the_run(clock):
    end = _drive(FakeArm(clock, is_stopped=True), FakePolicy(clock, _chunk()))
    assert end.ending is Ending.SAFETY_STOP


def test_an_answer_that_comes_too_late_is_thrown_away(arm, clock):
    end = _drive(arm, FakePolicy(clock, _chunk(), takes_s=11.0), most_s=100)
    assert (end.ending, end.num_steps) == (Ending.POLICY_TIMEOUT, 0)


@pytest.mark.parametrize("age_s", [0.6, -1.7e9, np.nan])
def test_a_picture_that_is_not_of_now_ends_the_run(arm, clock, age_s):
    end = _drive(arm, FakePolicy(clock, _chunk()), cameras={CameraRole.PRIMARY: FakeCamera(clock, age_s=age_s)})
    assert (end.ending, end.num_steps) == (Ending.STALE_IMAGE, 0)


def test_a_loop_that_falls_behind_ends_the_run(arm, clock):
    slow = FakeArm(clock)
    inner = slow.servo

    def servo(*command):
        inner(*command)
        clock.time += 0.3

    slow.servo = servo
    end = _drive(slow, FakePolicy(clock, _chunk()))
    assert (end.ending, end.num_steps) == (Ending.LATE, 1)


@pytest.mark.parametrize(
    ("fault", "ending"),
    [(VitaDataError("server gone"), Ending.POLICY_ERROR), (OSError("camera gone"), Ending.FAULT)],
)
def test_a_fault_stops_the_arm_and_is_told(arm, clock, fault, ending):
    policy = FakePolicy(clock, _chunk())

    def act(observation):
        raise fault

    policy.act = act
    end = _drive(arm, policy)
    assert (end.ending, arm.log[-1]) == (ending, "stop")
    assert str(fault) in end.detail


def test_an_arm_that_does_not_take_the_stop_is_told_beside_the_reason(arm, clock):
    def stop():
        raise RuntimeError("connection lost")

    arm.stop = stop
    end = _drive(arm, FakePolicy(clock, _chunk(12)))
    assert end.ending is Ending.FAULT
    assert "at least 15 actions, got 12" in end.detail
    assert "stopping the arm failed (connection lost)" in end.detail


def test_the_arm_is_stopped_whatever_happens(arm, clock):
    policy = FakePolicy(clock, _chunk())

    def act(observation):
        raise KeyboardInterrupt

    policy.act = act
    with pytest.raises(KeyboardInterrupt):
        _drive(arm, policy)
    assert arm.log[-1] == "stop"


def test_numbers_that_are_not_finite_are_never_sent(arm, clock):
    chunk = _chunk()
    chunk[3, 1] = np.nan
    end = _drive(arm, FakePolicy(clock, chunk))
    assert (end.ending, end.num_steps) == (Ending.POLICY_ERROR, 0)


def test_only_canonical_actions_and_a_primary_camera_will_do(arm, clock):
    libero = FakePolicy(clock, _chunk(), info=PolicyInfo(name="x", convention="libero"))
    with pytest.raises(RequestError, match="--convention canonical"):
        _drive(arm, libero)
    with pytest.raises(RequestError, match="needs a primary camera"):
        _drive(arm, FakePolicy(clock, _chunk()), cameras={CameraRole.WRIST_RIGHT: FakeCamera(clock)})


def test_turns_are_made_in_the_base_frame():
    """R_target = R_delta R_current: the canonical action's own definition."""
    start = Pose(xyz_m=HOME.xyz_m, rotation=Rotation.from_euler("xyz", [np.pi, 0, 0.5]).as_matrix())
    angles = [0.01, -0.02, 0.01]
    found = next_pose(start, np.array([0, 0, 0, *angles, 1.0]), LIMITS, 1 / 30)
    expected = Rotation.from_euler("xyz", angles).as_matrix() @ start.rotation

    np.testing.assert_allclose(found.pose.rotation, expected, atol=1e-12)
    assert not found.was_changed


def test_limits_that_are_none_are_refused():
    with pytest.raises(RequestError, match="expected a workspace with low_m below high_m"):
        Workspace(low_m=(0, 0, 0), high_m=(0, 1, 1))
    with pytest.raises(RequestError, match="speed_m_s"):
        Limits(workspace=BOX, speed_m_s=0)
    with pytest.raises(RequestError, match="steps"):
        Chunking(steps=0)


def test_the_systems_clock_waits():
    clock = SystemClock()
    until = clock.now() + 0.02
    clock.wait_until(until)
    assert clock.now() >= until
    clock.wait_until(until - 5)


class ClockedAsker:
    """Answers a number of seconds after it was asked, by the loop's own clock."""

    def __init__(self, act, clock, takes_s):
        self.act, self.clock, self.takes_s, self.pending, self.asked, self.closed = act, clock, takes_s, None, [], False

    def ask(self, observation, step):
        self.pending = self.clock.now(), self.act(observation)
        self.asked.append(step)

    def answer(self, step):
        if self.pending is None or self.clock.now() < self.pending[0] + self.takes_s - 1e-9:
            return None
        chunk, self.pending = self.pending[1], None
        return chunk

    def close(self):
        self.closed = True


def _drive_ahead(arm, policy, *, takes_s, **changes):
    config = ControlConfig(limits=LIMITS, execution=Execution.ASYNCHRONOUS, **({"most_s": 2.0} | changes))
    made = []

    def make(act):
        made.append(ClockedAsker(act, arm.clock, takes_s))
        return made[0]

    end = drive(
        arm, {CameraRole.PRIMARY: FakeCamera(arm.clock)}, policy, config, instruction="pick", clock=arm.clock,
        is_wanted=lambda: True, make_asker=make,
    )  # fmt: skip
    assert made[0].closed
    return end, made[0]


def test_an_arm_that_asks_ahead_stands_still_only_before_the_first_answer(arm, clock):
    end, asker = _drive_ahead(arm, FakePolicy(clock, _chunk(x=0.002), takes_s=0.0), takes_s=0.1)

    assert end.ending is Ending.TIME
    assert end.num_idle == 3
    assert end.num_steps == pytest.approx(60 - 3, abs=1)
    np.testing.assert_allclose(np.diff([sent[0] for sent in arm.sent]), 1 / 30)  # not one period is left out
    np.testing.assert_allclose(arm.sent[9][1].xyz_m, [0.02, 0, 0.3], atol=1e-12)
    assert asker.asked[:3] == [0, 5, 10]
    assert (arm.log[0], arm.log[-1]) == ("hold", "stop")


def test_a_chunk_that_ends_before_the_next_answer_is_a_pause_from_the_measured_pose(arm, clock):
    end, _ = _drive_ahead(arm, FakePolicy(clock, _chunk(x=0.002), takes_s=0.0), takes_s=0.4)

    assert 0 < end.num_idle < end.num_idle + end.num_steps <= 61
    assert arm.log.count("hold") == end.num_idle
    places = np.array([HOME.xyz_m, *(sent[1].xyz_m for sent in arm.sent)])
    np.testing.assert_allclose(np.diff(places[:, 0]), 0.002)


def test_guards_hold_while_the_policy_is_asked_ahead(arm, clock):
    late, _ = _drive_ahead(arm, FakePolicy(clock, _chunk(), takes_s=0.0), takes_s=99.0, most_s=30.0)
    assert (late.ending, late.num_steps) == (Ending.POLICY_TIMEOUT, 0)
    short, _ = _drive_ahead(arm, FakePolicy(clock, _chunk(12), takes_s=0.0), takes_s=0.1)
    assert short.ending is Ending.POLICY_ERROR
    assert "at least 15 actions, got 12" in short.detail

    blocked = FakeArm(clock, blocked=True)
    end, _ = _drive_ahead(blocked, FakePolicy(clock, _chunk(x=0.008), takes_s=0.0), takes_s=0.1)
    assert (end.ending, blocked.log[-1]) == (Ending.TRACKING, "stop")


def test_a_real_thread_drives_the_same_arm(arm):
    clock = SystemClock()
    arm.clock = clock
    policy = FakePolicy(FakeClock(), _chunk(x=0.002))
    config = ControlConfig(limits=LIMITS, execution=Execution.ASYNCHRONOUS, most_s=0.6, late_s=30.0)
    end = drive(
        arm, {CameraRole.PRIMARY: FakeCamera(clock)}, policy, config, instruction="pick", clock=clock,
        is_wanted=lambda: True,
    )  # fmt: skip
    assert end.ending is Ending.TIME
    assert end.num_answers > 0
