"""Something-Something-v2: labels of both namings, every labelled video accounted for, times from the files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.formats.video.stream import write_toy_video
from vita_data.normalize import FrameSelection, normalize
from vita_data.sources import ssv2
from vita_data.types import (
    CameraRole,
    Drop,
    Episode,
    Failure,
    JpegFrame,
    Outcome,
    Reason,
    ResizeMode,
    RgbFrame,
    Split,
)

VIDEOS = "20bn-something-something-v2"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ssv2")
    ssv2.write_toy(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def outcomes(root: Path, settings: ssv2.Settings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or ssv2.Settings()
    for part in ssv2.parts(raw, settings):
        yield from ssv2.episodes(raw, part, settings)


def read(root: Path, settings: ssv2.Settings | None = None) -> dict[str, Episode]:
    return {found.id: found for found in outcomes(root, settings) if isinstance(found, Episode)}


def test_every_labelled_video_is_one_episode_and_test_items_are_none(toy: Path) -> None:
    episodes = read(toy)
    assert sorted(episodes) == list("12345678")
    assert {key for key, episode in episodes.items() if episode.split is Split.VAL} == {"7", "8"}
    assert all(episode.right is None and episode.action_origin is None for episode in episodes.values())


def test_the_text_is_the_label_never_the_template(toy: Path) -> None:
    episodes = read(toy)
    assert [i.text for i in episodes["1"].instructions] == ["putting a red cup on a surface"]
    assert episodes["1"].instructions[0].origin == "human"
    assert episodes["5"].instructions[0].text == "opening [something]"


def test_every_row_shows_its_own_frame_in_portrait_and_landscape(toy: Path) -> None:
    for key, episode in read(toy).items():
        stream = episode.cameras[CameraRole.PRIMARY]
        rows = range(stream.num_frames)
        frames = [f for f in stream.read(rows, ssv2.Settings().resize) if isinstance(f, RgbFrame)]
        marks = [read_toy_frame(frame.pixels) for frame in frames]
        assert stream.num_frames == len(episode.step_index)
        assert episode.hz == pytest.approx(12, rel=1e-3)
        assert [mark.step for mark in marks] == episode.step_index.tolist()
        assert all(mark.upright and mark.rgb and mark.episode == int(key) for mark in marks)


def test_the_default_keeps_the_centre_square_and_a_setting_can_change_it() -> None:
    assert ssv2.Settings().resize is ResizeMode.CENTER_CROP
    assert ssv2.Settings(resize=ResizeMode.PLAIN).resize is ResizeMode.PLAIN


def test_the_older_names_of_the_label_files_read_the_same(root: Path) -> None:
    before = {key: (e.instructions, e.split) for key, e in read(root).items()}
    for name in ("train", "validation", "test", "labels"):
        (root / "labels" / f"{name}.json").rename(root / f"something-something-v2-{name}.json")
    assert {key: (e.instructions, e.split) for key, e in read(root).items()} == before


def test_parts_are_sorted_and_carry_sizes_and_one_episode_each(toy: Path) -> None:
    parts = ssv2.parts(FsspecTree(str(toy)), ssv2.Settings())
    assert [part.id for part in parts] == sorted(part.id for part in parts)
    assert all(part.num_bytes == (toy / part.id).stat().st_size and part.num_episodes == 1 for part in parts)


def test_a_labelled_video_that_is_missing_fails_and_is_not_lost(root: Path) -> None:
    (root / VIDEOS / "3.webm").unlink()
    missing = [part for part in ssv2.parts(FsspecTree(str(root)), ssv2.Settings()) if part.num_bytes == 0]
    assert [part.id for part in missing] == [f"{VIDEOS}/3.webm"]
    found = list(outcomes(root))
    failures = [outcome for outcome in found if isinstance(outcome, Failure)]
    assert len(found) == 8
    assert [failure.episode for failure in failures] == ["3"]
    assert "3.webm" in failures[0].detail
    assert str(root) not in failures[0].detail


def test_a_video_cut_in_half_fails_and_the_rest_goes_on(root: Path) -> None:
    path = root / VIDEOS / "2.webm"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = list(outcomes(root))
    assert [outcome.episode for outcome in found if isinstance(outcome, Failure)] == ["2"]
    assert sum(isinstance(outcome, Episode) for outcome in found) == 7


def test_webm_bytes_under_an_mp4_name_and_true_mp4_read(root: Path) -> None:
    (root / VIDEOS / "1.webm").rename(root / VIDEOS / "1.mp4")
    (root / VIDEOS / "2.webm").unlink()
    frames = [toy_frame(240, 320, step=step, episode=2, resize=ResizeMode.CENTER_CROP) for step in range(20)]
    write_toy_video(str(root / VIDEOS / "2.mp4"), frames, fps=12, codec="libx264")
    episodes = read(root)
    assert len(episodes) == 8
    assert episodes["1"].provenance == {"file": f"{VIDEOS}/1.mp4", "record": "1"}
    assert len(episodes["2"].step_index) == 20


def test_a_folder_of_extracted_images_counts_as_12_hz_and_shows_its_gaps(root: Path) -> None:
    (root / VIDEOS / "1.webm").unlink()
    (root / VIDEOS / "1").mkdir()
    numbers = [*range(1, 10), *range(12, 20)]
    for number in numbers:
        frame = toy_frame(256, 256, step=number - 1)
        cv2.imwrite(str(root / VIDEOS / "1" / f"img_{number:05d}.jpg"), frame[:, :, ::-1])
    episode = read(root)["1"]
    assert episode.hz == 12.0
    assert episode.step_index.tolist() == [number - 1 for number in numbers]
    frames = list(episode.cameras[CameraRole.PRIMARY].read([0, 9], ResizeMode.CENTER_CROP))
    images = [
        cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_COLOR_RGB) for f in frames if isinstance(f, JpegFrame)
    ]
    assert [read_toy_frame(image).step for image in images] == [0, 11]
    part = next(part for part in ssv2.parts(FsspecTree(str(root)), ssv2.Settings()) if part.id == f"{VIDEOS}/1")
    assert part.num_bytes == sum(file.stat().st_size for file in (root / VIDEOS / "1").iterdir())


def test_identical_videos_keep_their_own_ids(root: Path) -> None:
    shutil.copy(root / VIDEOS / "1.webm", root / VIDEOS / "2.webm")
    assert {"1", "2"} <= set(read(root))


def test_a_rate_that_was_set_replaces_the_measured_one(toy: Path) -> None:
    episode = read(toy, ssv2.Settings(hz=24.0))["1"]
    assert episode.hz == 24.0
    assert episode.step_index.tolist() == list(range(36))


def test_a_tree_without_labels_or_videos_says_what_is_missing(tmp_path: Path, root: Path) -> None:
    shutil.rmtree(root / VIDEOS)
    with pytest.raises(RequestError, match=VIDEOS):
        ssv2.parts(FsspecTree(str(root)), ssv2.Settings())
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"labels/train\.json"):
        ssv2.parts(FsspecTree(str(tmp_path / "empty")), ssv2.Settings())


@pytest.mark.parametrize("name", ["train", "validation"])
def test_each_label_file_is_needed(root: Path, name: str) -> None:
    (root / "labels" / f"{name}.json").unlink()
    with pytest.raises(RequestError, match=rf"labels/{name}\.json or something-something-v2-{name}\.json not found"):
        ssv2.parts(FsspecTree(str(root)), ssv2.Settings())


@pytest.mark.parametrize("name", ["train", "validation"])
def test_an_id_that_is_listed_again_is_refused_by_name(root: Path, name: str) -> None:
    path = root / "labels" / f"{name}.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps([*items, {"id": 4, "label": "another text"}]))
    with pytest.raises(RequestError, match=rf"labels/{name}\.json lists id 4 more than once"):
        ssv2.parts(FsspecTree(str(root)), ssv2.Settings())


def test_label_files_without_any_item_are_refused(root: Path) -> None:
    for name in ("train", "validation"):
        (root / "labels" / f"{name}.json").write_text("[]")
    with pytest.raises(RequestError, match="no labelled item"):
        ssv2.parts(FsspecTree(str(root)), ssv2.Settings())


@pytest.mark.parametrize(
    "odd", [None, 3, "id", {"label": "no id"}, {"id": None, "label": "a"}, {"id": "../1", "label": "a"}]
)
def test_an_item_that_names_no_video_fails_alone(root: Path, odd: object) -> None:
    path = root / "labels" / "train.json"
    good = read(root)
    path.write_text(json.dumps([*json.loads(path.read_text()), odd]))
    raw, settings = FsspecTree(str(root)), ssv2.Settings()
    found = [one for part in ssv2.parts(raw, settings) for one in ssv2.episodes(raw, part, settings)]
    (failed,) = (one for one in found if isinstance(one, Failure))

    assert len(found) == len(good) + 1
    assert failed.episode == f"labels/train.json#{len(json.loads(path.read_text())) - 1:06d}"
    assert "expected an item with the id of a video, found" in failed.detail


@pytest.mark.parametrize("label", [None, 3, ["a"]])
def test_a_label_that_is_no_text_is_an_empty_one(root: Path, label: object) -> None:
    path = root / "labels" / "train.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps([items[0] | {"label": label}, *items[1:]]))
    found = read(root)["1"]
    assert [instruction.text for instruction in found.instructions] == [""]
    dropped = normalize(found, ssv2.INFO, ssv2.Settings(), FrameSelection.KEYFRAMES)
    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.EMPTY


@pytest.mark.parametrize(
    ("label", "template", "outcome"),
    [
        ("throwing sock", "Throwing [something]", "throwing sock"),
        ("throwing sock\x7f", None, "throwing sock"),
        ("throwing something", "Throwing [something]", Reason.TEMPLATE),
        ("throwing something", None, "throwing something"),
        ("showing cup behind something", "Showing [something] behind [something]", "showing cup behind something"),
    ],
)
def test_a_label_of_two_words_is_kept_and_one_that_nobody_filled_in_is_dropped(
    root: Path, label: str, template: str | None, outcome: str | Reason
) -> None:
    path = root / "labels" / "train.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps([items[0] | {"label": label, "template": template}, *items[1:]]))
    episode = read(root)["1"]
    made = normalize(episode, ssv2.INFO, ssv2.Settings(), FrameSelection.KEYFRAMES)
    assert episode.instructions[0].text == label
    assert (made.reason if isinstance(made, Drop) else made[0].instruction.text) == outcome


@pytest.mark.parametrize("text", ["[{", '{"1": "a"}', '[{"label": "no id"}]', "[3]"])
def test_label_files_of_another_shape_are_refused_by_name(root: Path, text: str) -> None:
    (root / "labels" / "train.json").write_text(text)
    with pytest.raises(RequestError, match=r"labels/train\.json is not"):
        ssv2.parts(FsspecTree(str(root)), ssv2.Settings())


def test_a_damaged_image_folder_fails_when_read(root: Path) -> None:
    (root / VIDEOS / "1.webm").unlink()
    (root / VIDEOS / "1").mkdir()
    (root / VIDEOS / "1" / "img_00001.jpg").write_bytes(b"x")
    episode = read(root)["1"]
    (root / VIDEOS / "1" / "img_00001.jpg").unlink()
    with pytest.raises(EpisodeError, match=r"img_00001\.jpg"):
        list(episode.cameras[CameraRole.PRIMARY].read([0], ResizeMode.CENTER_CROP))


def test_the_toy_labels_have_the_true_shape(toy: Path) -> None:
    items = json.loads((toy / "labels" / "train.json").read_text())
    assert set(items[0]) == {"id", "label", "template", "placeholders"}
    assert json.loads((toy / "labels" / "test.json").read_text()) == [{"id": "9"}]
