"""LIBERO's releases are told by content: replays under official names, renamed RLDS folders, contradictory files."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import RequestError, SourceError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels
from vita_data.sources.libero import source as libero
from vita_data.sources.libero.release import suite_of
from vita_data.sources.libero.source import Release, Settings
from vita_data.types import CameraRole, Drop, Episode, Failure, Gaps, Outcome, PoseDelta, Reason, ResizeMode

SPATIAL = "libero_spatial/pick_up_the_black_bowl_and_place_it_on_the_plate_demo.hdf5"
KITCHEN = "libero_90/KITCHEN_SCENE1_open_the_top_drawer_of_the_cabinet_demo.hdf5"
STRIPPED = ("problem_info", "env_name", "env_args", "bddl_file_name", "num_demos", "total", "macros_image_convention")


@pytest.fixture(scope="module")
def toys(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Release, Path]:
    writers = {Release.REPLAYED: libero._write_toy_replayed, Release.NO_NOOPS: libero._write_toy_no_noops}
    roots = {release: tmp_path_factory.mktemp(release) for release in writers}
    for release, write in writers.items():
        write(str(roots[release]))
    return {Release.OFFICIAL: toy_raw / "libero", **roots}


@pytest.fixture
def replayed(toys: dict[Release, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(toys[Release.REPLAYED], tmp_path / "raw"))


@pytest.fixture
def official(toys: dict[Release, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(toys[Release.OFFICIAL], tmp_path / "official"))


@pytest.fixture
def rlds(toys: dict[Release, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(toys[Release.NO_NOOPS], tmp_path / "rlds"))


def part_ids(root: Path, **settings: object) -> list[str]:
    return [part.id for part in libero.parts(FsspecTree(str(root)), Settings(**settings))]  # type: ignore[arg-type]


def outcomes(root: Path, file: str = SPATIAL, **settings: object) -> Iterator[Outcome]:
    raw, asked = FsspecTree(str(root)), Settings(**settings)  # type: ignore[arg-type]
    part = next(part for part in libero.parts(raw, asked) if part.id == file)
    return libero.episodes(raw, part, asked)


def first(root: Path, file: str = SPATIAL, **settings: object) -> Episode:
    found = next(outcomes(root, file, **settings))
    assert isinstance(found, Episode)
    return found


def is_whole_step(episode: Episode) -> bool:
    """Tell whether each delta leads from its own row's hand to the next row's, as a toy arm's does."""
    arm = episode.right
    assert arm is not None
    assert arm.xyz_m is not None
    assert arm.action is not None
    assert isinstance(arm.action.motion, PoseDelta)
    return np.allclose(arm.xyz_m[:-1] + arm.action.motion.xyz_m[:-1], arm.xyz_m[1:], atol=1e-6)


def edited(root: Path, change: Callable[[h5py.File], None], file: str = SPATIAL) -> None:
    with h5py.File(root / file, "r+") as opened:
        change(opened)


def test_a_replay_under_an_official_name_pairs_observation_t_with_action_t(replayed: Path) -> None:
    with h5py.File(replayed / SPATIAL) as file:
        actions, hand = (file[f"data/demo_1/{key}"][()] for key in ("actions", "obs/ee_pos"))
    raw = FsspecTree(str(replayed))
    assert [(part.id, part.num_episodes) for part in libero.parts(raw, Settings())] == [(KITCHEN, 2), (SPATIAL, 2)]
    episodes = list(outcomes(replayed))
    found = episodes[0]
    assert isinstance(found, Episode)
    assert [episode.id for episode in episodes if isinstance(episode, Episode)] == [
        f"{SPATIAL}#demo_1", f"{SPATIAL}#demo_6"
    ]  # fmt: skip
    assert (found.release, found.gaps, found.hz, found.split) == ("replayed", Gaps.BRIDGE, 20.0, None)
    assert np.array_equal(found.step_index, np.arange(len(actions)))
    assert found.right is not None
    assert found.right.action is not None
    assert np.array_equal(found.right.xyz_m, hand)
    assert np.allclose(found.right.action.motion.xyz_m, actions[:, :3] * 0.05)
    assert is_whole_step(found)
    assert [text.text for text in found.instructions] == ["pick up the black bowl and place it on the plate"]
    assert dict(found.provenance)["suite"] == "libero_spatial"


def test_a_replay_s_images_are_stored_upside_down_and_turned_as_the_official_ones(replayed: Path) -> None:
    for camera, role in enumerate((CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)):
        frames = list(first(replayed).cameras[role].read([0, 7], ResizeMode.PLAIN))
        found = [read_toy_frame(rgb_pixels(frame)) for frame in frames]
        assert [(mark.step, mark.camera, mark.upright) for mark in found] == [(0, camera, True), (7, camera, True)]
    upside_down = first(replayed, orientation=libero.Orientation.NONE)
    (frame,) = upside_down.cameras[CameraRole.PRIMARY].read([0], ResizeMode.PLAIN)
    assert not read_toy_frame(rgb_pixels(frame)).upright


@pytest.mark.parametrize("name", ["libero_spatial_no_noops", "libero_spatial_regen", "libero_spatial"])
@pytest.mark.parametrize("release", [Release.OFFICIAL, Release.REPLAYED])
def test_what_a_folder_is_called_tells_nothing(release: Release, name: str, official: Path, replayed: Path) -> None:
    root = official if release is Release.OFFICIAL else replayed
    (root / "libero_spatial").rename(root / name)
    found = first(root, SPATIAL.replace("libero_spatial", name))
    assert (found.release, found.provenance["suite"], is_whole_step(found)) == (release, "libero_spatial", True)


def without_demo_attributes(file: h5py.File) -> None:
    for demo in file["data"].values():
        for key in list(demo.attrs):
            del demo.attrs[key]


def strip(file: h5py.File) -> None:
    for key in STRIPPED:
        file["data"].attrs.pop(key, None)
    without_demo_attributes(file)


def without_states(file: h5py.File) -> None:
    for demo in file["data"].values():
        del demo["states"]


def with_states(file: h5py.File) -> None:
    """Give the official toy flattened states: the joints before each action, which are those seen one row earlier."""
    for demo in file["data"].values():
        joints = demo["obs/joint_states"][()]
        del demo["states"]
        demo["states"] = np.column_stack([np.arange(len(joints)), np.vstack([joints[:1], joints[:-1]]), joints * 0])


def with_attributes(file: h5py.File) -> None:
    file["data"].attrs.update({"problem_info": "{}", "num_demos": 2})
    for demo in file["data"].values():
        demo.attrs["num_samples"] = len(demo["actions"])


def with_images_of(size: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for demo in file["data"].values():
            images = demo["obs/agentview_rgb"][:, :size, :size]
            for key in ("agentview_rgb", "eye_in_hand_rgb"):
                del demo[f"obs/{key}"]
                demo[f"obs/{key}"] = images

    return change


@pytest.mark.parametrize(
    "changes",
    [(without_states,), (with_images_of(128),), (with_attributes,), (without_states, with_images_of(128))],
    ids=["no states", "128x128", "attributes copied", "no states, 128x128"],
)
def test_a_replay_is_told_though_a_sign_is_missing(replayed: Path, changes: tuple[Callable[..., None], ...]) -> None:
    for change in changes:
        edited(replayed, change)
    found = first(replayed)
    assert (found.release, is_whole_step(found)) == ("replayed", True)


@pytest.mark.parametrize(
    "changes",
    [(with_states,), (with_states, strip), (with_images_of(64),), (without_states,)],
    ids=["states", "attributes lost", "64x64", "no states"],
)
def test_an_official_file_is_told_though_a_sign_is_missing(
    official: Path, changes: tuple[Callable[..., None], ...]
) -> None:
    for change in changes:
        edited(official, change)
    found = first(official)
    assert (found.release, is_whole_step(found)) == ("official", True)


def with_hand_at_rest(file: h5py.File) -> None:
    for demo in file["data"].values():
        for key in ("ee_pos", "ee_ori"):
            demo[f"obs/{key}"][...] = demo[f"obs/{key}"][0]


def contradictory(file: h5py.File) -> None:
    """A replay that looks official but for its states."""
    with_attributes(file)
    with_images_of(128)(file)


@pytest.mark.parametrize(
    ("release", "changes"),
    [
        (Release.REPLAYED, (without_states, with_attributes)),
        (Release.OFFICIAL, (without_states, without_demo_attributes, with_images_of(64))),
        (Release.OFFICIAL, (with_states, strip, with_images_of(64))),
    ],
    ids=["replay with attributes", "official, few attributes, 64x64", "official, stripped, 64x64"],
)
def test_what_moves_the_hand_tells_a_release_that_looks_like_the_other(
    official: Path, replayed: Path, release: Release, changes: tuple[Callable[..., None], ...]
) -> None:
    root = official if release is Release.OFFICIAL else replayed
    for change in changes:
        edited(root, change)
    found = first(root, suites=("libero_spatial",))
    assert (found.release, is_whole_step(found)) == (release, True)


def test_a_contradictory_file_fails_alone_and_a_setting_says_what_it_is(official: Path, replayed: Path) -> None:
    edited(replayed, contradictory)
    shutil.copy(replayed / SPATIAL, official / SPATIAL)
    assert len(list(outcomes(official, KITCHEN))) == 4
    with pytest.raises(SourceError, match=r"bowl.*cannot tell .*--set release=official or .*=replayed; .*128x128"):
        list(outcomes(official))
    found = first(official, release=Release.REPLAYED)
    assert (found.release, is_whole_step(found)) == ("replayed", True)
    assert part_ids(official, release=Release.REPLAYED) == [SPATIAL]


@pytest.mark.parametrize("release", [Release.OFFICIAL, Release.REPLAYED])
def test_a_first_demonstration_that_cannot_be_opened_costs_itself(
    release: Release, official: Path, replayed: Path
) -> None:
    """Before, the file's release was looked for in it alone, and all other demonstrations failed, too."""

    def link_outside(file: h5py.File) -> None:
        first_demo = min(file["data"])
        del file["data"][first_demo]
        file["data"][first_demo] = h5py.ExternalLink("other.hdf5", "/x")

    root = official if release is Release.OFFICIAL else replayed
    edited(root, link_outside)
    bad, *others = outcomes(root)
    assert isinstance(bad, Failure)
    assert "is a link to another file" in bad.detail
    assert [type(one) for one in others] == [Episode] * len(others)
    assert others


def test_a_tree_of_contradictory_files_alone_is_refused_once_with_what_was_found(replayed: Path) -> None:
    for file in (SPATIAL, KITCHEN):
        edited(replayed, with_attributes, file)
        edited(replayed, without_states, file)
        edited(replayed, with_hand_at_rest, file)
        edited(replayed, lambda opened: opened["data"].attrs.update({"num_demos": 50}), file)
    with pytest.raises(RequestError, match=r"256x256 \(as in replayed\); num_demos is 50 but 2 .*and 1 more such file"):
        part_ids(replayed)
    assert part_ids(replayed, release=Release.OFFICIAL) == [KITCHEN, SPATIAL]


def test_demonstrations_of_both_kinds_in_one_file_are_contradictory(replayed: Path, official: Path) -> None:
    edited(official, with_states)
    with h5py.File(official / SPATIAL) as other:
        edited(replayed, lambda file: other.copy("data/demo_2", file["data"], name="demo_2"))
    with pytest.raises(SourceError, match="cannot tell"):
        list(outcomes(replayed))


def test_official_and_replayed_files_in_one_tree_are_refused_until_one_is_chosen(
    official: Path, replayed: Path
) -> None:
    (replayed / "libero_spatial").rename(official / "libero_spatial_no_noops")
    with pytest.raises(RequestError, match=r"official and replayed; choose .*replayed in libero_spatial_no_noops"):
        part_ids(official)
    assert part_ids(official, release=Release.OFFICIAL) == [KITCHEN, SPATIAL]
    assert part_ids(official, release=Release.REPLAYED) == [SPATIAL.replace("_spatial/", "_spatial_no_noops/")]
    assert part_ids(official, suites=("libero_spatial_no_noops",)) == part_ids(official, release=Release.REPLAYED)
    assert part_ids(official, suites=("libero_90",)) == [KITCHEN]


def test_a_release_that_the_content_does_not_have_is_refused_with_what_is_there(replayed: Path) -> None:
    with pytest.raises(RequestError, match="no files of --set release=official; found replayed"):
        part_ids(replayed, release=Release.OFFICIAL)


@pytest.mark.parametrize(
    "name", ["libero_spatial/1.0.0", "libero_spatial_no_noops_256/1.0.1", "libero_spatial-x/2.0.0"]
)
def test_rlds_is_told_by_its_keys_whatever_its_folder_and_version_are_called(rlds: Path, name: str) -> None:
    (rlds / name).parent.mkdir(exist_ok=True)
    (rlds / "libero_spatial_no_noops/1.0.0").rename(rlds / name)
    file = next(path for path in part_ids(rlds) if path.startswith(name))
    found = first(rlds, file)
    assert (found.release, found.provenance["suite"], is_whole_step(found)) == ("no_noops", "libero_spatial", True)


def edit_steps(folder: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    """Change the features of a step's observation."""
    file = folder / "features.json"
    features = json.loads(file.read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    change(steps["observation"]["featuresDict"]["features"])
    file.write_text(json.dumps(features))


def test_rlds_of_other_keys_is_refused_with_what_was_found(rlds: Path) -> None:
    edit_steps(rlds / "libero_10_no_noops/1.0.0", lambda keys: keys.update(front=keys.pop("image")))
    with pytest.raises(RequestError, match=r"libero_10_no_noops/1\.0\.0 .*expected .*/image, got .*observation/front"):
        part_ids(rlds)
    assert len(part_ids(rlds, suites=("libero_spatial",))) == 2


def test_rlds_of_the_official_image_size_is_refused_unless_it_is_said_to_be_a_replay(rlds: Path) -> None:
    def shrink(keys: dict[str, dict[str, object]]) -> None:
        keys["image"] = json.loads(json.dumps(keys["image"]).replace("256", "128"))

    edit_steps(rlds / "libero_10_no_noops/1.0.0", shrink)
    with pytest.raises(RequestError, match=r"cannot tell .*libero_10_no_noops.*got 128x128.*--set release=no_noops"):
        part_ids(rlds)
    assert len(part_ids(rlds, release=Release.NO_NOOPS)) == 3


def test_one_suite_that_lies_there_twice_is_refused_and_the_advice_works(rlds: Path) -> None:
    shutil.copytree(rlds / "libero_spatial_no_noops/1.0.0", rlds / "libero_spatial_no_noops/1.0.1")
    with pytest.raises(RequestError, match="libero_spatial twice") as refused:
        part_ids(rlds)
    advised = str(refused.value).rpartition("--set suites=")[2].split(",")
    assert len(part_ids(rlds, suites=tuple(advised))) == 3
    assert len(part_ids(rlds, suites=("libero_spatial_no_noops/1.0.1",))) == 2


def test_a_folder_of_no_known_suite_is_refused_with_those_that_are_known(rlds: Path) -> None:
    shutil.rmtree(rlds / "libero_10_no_noops")
    (rlds / "libero_spatial_no_noops").rename(rlds / "libero_mix")
    with pytest.raises(RequestError, match=r"suite of libero_mix/.*begins with libero_spatial, "):
        part_ids(rlds)


def test_a_suite_is_the_whole_beginning_of_a_folder_s_name() -> None:
    names = ("libero_10", "libero_10_no_noops", "libero_100", "libero_90-256", "libero", "libero_goals")
    assert [suite_of(name) for name in names] == ["libero_10", "libero_10", None, "libero_90", None, None]


def lose(camera: str, how: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        obs = file["data/demo_0/obs"]
        images = obs[camera]
        if how == "damaged":
            damaged.extend(images.id.get_chunk_info(row) for row in range(len(images)))
            return
        del obs[camera]
        if how == "empty":
            obs[camera] = np.zeros((0, 128, 128, 3), np.uint8)

    damaged: list[object] = []
    change.damaged = damaged  # type: ignore[attr-defined]
    return change


@pytest.mark.parametrize("how", ["absent", "empty", "damaged"])
@pytest.mark.parametrize("camera", ["eye_in_hand_rgb", "agentview_rgb"])
def test_a_camera_without_any_image_is_absent(official: Path, camera: str, how: str) -> None:
    change = lose(camera, how)
    edited(official, change)
    whole = bytearray((official / SPATIAL).read_bytes())
    for chunk in change.damaged:  # type: ignore[attr-defined]
        whole[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x55" * chunk.size
    (official / SPATIAL).write_bytes(whole)

    found = list(outcomes(official))
    assert not any(isinstance(outcome, Failure) for outcome in found)
    episode = found[0]
    assert isinstance(episode, Episode)
    left = {CameraRole.PRIMARY} if camera == "eye_in_hand_rgb" else {CameraRole.WRIST_RIGHT}
    assert set(episode.cameras) == left
    clips = normalize(episode, libero.INFO, Settings(), FrameSelection.KEYFRAMES)
    if camera == "agentview_rgb":
        assert isinstance(clips, Drop)
        assert clips.reason is Reason.NO_CAMERA
    else:
        assert not isinstance(clips, Drop)


def test_an_rlds_wrist_camera_that_is_absent_or_never_decodes_costs_no_episode(
    rlds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = rlds / "libero_spatial_no_noops/1.0.0", "libero_spatial_no_noops-train.tfrecord-00000-of-00002"
    stored = libero.RldsRecord.byte_strings

    def undecodable(self: libero.RldsRecord, path: str) -> object:
        values = stored(self, path)
        return [b"", *[b"\xff\xd8\xff"] * (len(values) - 1)] if path.endswith("wrist_image") else values

    with monkeypatch.context() as patch:
        patch.setattr(libero.RldsRecord, "byte_strings", undecodable)
        assert set(first(rlds, f"{folder.relative_to(rlds)}/{file}").cameras) == {CameraRole.PRIMARY}
    edit_steps(folder, lambda keys: keys.pop("wrist_image"))
    assert set(first(rlds, f"{folder.relative_to(rlds)}/{file}").cameras) == {CameraRole.PRIMARY}
