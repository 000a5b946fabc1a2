"""Recorded demonstrations are read like LIBERO's, are the same for the same seed, and go on after an interruption."""

import h5py
import numpy as np
import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources.libero import source as libero
from vita_data.types import CameraRole, Episode, ResizeMode
from vita_model.policy.commands import oriented
from vita_model.policy.interfaces import libero_state
from vita_model.sims.robosuite.tasks import TASKS
from vita_model.sims.scripted.expert import CLOSE, OPEN
from vita_model.sims.scripted.noise import CALM, DISTURBED, PathNoise, disturbances
from vita_model.sims.scripted.record import TAIL_STEPS, RecordRequest, record
from vita_model.sims.scripted.seeds import DEMONSTRATIONS, EVALUATIONS, episode_seeds

LIFT = TASKS["lift"]


def _record(out, arm, *, num_demos=2, seed=0, noise=CALM, say=lambda line: None):
    request = RecordRequest(spec=arm.spec, out=out, num_demos=num_demos, seed=seed, noise=noise)
    return record(request, lambda: arm, say)


def _episodes(out):
    raw, settings = FsspecTree(str(out)), libero.Settings()
    return [one for part in libero.parts(raw, settings) for one in libero.episodes(raw, part, settings)]


def _same(a, b):
    with h5py.File(a) as first, h5py.File(b) as second:
        names = []
        first.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        return all(np.array_equal(first[name][()], second[name][()]) for name in names)


def test_the_reader_of_libero_takes_them(tmp_path, make_arm):
    report = _record(tmp_path, make_arm())
    episodes = _episodes(tmp_path)

    assert (report.num_demos, report.num_failed, report.expert_rate) == (2, 0, 1.0)
    assert all(isinstance(one, Episode) for one in episodes)
    assert [one.instructions[0].text for one in episodes] == ["lift the red cube"] * 2
    assert episodes[0].extras["controller"] == "OSC_POSE"
    assert episodes[0].id.endswith("#demo_0")


def test_observation_t_is_paired_with_the_command_that_it_led_to(tmp_path, make_arm):
    """Row t of an episode: what the expert commands on exactly the state, and the picture, that row shows."""
    arm = make_arm()
    _record(tmp_path, arm, num_demos=1)
    episode = _episodes(tmp_path)[0]
    (picture,) = episode.cameras[CameraRole.PRIMARY].read([0], ResizeMode.PLAIN)

    arm.reset(next(episode_seeds(DEMONSTRATIONS, 0)))
    arm.step(np.array([0, 0, 0, 0, 0, 0, OPEN]))  # the no-op that the file begins with
    seen, command = arm.proprioception(), LIFT.expert(arm.scene())
    state = libero_state(
        xyz_m=seen.xyz_m, quaternion_xyzw=seen.quaternion_xyzw, fingers_m=seen.fingers_m, joints_rad=seen.joints_rad
    )

    np.testing.assert_array_equal(picture.pixels, oriented(arm.images()[CameraRole.PRIMARY], {}))
    np.testing.assert_allclose(episode.right.xyz_m[0], state.values[24:27], rtol=1e-6)
    np.testing.assert_allclose(episode.right.rotation[0][:, :2].T.ravel(), state.values[27:33], atol=1e-6)
    np.testing.assert_allclose(episode.right.action.motion.xyz_m[0], 0.05 * command[:3], rtol=1e-6)
    assert episode.right.action.gripper_open[0] == 1.0


def test_the_hand_stays_open_until_the_cube_and_closed_with_it(tmp_path, make_arm):
    report = _record(tmp_path, make_arm(), num_demos=1)
    with h5py.File(report.path) as file:
        demo = file["data/demo_0"]
        gripper, width = demo["actions"][:, 6], demo["obs/gripper_states"][:, 0]
        assert demo["dones"][-TAIL_STEPS:].all()
        assert not demo["dones"][: -TAIL_STEPS - 1].any()
    closing = gripper.tolist().index(CLOSE)
    assert (gripper[:closing] == OPEN).all()
    assert (gripper[closing:] == CLOSE).all()
    assert width[-1] < width[0]


def test_the_same_seed_gives_the_same_file_and_another_does_not(tmp_path, make_arm):
    paths = [
        _record(tmp_path / name, make_arm(), seed=seed, noise=DISTURBED).path
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert _same(paths[0], paths[1])
    with h5py.File(paths[0]) as a, h5py.File(paths[2]) as c:
        assert not np.array_equal(a["data/demo_0/states"][0], c["data/demo_0/states"][0])


def test_an_interrupted_recording_goes_on_and_ends_alike(tmp_path, make_arm):
    whole = _record(tmp_path / "whole", make_arm(), num_demos=3, noise=DISTURBED)

    def interrupt(line):
        if "seed 1" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _record(tmp_path / "cut", make_arm(), num_demos=3, noise=DISTURBED, say=interrupt)
    arm = make_arm()
    cut = _record(tmp_path / "cut", arm, num_demos=3, noise=DISTURBED)

    assert arm.num_resets == 1
    assert _same(whole.path, cut.path)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["libero_90"]


def test_a_finished_recording_is_left_alone_and_other_settings_are_refused(tmp_path, make_arm):
    first = _record(tmp_path, make_arm())
    arm = make_arm()

    assert _record(tmp_path, arm) == first
    assert arm.num_resets == 0
    with pytest.raises(RequestError, match="was recorded with"):
        _record(tmp_path, arm, num_demos=3)


def test_failed_episodes_are_counted_and_not_written(tmp_path, make_arm):
    report = _record(tmp_path, make_arm(works=lambda seed: seed % 2 == 1), num_demos=2)

    assert (report.num_demos, report.num_failed) == (2, 2)
    assert report.expert_rate == 0.5
    with h5py.File(report.path) as file:
        assert [int(file[f"data/demo_{k}"].attrs["seed"]) for k in range(2)] == [1, 3]
        assert int(file["data"].attrs["num_failed"]) == 2


def test_an_expert_that_never_succeeds_ends_it(tmp_path, make_arm):
    with pytest.raises(VitaDataError, match="succeeded in 0 of 3 attempts"):
        _record(tmp_path, make_arm(works=lambda seed: False), num_demos=1)


def test_noise_moves_the_arm_and_leaves_the_experts_word(tmp_path, make_arm):
    calm, noisy = (
        _record(tmp_path / name, make_arm(), num_demos=1, noise=noise).path
        for name, noise in (("calm", CALM), ("noisy", PathNoise(step_std=0.3)))
    )
    with h5py.File(calm) as file:
        demo = file["data/demo_0"]
        np.testing.assert_array_equal(demo["actions"][()], demo["executed_actions"][()])
    with h5py.File(noisy) as file:
        demo = file["data/demo_0"]
        told, done = demo["actions"][()], demo["executed_actions"][()]
    assert np.abs(told - done)[1:-TAIL_STEPS, :3].mean() > 0.05
    np.testing.assert_array_equal(told[:, 3:], done[:, 3:])
    np.testing.assert_array_equal(told[-TAIL_STEPS:], done[-TAIL_STEPS:])


def test_pushes_last_and_come_as_often_as_asked():
    noise = PathNoise(push_rate=0.05, push_steps=4, push_size=0.5)
    added = disturbances(noise, np.random.default_rng(0))
    sizes = np.array([np.linalg.norm(next(added)) for _ in range(4000)])

    assert set(sizes.round(6)) == {0.0, 0.5}
    assert (sizes > 0).mean() == pytest.approx(4 * 0.05 / (1 + 3 * 0.05), rel=0.15)


@pytest.mark.parametrize("field", ["step_std", "push_rate", "push_size"])
def test_noise_that_is_none_is_refused(field):
    with pytest.raises(RequestError, match=field):
        PathNoise(**{field: 1.5})


def test_evaluation_never_meets_a_seed_of_a_demonstration(tmp_path):
    last = max(max(episode_seeds(DEMONSTRATIONS, run)) for run in (0, DEMONSTRATIONS.most_runs - 1))

    assert last < next(episode_seeds(EVALUATIONS, 0))
    with pytest.raises(RequestError, match="seed must be below 100"):
        RecordRequest(spec=LIFT, out=tmp_path, num_demos=1, seed=100)
