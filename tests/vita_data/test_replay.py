"""Rebuilt commands beside raw rows: releases of one source, changed rows, missing downloads."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.errors import RequestError, VitaDataError
from vita_data.replay import BuiltFrom, CommandReport, compare_commands, demonstration_reader, find_built
from vita_data.shards.index import card_bytes, read_card
from vita_data.sources.libero import source as libero
from vita_data.types import SourceSettings, Split
from vita_model.sims.cli.main import main


def made(root: Path, write: Callable[[str], None], settings: SourceSettings | None = None) -> tuple[Path, Path]:
    raw, shards = root / "raw", root / "shards"
    raw.mkdir()
    write(str(raw))
    settings = settings or sources.load("libero").Settings()
    build(BuildRequest(source="libero", raw=str(raw), out=shards, settings=settings))
    return shards, raw


def compared(shards: Path, raw: Path) -> CommandReport:
    (built,) = find_built(shards, str(raw))
    return compare_commands(built)


@pytest.mark.parametrize("write", [libero._write_toy_no_noops, libero._write_toy_replayed])
def test_the_releases_of_libero_pair_other_rows(tmp_path: Path, write: Callable[[str], None]) -> None:
    report = compared(*made(tmp_path, write))

    assert report.num_clips == 4
    assert report.passes
    assert report.worst["actions"].error < 1e-7


def test_a_command_that_differs_is_named_and_ends_with_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, raw = made(tmp_path, libero.write_toy)
    clip = next(iter(find_built(shards, str(raw))[0].clips()))
    with h5py.File(raw / str(clip.provenance["file"]), "r+") as file:
        file[f"data/{clip.provenance['record']}/actions"][int(clip.step_index[4]) + 1, 2] -= 1e-4

    assert main(["replay", "--shards", str(shards), "--raw", str(raw), "--quiet"]) == 1
    told = capsys.readouterr()
    assert f"clip {clip.key} row 4 (native step {clip.step_index[4]})" in told.err
    assert "1.0e-04" in told.out
    assert main(["replay", "--shards", str(raw), "--raw", str(raw)]) == 2

    (raw / str(clip.provenance["file"])).unlink()
    with pytest.raises(VitaDataError, match=f"clip {clip.key}: .*{clip.provenance['file']}"):
        compared(shards, raw)


def test_several_sources_need_a_raw_folder_each(tmp_path: Path) -> None:
    shards, raw = made(tmp_path, libero.write_toy)
    (shards / "other").symlink_to(shards / "libero")
    assert isinstance(find_built(shards, str(raw))[0], BuiltFrom)  # the same source twice is one

    card = {**read_card(shards / "libero"), "source": "bridge"}
    (shards / "other").unlink()
    (shards / "other").mkdir()
    (shards / "other" / "dataset.json").write_bytes(card_bytes(card))
    with pytest.raises(RequestError, match="expected a folder for each built source, found none for"):
        find_built(shards, str(raw))


def test_a_demonstration_begins_with_the_command_after_the_first_observation(tmp_path: Path) -> None:
    shards, raw = made(tmp_path, libero.write_toy)
    (built,) = find_built(shards, str(raw))
    clip = next(iter(built.clips()))
    found = demonstration_reader(built)(clip)

    with h5py.File(raw / str(clip.provenance["file"])) as file:
        demo = file[f"data/{clip.provenance['record']}"]
        first = int(clip.step_index[0]) + 1
        assert found.commands.tolist() == demo["actions"][first:].tolist() == found.executed.tolist()
        assert found.state.tolist() == demo["states"][first].tolist()
        assert found.end_m.tolist() == demo["obs/ee_pos"][-1].tolist()
    assert found.rows.tolist() == (clip.step_index - clip.step_index[0]).tolist()
    assert found.success
    assert found.world["model_file"] == "<mujoco/>"
    assert found.world["task"] == clip.provenance["task"]


@pytest.mark.parametrize("write", [libero._write_toy_no_noops, libero._write_toy_replayed])
def test_releases_without_the_simulators_states_cannot_be_executed(
    tmp_path: Path, write: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    shards, raw = made(tmp_path, write)
    asked = ["replay", "--shards", str(shards), "--raw", str(raw), "--quiet", "--simulator", "libero"]
    assert main(asked) == 2
    assert "expected a recording of LIBERO (--set release=official)" in capsys.readouterr().err


def test_sources_of_real_robots_cannot_be_executed(tmp_path: Path) -> None:
    built = BuiltFrom(name="bridge", folder=tmp_path, raw=str(tmp_path))
    with pytest.raises(RequestError, match="bridge was not recorded in a simulator"):
        demonstration_reader(built)


def test_a_labelled_window_is_read_with_its_scene(tmp_path: Path) -> None:
    built = calvin_built(tmp_path)
    for clip in built.clips():
        found = demonstration_reader(built)(clip)
        first, last = (int(str(clip.provenance[key])) for key in ("first_frame", "last_frame"))
        folder = tmp_path / "raw" / "task_ABC_D" / ("training" if clip.split is Split.TRAIN else "validation")
        start, end = (np.load(folder / f"episode_{frame:07d}.npz") for frame in (first + clip.step_index[0], last))

        assert found.state.tolist() == [*start["robot_obs"], *start["scene_obs"]]
        assert found.commands[0].tolist() == start["rel_actions"].tolist()
        assert len(found.commands) == last - first - clip.step_index[0] + 1
        assert found.end_m.tolist() == end["actions"][:3].tolist()
        assert found.world == {"task": clip.extras["task"], "scene": clip.extras["scene"]}


def test_unlabelled_windows_and_unknown_scenes_are_refused(tmp_path: Path) -> None:
    settings = sources.load("calvin").Settings(mode=sources.load("calvin").Mode.PLAY)
    built = calvin_built(tmp_path / "play", settings)
    with pytest.raises(RequestError, match=r"expected a labelled window \(--set mode=language\)"):
        demonstration_reader(built)(next(iter(built.clips())))

    built = calvin_built(tmp_path / "scenes", scenes=False)
    trained, validated = (next(clip for clip in built.clips() if clip.split is split) for split in Split)
    with pytest.raises(RequestError, match=r"its scene is unknown; fetch scene_info.npy and build again"):
        demonstration_reader(built)(trained)
    assert demonstration_reader(built)(validated).world["scene"] == "calvin_scene_D"


def calvin_built(root: Path, settings: SourceSettings | None = None, *, scenes: bool = True) -> BuiltFrom:
    raw, shards, source = root / "raw", root / "shards", sources.load("calvin")
    raw.mkdir(parents=True)
    source.write_toy(str(raw))
    if not scenes:
        for file in raw.rglob("scene_info.npy"):
            file.unlink()
    build(BuildRequest(source="calvin", raw=str(raw), out=shards, settings=settings or source.Settings()))
    (built,) = find_built(shards, str(raw))
    return built


@pytest.mark.parametrize(("simulator", "wanted"), [("libero", "libero"), ("robosuite", "libero")])
def test_a_simulator_is_not_given_the_recordings_of_another(
    tmp_path: Path, simulator: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    built = calvin_built(tmp_path)
    asked = ["replay", "--shards", str(built.folder), "--raw", built.raw, "--quiet", "--simulator", simulator]
    assert main(asked) == 2
    told = f"--simulator {simulator}: expected the built source {wanted}, found calvin"
    assert told in capsys.readouterr().err
