"""LIBERO: the off-by-one of the recorder, units, polarity, orientation, no-ops, language and damaged files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vita_data.action_convention import Convention
from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import ToyMark, read_toy_frame
from vita_data.normalize.vectors import action_track
from vita_data.sources.libero import source as libero
from vita_data.types import (
    ArmAction,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Gaps,
    Outcome,
    PoseDelta,
    ResizeMode,
    RgbFrame,
    SourceSettings,
)

SPATIAL = "libero_spatial/pick_up_the_black_bowl_and_place_it_on_the_plate_demo.hdf5"
KITCHEN = "libero_90/KITCHEN_SCENE1_open_the_top_drawer_of_the_cabinet_demo.hdf5"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("libero")
    libero.write_toy(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def outcomes(root: Path, file: str = SPATIAL, settings: libero.Settings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or libero.Settings()
    part = next(part for part in libero.parts(raw, settings) if part.id == file)
    return libero.episodes(raw, part, settings)


def first(root: Path, file: str = SPATIAL, settings: libero.Settings | None = None) -> Episode:
    found = next(outcomes(root, file, settings))
    assert isinstance(found, Episode)
    return found


def motion(episode: Episode) -> tuple[ArmAction, PoseDelta]:
    assert episode.right is not None
    assert episode.right.action is not None
    assert isinstance(episode.right.action.motion, PoseDelta)
    return episode.right.action, episode.right.action.motion


def marks(episode: Episode, role: CameraRole) -> list[ToyMark]:
    stream = episode.cameras[role]
    frames = stream.read(range(stream.num_frames), ResizeMode.PLAIN)
    return [read_toy_frame(frame.pixels) for frame in frames if isinstance(frame, RgbFrame)]


def edit(root: Path, key: str, values: Float64, file: str = SPATIAL) -> None:
    with h5py.File(root / file, "r+") as opened:
        del opened["data/demo_0"][key]
        opened["data/demo_0"][key] = values


def raw_values(root: Path, key: str, file: str = SPATIAL) -> Float64:
    with h5py.File(root / file) as opened:
        return np.asarray(opened[f"data/demo_0/{key}"][()])


def test_observation_t_pairs_with_action_t_plus_1(toy: Path) -> None:
    episode = first(toy)
    actions = raw_values(toy, "actions")
    action, delta = motion(episode)
    assert np.allclose(delta.xyz_m, actions[episode.step_index + 1, :3] * 0.05)
    assert not np.allclose(delta.xyz_m, actions[episode.step_index, :3] * 0.05)
    assert np.array_equal(action.gripper_open, (1 - actions[episode.step_index + 1, 6]) / 2)
    assert episode.step_index[-1] == len(actions) - 2


def test_the_toy_arm_moves_as_commanded_from_each_observation_to_the_next(toy: Path) -> None:
    """The deltas lead from observed pose to observed pose, across removed no-ops too; a shift by one would not."""
    for episode in outcomes(toy):
        assert isinstance(episode, Episode)
        assert episode.right is not None
        assert episode.right.xyz_m is not None
        assert episode.right.rotation is not None
        _, delta = motion(episode)
        assert np.allclose(episode.right.xyz_m[:-1] + delta.xyz_m[:-1], episode.right.xyz_m[1:], atol=1e-12)
        assert np.allclose(delta.rotation[:-1] @ episode.right.rotation[:-1], episode.right.rotation[1:], atol=1e-9)


def test_a_command_of_one_turns_half_a_radian_about_its_axis(root: Path) -> None:
    actions = raw_values(root, "actions")
    actions[1] = [0.2, 0, 0, 0, 0, 1.0, -1]
    actions[2] = [2.0, 0, 0, 0, 0, 0, -1]
    edit(root, "actions", actions)
    _, delta = motion(first(root))
    assert np.allclose(delta.rotation[0], Rotation.from_euler("z", 0.5).as_matrix())
    assert delta.xyz_m[0, 0] == pytest.approx(0.01)
    assert delta.xyz_m[1, 0] == pytest.approx(0.05), "the simulator clips commands to 1"


def test_minus_one_opens_the_gripper_and_plus_one_closes_it(toy: Path) -> None:
    episode = first(toy)
    action, _ = motion(episode)
    assert episode.right is not None
    assert episode.right.gripper_open is not None
    assert set(action.gripper_open.tolist()) == {0.0, 1.0}
    assert action.gripper_open[0] == 1.0
    assert np.corrcoef(action.gripper_open, episode.right.gripper_open)[0, 1] > 0.8
    assert (episode.right.gripper_open[0], episode.right.gripper_open[-1]) == pytest.approx((1, 0))


def test_no_ops_leave_a_gap_that_chunks_bridge(toy: Path) -> None:
    episode = first(toy)
    actions = raw_values(toy, "actions")
    removed = sorted(set(range(len(actions) - 1)) - set(episode.step_index.tolist()))
    assert len(removed) == 4
    assert np.all(np.abs(actions[np.array(removed) + 1, :6]) < 1e-9)
    assert episode.gaps is Gaps.BRIDGE


def test_a_still_arm_whose_gripper_changes_is_kept(root: Path) -> None:
    actions = raw_values(root, "actions")
    actions[:, :6], actions[:, 6] = 0.0, -1.0
    actions[10:20, 6] = 1.0
    actions[3, 0] = 0.5
    edit(root, "actions", actions)
    assert first(root).step_index.tolist() == [2, 9, 19]


def test_a_demo_of_no_ops_alone_is_dropped_with_a_reason(root: Path) -> None:
    actions = raw_values(root, "actions")
    actions[:, :6] = 0.0
    actions[:, 6] = -1.0
    edit(root, "actions", actions)
    found = list(outcomes(root))
    assert isinstance(found[0], Drop)
    assert found[0].episode == f"{SPATIAL}#demo_0"
    assert len(found) == 4


def test_a_rotation_vector_longer_than_pi_is_the_same_hand(root: Path) -> None:
    before = first(root).right
    hand = raw_values(root, "obs/ee_ori")
    edit(root, "obs/ee_ori", hand * (1 + 2 * np.pi / np.linalg.norm(hand, axis=1, keepdims=True)))
    after = first(root).right
    assert before is not None
    assert after is not None
    assert before.rotation is not None
    assert after.rotation is not None
    assert np.allclose(before.rotation, after.rotation)


@pytest.mark.parametrize("role", [CameraRole.PRIMARY, CameraRole.WRIST_RIGHT])
def test_the_default_orientation_shows_frames_upright_at_their_own_step(toy: Path, role: CameraRole) -> None:
    episode = first(toy)
    found = marks(episode, role)
    assert [mark.step for mark in found] == episode.step_index.tolist()
    assert all(mark.upright and mark.rgb for mark in found)
    assert {mark.camera for mark in found} == {0 if role is CameraRole.PRIMARY else 1}


@pytest.mark.parametrize("orientation", list(libero.Orientation))
def test_orientation_turns_the_stored_image(toy: Path, orientation: libero.Orientation) -> None:
    stored = raw_values(toy, "obs/agentview_rgb")
    expected = {"rot180": stored[:, ::-1, ::-1], "vflip": stored[:, ::-1], "none": stored}[orientation]
    episode = first(toy, settings=libero.Settings(orientation=orientation))
    frames = list(episode.cameras[CameraRole.PRIMARY].read([0, 20], ResizeMode.PLAIN))
    for frame, row in zip(frames, (0, 20), strict=True):
        assert isinstance(frame, RgbFrame)
        assert np.array_equal(frame.pixels, expected[episode.step_index[row]])
    assert episode.extras["orientation"] == orientation


def test_the_main_text_is_the_file_name_and_problem_info_comes_second(toy: Path) -> None:
    texts = [(i.text, i.origin) for i in first(toy).instructions]
    assert texts == [
        ("pick up the black bowl and place it on the plate", "task_name"),
        ("Pick the akita bowl and put it on the plate", "template"),
    ]


def test_the_scene_prefix_goes_and_equal_texts_count_once(toy: Path) -> None:
    texts = [(i.text, i.origin) for i in first(toy, KITCHEN).instructions]
    assert texts == [("open the top drawer of the cabinet", "task_name")]


@pytest.mark.parametrize("prefix", ["LIVING_ROOM_SCENE6_", "KITCHEN_SCENE10_", "STUDY_SCENE2_"])
def test_every_scene_prefix_of_libero_90_goes(root: Path, prefix: str) -> None:
    file = f"libero_90/{prefix}put_the_white_mug_on_the_plate_demo.hdf5"
    (root / KITCHEN).rename(root / file)
    assert first(root, file).instructions[0].text == "put the white mug on the plate"


def test_demos_are_read_in_order_and_counted_over_gaps_in_their_numbers(toy: Path) -> None:
    names = [outcome.id for outcome in outcomes(toy) if isinstance(outcome, Episode)]
    assert names == [f"{SPATIAL}#demo_{number}" for number in (0, 1, 2, 6)]
    assert [part.num_episodes for part in libero.parts(FsspecTree(str(toy)), libero.Settings())] == [4, 4]
    assert dict(first(toy).provenance) == {
        "file": SPATIAL,
        "record": "demo_0",
        "suite": "libero_spatial",
        "task": "pick_up_the_black_bowl_and_place_it_on_the_plate",
    }


@pytest.mark.parametrize("key", ["actions", "obs/ee_ori", "obs/gripper_states"])
def test_a_demo_without_a_key_fails_alone(root: Path, key: str) -> None:
    with h5py.File(root / SPATIAL, "r+") as file:
        del file["data/demo_1"][key]
    found = list(outcomes(root))
    assert [type(outcome) for outcome in found] == [Episode, Failure, Episode, Episode]
    assert isinstance(found[1], Failure)
    assert found[1].episode == f"{SPATIAL}#demo_1"
    assert key.split("/")[-1] in found[1].detail


def test_observations_and_actions_of_different_length_fail(root: Path) -> None:
    edit(root, "obs/ee_pos", raw_values(root, "obs/ee_pos")[:-1])
    found = next(outcomes(root))
    assert isinstance(found, Failure)
    assert "48 rows but there are 49 actions" in found.detail


def test_a_single_number_where_rows_belong_fails_the_demo(root: Path) -> None:
    edit(root, "obs/joint_states", np.float64(1.0))
    found = next(outcomes(root))
    assert isinstance(found, Failure)
    assert "joint_states has 0 rows" in found.detail


def test_a_truncated_file_fails_as_a_part_and_leaves_the_others(root: Path) -> None:
    path = root / SPATIAL
    path.write_bytes(path.read_bytes()[:100_000])
    parts = {part.id: part.num_episodes for part in libero.parts(FsspecTree(str(root)), libero.Settings())}
    assert parts == {SPATIAL: None, KITCHEN: 4}
    with pytest.raises(SourceError, match=r"libero_spatial/.*truncated"):
        list(outcomes(root))
    assert len(list(outcomes(root, KITCHEN))) == 4


def test_a_demo_with_a_damaged_header_fails_alone_and_is_not_lost(root: Path) -> None:
    with h5py.File(root / SPATIAL) as file:
        header = h5py.h5o.get_info(file["data/demo_1"].id).addr
    overwrite(root / SPATIAL, header, 16)
    parts = {part.id: part.num_episodes for part in libero.parts(FsspecTree(str(root)), libero.Settings())}
    assert parts == {SPATIAL: 4, KITCHEN: 4}
    found = list(outcomes(root))
    assert [type(outcome) for outcome in found] == [Episode, Failure, Episode, Episode]
    assert isinstance(found[1], Failure)
    assert found[1].episode == f"{SPATIAL}#demo_1"


def test_a_file_whose_list_of_demos_is_damaged_fails_as_a_part(root: Path) -> None:
    name = (root / SPATIAL).read_bytes().index(b"demo_6\0")
    overwrite(root / SPATIAL, name, 4)
    parts = {part.id: part.num_episodes for part in libero.parts(FsspecTree(str(root)), libero.Settings())}
    assert parts == {SPATIAL: None, KITCHEN: 4}
    with pytest.raises(SourceError, match=r"libero_spatial/.*the file is damaged"):
        list(outcomes(root))


def overwrite(path: Path, offset: int, size: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + size] = b"\xfe" * size
    path.write_bytes(whole)


def test_damaged_image_bytes_fail_when_they_are_read(root: Path) -> None:
    with h5py.File(root / SPATIAL) as file:
        chunk = file["data/demo_0/obs/agentview_rgb"].id.get_chunk_info(7)
    whole = bytearray((root / SPATIAL).read_bytes())
    whole[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x55" * chunk.size
    (root / SPATIAL).write_bytes(whole)
    with pytest.raises(EpisodeError, match="agentview_rgb cannot be read"):
        marks(first(root), CameraRole.PRIMARY)


def test_suites_and_tasks_choose_files_and_unknown_ones_are_refused(toy: Path) -> None:
    raw = FsspecTree(str(toy))
    assert [part.id for part in libero.parts(raw, libero.Settings(suites=("libero_90",)))] == [KITCHEN]
    task = "pick_up_the_black_bowl_and_place_it_on_the_plate"
    assert [part.id for part in libero.parts(raw, libero.Settings(tasks=(task,)))] == [SPATIAL]
    with pytest.raises(RequestError, match=r"suites: libero_spatiel .*available: libero_90, libero_spatial"):
        libero.parts(raw, libero.Settings(suites=("libero_spatiel",)))
    with pytest.raises(RequestError, match="tasks: fly"):
        libero.parts(raw, libero.Settings(tasks=("fly",)))


def test_another_layout_is_refused_with_the_expected_one(tmp_path: Path) -> None:
    (tmp_path / "libero_spatial_no_noops" / "1.0.0").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"_demo\.hdf5"):
        libero.parts(FsspecTree(str(tmp_path)), libero.Settings())


def test_settings_of_another_class_are_a_programming_fault(toy: Path) -> None:
    with pytest.raises(TypeError, match="SourceSettings"):
        libero.parts(FsspecTree(str(toy)), SourceSettings())


def test_a_command_beyond_one_comes_back_clipped_and_an_opening_gripper_whole(root: Path) -> None:
    actions = raw_values(root, "actions")
    actions[1] = [-2.0, 0, 0, 0, 0, 0, -0.3]
    edit(root, "actions", actions)
    action, delta = motion(first(root))
    assert delta.xyz_m[0, 0] / 0.05 == pytest.approx(-1.0)
    assert action.gripper_open[0] == 1.0
    assert any("beyond +-1 come back clipped and negative" in note for note in libero.INFO.notes)


def test_the_constants_in_extras_give_the_raw_command_back(toy: Path) -> None:
    episode = first(toy)
    raw = raw_values(toy, "actions")[episode.step_index + 1]
    action, delta = motion(episode)
    scale_m, scale_rad = episode.extras["position_scale_m"], episode.extras["rotation_scale_rad"]
    assert isinstance(scale_m, float)
    assert isinstance(scale_rad, float)
    turn = Rotation.from_matrix(delta.rotation).as_rotvec() / scale_rad
    grip = np.where(action.gripper_open > 0.5, -1, 1)
    assert np.allclose(np.column_stack([delta.xyz_m / scale_m, turn, grip]), raw)
    assert json.loads(json.dumps(dict(episode.extras)))["controller"] == "OSC_POSE"


def test_the_convention_turns_canonical_actions_into_the_raw_commands(toy: Path) -> None:
    found = first(toy)
    convention, track = Convention.of(found.extras), action_track(found)
    assert convention is not None
    assert track is not None
    raw = raw_values(toy, "actions")[found.step_index + 1]
    assert np.allclose(convention.commands(np.float32(track.values[:, 16:23])), raw, atol=1e-5)
