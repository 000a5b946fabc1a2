"""The viewer's data: every clip under its number, plots with names and units, images, lost episodes, no HTML."""

import re
import shutil
import tomllib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.vita_data.pages.conftest import HOSTILE, write_source
from tests.vita_data.pages.many import write_many
from tests.vita_data.pages.viewer.read_script import floats, pixels, value
from vita_data.curation.quality import measure_motion
from vita_data.dataset import BuiltSource
from vita_data.errors import RequestError, ShardError
from vita_data.formats.toy import read_toy_frame
from vita_data.pages.viewer.files import ASSETS, ViewerFiles, asset
from vita_data.shards.episodes import EPISODES
from vita_data.shards.index import open_source
from vita_data.types import CameraRole, Clip, Modality, Split, StoredDepth


@pytest.fixture(scope="module")
def files(shard_folder: Path) -> ViewerFiles:
    return ViewerFiles([shard_folder / "arm", shard_folder / "film"])


def test_sources_are_numbered_one_after_the_other(files: ViewerFiles) -> None:
    meta = value(files, "meta.js")

    assert [(one["name"], one["first_clip"], one["num_clips"]) for one in meta["sources"]] == [
        ("arm", 0, 5),
        ("film", 5, 5),
    ]
    assert [(one["first_lost"], one["num_lost"], one["num_failed"]) for one in meta["sources"]] == [
        (0, 3, 1),
        (3, 3, 1),
    ]
    assert [one["drops"] for one in meta["sources"]] == [{"short": 2}] * 2
    assert [one["kept_by"] for one in meta["sources"]] == [{"short": "--set min_frames=N (now 13)"}] * 2
    assert meta["meanings"] == {"short": "too few frames"}
    assert [one["redistributable"] for one in meta["sources"]] == [True, False]


def test_every_number_of_the_list_opens_the_clip_that_it_names(files: ViewerFiles, shard_folder: Path) -> None:
    meta = value(files, "meta.js")
    keys: list[str] = []
    for number in range(meta["num_clip_chunks"]):
        chunk = value(files, f"clips/{number}.js")
        assert chunk["first"] == len(keys)
        keys += chunk["keys"]

    built = [BuiltSource(shard_folder / name, split=split) for name in ("arm", "film") for split in Split]
    assert keys == [clip.key for source in built for clip in source]
    assert [value(files, f"clip/{number}.js")["key"] for number in range(len(keys))] == keys


def test_a_chunk_holds_what_the_list_shows_and_hostile_text_is_only_data(files: ViewerFiles) -> None:
    chunk = value(files, "clips/0.js")

    assert chunk["instructions"] == [HOSTILE] * 4
    assert chunk["episodes"] == [f"episode {number}" for number in range(4)]
    assert (chunk["seconds"], chunk["num_cameras"], chunk["split"]) == ([6.0] * 4, [1] * 4, "train")


def test_plots_have_names_units_and_the_stored_values(files: ViewerFiles) -> None:
    clip = value(files, "clip/0.js")
    shown = {(plot["kind"], plot["title"]): plot for plot in clip["plots"]}

    assert [(*key, plot["unit"], plot["names"]) for key, plot in shown.items()] == [
        ("action", "right arm translation", "m per step", ["dx", "dy", "dz"]),
        ("action", "right arm rotation", "rad per step", ["droll", "dpitch", "dyaw"]),
        ("action", "right arm gripper", "0 closed, 1 open", ["gripper"]),
        ("state", "right arm position", "m", ["x", "y", "z"]),
    ]
    steps = np.array(clip["steps"])
    rotation = floats(shown["action", "right arm rotation"]["values"], 3)
    np.testing.assert_array_equal(rotation.T, np.float32(np.sin(steps[:, None] / 9 + np.arange(3, 6)) * 0.02))
    assert shown["action", "right arm gripper"]["always"] == [0, 1]


def test_times_keyframes_gaps_and_invalid_rows_are_those_of_the_clip(files: ViewerFiles) -> None:
    clip = value(files, "clip/0.js")

    assert (clip["hz"], clip["steps"][29:31]) == (10.0, [29, 50])
    assert clip["keyframes"] == [0, 10, 20, 50, 60, 70]
    assert [(one["start"], one["stop"], one["meaning"], one["is_fault"]) for one in clip["shaded"]] == [
        (0.45, 0.75, "invalid rows, not used in training", True),
        (2.9, 5.0, "removed steps", False),
    ]
    facts = dict(clip["facts"])
    assert facts["all texts"] == f"{HOSTILE} [human]"
    assert facts["steps, keyframes"] == "60, 6"


def test_facts_hold_the_measures_of_the_actions(files: ViewerFiles, shard_folder: Path) -> None:
    facts = dict(value(files, "clip/0.js")["facts"])
    measured = measure_motion(BuiltSource(shard_folder / "arm")[0].clip)

    assert measured.speed_m_s is not None
    assert facts["speed_m_s"] == f"{measured.speed_m_s:.4g}"
    assert facts["idle_share"] == f"{measured.idle_share:.4g}"
    assert facts["text_doubt"] == measured.text_doubt if measured.text_doubt else "text_doubt" not in facts
    assert "joint_speed_rad_s" not in facts
    assert "speed_m_s" not in dict(value(files, "clip/5.js")["facts"])


def test_images_come_in_groups_in_the_order_of_their_steps(files: ViewerFiles) -> None:
    (camera,) = value(files, "clip/0.js")["cameras"]
    images = [*value(files, "images/0/0/0.js"), *value(files, "images/0/0/1.js")]

    assert camera["name"] == "primary"
    assert len(value(files, "images/0/0/0.js")) == value(files, "meta.js")["group"]
    assert [read_toy_frame(pixels(image)).step for image in images] == camera["steps"]
    thumb = files.read("thumb/0.jpg")
    assert thumb is not None
    assert simplejpeg.decode_jpeg(thumb).shape == (96, 96, 3)


def test_video_has_no_plots_and_a_clip_without_images_no_camera(files: ViewerFiles, tmp_path: Path) -> None:
    assert value(files, "clip/5.js")["plots"] == []

    def blind(clip: Clip) -> Clip:
        return replace(clip, frames={}, modality=Modality.ACTION)

    write_source(tmp_path / "arm", with_action=True, change=blind)
    found = ViewerFiles([tmp_path / "arm"])
    assert value(found, "clip/0.js")["cameras"] == []
    assert value(found, "clips/0.js")["num_cameras"] == [0] * 4
    assert (found.read("thumb/0.jpg"), found.read("images/0/0/0.js")) == (None, None)


def test_depth_is_shown_in_colours_of_one_range_for_a_clip(tmp_path: Path) -> None:
    """From near in red to far in blue; a few wrong pixels do not count, and black was not measured."""
    first = np.full((256, 256), 1.0, np.float32)
    first[:, :128], first[0, :50] = 0.5, 60.0
    last = np.full((256, 256), 0.5, np.float32)
    last[64:, :], last[128:, :] = 1.0, 0.0

    def deep(clip: Clip) -> Clip:
        return replace(clip, depths={CameraRole.PRIMARY: (StoredDepth(0, first), StoredDepth(10, last))})

    write_source(tmp_path / "arm", with_action=True, change=deep)
    files = ViewerFiles([tmp_path / "arm"])
    camera, depth = value(files, "clip/0.js")["cameras"]
    assert (camera["name"], camera["note"]) == ("primary", "")
    note = "0.50 m red to 1.00 m blue, black: not measured"
    assert depth == {"name": "depth_primary", "steps": [0, 10], "note": note}
    shown = [pixels(image).astype(int) for image in value(files, "images/0/1/0.js")]
    near, far = shown[0][128, 64], shown[0][128, 192]
    assert near[0] > near[2] + 80
    assert far[2] > far[0]
    for place, colour in (((32, 128), near), ((96, 128), far), ((192, 128), np.zeros(3))):
        np.testing.assert_allclose(shown[1][place], colour, atol=12)
    assert "images/0/1/0.js" in set(files.names())
    assert value(files, "clips/0.js")["num_cameras"] == [1] * 4


def test_lost_episodes_are_listed_with_reason_and_detail(files: ViewerFiles) -> None:
    chunks = [value(files, f"lost/{number}.js") for number in range(value(files, "meta.js")["num_lost_chunks"])]

    assert [chunk["first"] for chunk in chunks] == [0, 3]
    assert chunks[1]["episodes"] == ["drop 0", "drop 1", "broken"]
    assert chunks[1]["outcomes"] == ["dropped", "dropped", "failed"]
    assert chunks[1]["reasons"] == ["short", "short", ""]
    assert chunks[1]["details"] == ["", "", "cannot be read"]


def test_pictures_of_dropped_episodes_come_from_the_download(toy_shards: Path, toy_raw: Path) -> None:
    name = "robomind_agilex"
    with closing(ViewerFiles([toy_shards / name], raws={name: str(toy_raw / name)})) as files:
        lost = value(files, "lost/0.js")
        number = lost["reasons"].index("short")
        found = value(files, f"raw/{number}.js")

        assert value(files, "meta.js")["sources_with_raw"] == [0]
    assert found["note"] == ""
    assert len(found["pictures"]) == 3 * 8
    for one in found["pictures"]:
        assert one["caption"].endswith(f"step {read_toy_frame(pixels(one['jpeg'])).step}")


def test_an_episode_that_the_download_lacks_is_said_to_be_absent(toy_raw: Path, toy_shards: Path) -> None:
    name = "robomind_agilex"
    with closing(ViewerFiles([toy_shards / name], raws={name: str(toy_raw / name)})) as files:
        read = files._raws[0].read

        assert "not in the given download" in read("absent", "absent").note
        part = str(open_lost(toy_shards / name)["part"])
        assert "not in the given download" in read(part, "absent").note
    with pytest.raises(RequestError, match="--raw"):
        ViewerFiles([toy_shards / name], raws={name: str(toy_raw / "absent")})


def open_lost(folder: Path) -> dict[str, object]:
    lost = ViewerFiles([folder]).catalog.lost(0)[1]
    return dict(lost)


@pytest.mark.parametrize(
    "name",
    ["clip/10.js", "clips/9.js", "lost/9.js", "raw/0.js", "images/0/1/0.js", "images/0/0/9.js", "images/0/0.js",
     "thumb/99.jpg", "thumb/0.js", "clip/0.jpg", "clip/-1.js", "clip/1/2.js", "clip/٣.js", "meta/0.js", "../meta.js",
     "clip/0.js/", "", "dataset.json", "clip/99999999999.js"],
)  # fmt: skip
def test_no_other_name_is_a_file(files: ViewerFiles, name: str) -> None:
    assert files.read(name) is None


def test_chunks_join_to_the_whole_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.pages.viewer.catalog.CHUNK", 7)
    write_many(tmp_path / "many", 25, clips_per_shard=10)
    files = ViewerFiles([tmp_path / "many"])
    chunks = [value(files, f"clips/{number}.js") for number in range(value(files, "meta.js")["num_clip_chunks"])]

    assert [len(chunk["keys"]) for chunk in chunks] == [7, 7, 7, 4]
    keys = [key for chunk in chunks for key in chunk["keys"]]
    assert [value(files, f"clip/{number}.js")["key"] for number in range(25)] == keys
    assert keys == open_source(tmp_path / "many", Split.TRAIN).table.column("key").to_pylist()


def test_damage_is_an_error_that_names_the_shard(shard_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(shard_folder / "arm", tmp_path / "arm")
    shard = tmp_path / "arm" / "train" / "arm-train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(bytes(data))
    files = ViewerFiles([tmp_path / "arm"])

    with pytest.raises(ShardError, match=r"arm-train-000000\.tar"):
        files.read("clip/0.js")
    (tmp_path / "arm" / EPISODES).unlink()
    with pytest.raises(ShardError, match=r"episodes\.parquet: is missing"):
        ViewerFiles([tmp_path / "arm"])


def test_the_page_makes_no_html_of_data_and_asks_for_nothing_from_outside() -> None:
    page = asset("index.html").decode()
    scripts = "".join(asset(name).decode() for name in ASSETS if name.endswith(".js"))

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc", scripts)
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == [
        "data:,", "viewer.css", "#", "data.js", "list.js", "plots.js", "clip.js", "main.js",
    ]  # fmt: skip
    assert re.findall(r"<script[^>]*>([^<]+)</script>", page) == []
    assert "default-src 'none'" in page
    assert not re.search(r"https?://", page + scripts + asset("viewer.css").decode())


def test_the_package_brings_every_file_of_the_page() -> None:
    root = Path(__file__).parents[4]
    shipped = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["vita_data"]
    found = {path.name for pattern in shipped for path in (root / "vita_data").glob(pattern)}
    assert set(ASSETS) <= found
    assert {path.name for path in (root / "vita_data/pages/viewer/assets").iterdir()} == set(ASSETS)
