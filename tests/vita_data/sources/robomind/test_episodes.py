"""RoboMIND's shared parts: colours and bare buffers, depth units, the tree, and its language."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.normalize.images import rgb_pixels
from vita_data.normalize.text import text_fault
from vita_data.sources._shared.robomind.episodes import list_parts
from vita_data.sources._shared.robomind.frames import (
    FrameBytes,
    StoredDepth,
    StoredFrames,
    decode_depth_m,
    decode_frame,
)
from vita_data.sources._shared.robomind.text import (
    ANNOTATIONS,
    INSTRUCTION_LIST,
    instructions,
    parse_annotations,
    parse_instruction_list,
    task_name,
)
from vita_data.sources._shared.robomind.toy import bare_frame, encode_frame
from vita_data.sources._shared.robomind.tree import RobomindSettings, parse_path
from vita_data.types import (
    Image,
    Instruction,
    JpegFrame,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
    TextStyle,
)

FOLDER = "h5_ur_1rgb"
BGR, RGB = FrameBytes.RECORDED_BGR, FrameBytes.RECORDED_RGB
RED_LEFT = np.zeros((48, 64, 3), np.uint8)
RED_LEFT[:, :32, 0] = RED_LEFT[:, 32:, 2] = 250
"""Red on the left, blue on the right."""


def put(root: Path, place: str) -> str:
    path = root / place / "data" / "trajectory.hdf5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return f"{place}/data/trajectory.hdf5"


def listed(root: Path, *release: str) -> list[str]:
    parts = list_parts(FsspecTree(str(root)), RobomindSettings(release=release), (FOLDER,))
    assert all(part.num_episodes == 1 for part in parts)
    return [part.id for part in parts]


def texts(root: Path, path: str) -> tuple[Instruction, ...]:
    return instructions(FsspecTree(str(root)), parse_path(path))


def write_list(folder: Path, rows: dict[str, str]) -> None:
    with (folder / INSTRUCTION_LIST).open("w", newline="") as file:
        csv.writer(file).writerows(
            [["", "task", "instruction"], *([str(n), *row] for n, row in enumerate(rows.items()))]
        )


def write_summaries(folder: Path, summaries: dict[str, str]) -> None:
    (folder / ANNOTATIONS).mkdir()
    items = [{"id": f"{place}/data", "response": {"task_summary": text}} for place, text in summaries.items()]
    (folder / ANNOTATIONS / f"{FOLDER}.json").write_text(json.dumps(items))


# ------------------------------------------------------------------------------------------------ colours, buffers


@pytest.mark.parametrize("recorded", FrameBytes)
def test_colours_come_back_from_a_jpeg_as_the_recorder_of_each_robot_wrote_it(recorded: FrameBytes) -> None:
    pixels = rgb_pixels(decode_frame(encode_frame(RED_LEFT, recorded), recorded))

    np.testing.assert_allclose(pixels[10, 5], [250, 0, 0], atol=12)
    np.testing.assert_allclose(pixels[10, 60], [0, 0, 250], atol=12)


def test_the_two_kinds_of_recorder_differ_as_the_project_s_reader_sees_them() -> None:
    """OpenCV shows BGR; the project swaps it for Franka and UR and leaves the others (quick_start.ipynb)."""
    shown = {kind: cv2.imdecode(np.frombuffer(encode_frame(RED_LEFT, kind), np.uint8), 1) for kind in FrameBytes}

    np.testing.assert_allclose(shown[BGR][10, 5], [0, 0, 250], atol=12)
    np.testing.assert_allclose(shown[RGB][10, 5], [250, 0, 0], atol=12)


def test_a_jpeg_that_is_right_already_passes_untouched_and_one_that_is_not_never_does() -> None:
    data = encode_frame(RED_LEFT, BGR)

    assert decode_frame(data, BGR) == JpegFrame(data)
    assert isinstance(decode_frame(data, RGB), RgbFrame)


@pytest.mark.parametrize("recorded", FrameBytes)
@pytest.mark.parametrize("shape", [(720, 1280), (480, 640)])
def test_a_bare_buffer_is_told_by_its_size_and_turned_to_rgb(shape: tuple[int, int], recorded: FrameBytes) -> None:
    image = toy_frame(*shape, step=77, camera=2, episode=5)
    frame = decode_frame(bare_frame(image, recorded), recorded)

    assert isinstance(frame, RgbFrame)
    np.testing.assert_array_equal(frame.pixels, image)


@pytest.mark.parametrize("recorded", FrameBytes)
def test_another_image_format_follows_the_same_rule(recorded: FrameBytes) -> None:
    written: Image = RED_LEFT if recorded is RGB else np.ascontiguousarray(RED_LEFT[..., ::-1])
    frame = decode_frame(cv2.imencode(".png", written)[1].tobytes(), recorded)

    assert isinstance(frame, RgbFrame)
    np.testing.assert_array_equal(frame.pixels, RED_LEFT)


@pytest.mark.parametrize("recorded", FrameBytes)
@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 a torn jpeg", b"no image", bytes(921_599)])
def test_what_is_no_image_is_handed_on_for_the_drop(data: bytes, recorded: FrameBytes) -> None:
    assert decode_frame(data, recorded) == JpegFrame(data)


def test_frames_are_read_after_the_file_was_closed_and_only_those_asked_for(tmp_path: Path) -> None:
    entries = [encode_frame(toy_frame(90, 160, step=step), RGB) for step in range(4)]
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        images = file.create_dataset("images", (4,), dtype=h5py.vlen_dtype(np.uint8))
        for row, entry in enumerate(entries):
            images[row] = np.frombuffer(entry, np.uint8)
        stream = StoredFrames(images, num_frames=3, frame_bytes=RGB, name="a")
    marks = [
        read_toy_frame(cv2.resize(rgb_pixels(frame), (256, 256))) for frame in stream.read([0, 2], ResizeMode.PLAIN)
    ]

    assert stream.num_frames == 3
    assert [mark.step for mark in marks] == [0, 2]
    assert all(mark.rgb and mark.upright for mark in marks)


def test_an_array_of_pixels_and_a_file_gone_are_errors_of_the_episode(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        with pytest.raises(EpisodeError, match="expected one entry of encoded bytes per frame"):
            StoredFrames(
                file.create_dataset("x", data=np.zeros((2, 4, 4, 3), np.uint8)), num_frames=1, frame_bytes=BGR, name="a"
            )
        stream = StoredDepth(file.create_dataset("d", (2,), dtype=h5py.vlen_dtype(np.uint8)), name="a")
    with pytest.raises(EpisodeError, match=r"expected a depth image in .*/d\[1\]$"):
        list(stream.read([1]))
    (tmp_path / "a.hdf5").unlink()
    with pytest.raises(EpisodeError, match="a: /d cannot be read") as caught:
        list(stream.read([0]))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "largest", "metres"),
    [
        (np.uint16, 1500, 1.5),
        (np.uint16, 100, 0.1),
        (np.uint16, 3, 0.003),
        (np.uint8, 90, 0.09),
        (np.float32, 1500, 1.5),
        (np.float32, 101, 0.101),
        (np.float32, 100, 100.0),
        (np.float32, 3, 3.0),
    ],
)
def test_whole_numbers_are_millimetres_and_floats_above_100_too(
    dtype: type[np.generic], largest: int, metres: float
) -> None:
    image = np.zeros((12, 16), dtype)
    image[3, 4] = largest
    suffix = ".tiff" if dtype is np.float32 else ".png"
    depth = decode_depth_m(cv2.imencode(suffix, image)[1].tobytes())

    assert depth is not None
    assert depth.dtype == np.float32
    assert depth.max() == pytest.approx(metres)


@pytest.mark.parametrize("shape", [(720, 1280), (480, 640)])
def test_depth_may_be_a_bare_buffer_too(shape: tuple[int, int]) -> None:
    image = np.full(shape, 1234, np.uint16)
    depth = decode_depth_m(image.tobytes())

    assert depth is not None
    assert depth.shape == shape
    assert depth[0, 0] == pytest.approx(1.234)
    assert decode_depth_m(image.tobytes()[:-2]) is None
    assert decode_depth_m(cv2.imencode(".png", RED_LEFT)[1].tobytes()) is None


# ------------------------------------------------------------------------------------------------------- the tree


def test_trajectories_are_found_with_and_without_the_train_val_level(tmp_path: Path) -> None:
    plain = put(tmp_path, f"benchmark1_0_release/{FOLDER}/a/success_episodes/1014_1")
    train = put(tmp_path, f"benchmark1_1_release/{FOLDER}/b/success_episodes/train/1014_2")
    val = put(tmp_path, f"benchmark1_1_release/{FOLDER}/b/success_episodes/val/1014_3")

    assert listed(tmp_path, "benchmark1_0_release", "benchmark1_1_release") == [plain, train, val]
    assert [parse_path(path).split for path in (plain, train, val)] == [None, Split.TRAIN, Split.VAL]
    assert parse_path(train).id == f"benchmark1_1_release/{FOLDER}/b/success_episodes/train/1014_2"
    assert (parse_path(plain).task, parse_path(plain).episode) == ("a", "1014_1")


def test_failed_demonstrations_and_other_robots_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, f"benchmark1_1_release/{FOLDER}/b/failure_episodes/train/1")
    put(tmp_path, "benchmark1_1_release/h5_tienkung_gello_1rgb/b/success_episodes/train/1")
    put(tmp_path, "benchmark1_1_release/h5_sim_franka_3rgb/b/success_episodes/train/1")
    good = put(tmp_path, f"benchmark1_1_release/{FOLDER}/b/success_episodes/train/2")

    assert listed(tmp_path) == [good]


@pytest.mark.parametrize("other", ["1", "2"], ids=["same trajectory", "another"])
def test_two_releases_must_be_chosen_between(tmp_path: Path, other: str) -> None:
    first = put(tmp_path, f"benchmark1_0_release/{FOLDER}/a/success_episodes/train/1")
    put(tmp_path, "benchmark1_2_release/h5_agilex_3rgb/a/success_episodes/train/1")
    assert listed(tmp_path) == [first], "a release without this robot is none to choose"
    second = put(tmp_path, f"benchmark1_1_release/{FOLDER}/a/success_episodes/train/{other}")

    with pytest.raises(RequestError, match=r"benchmark1_0_release, benchmark1_1_release; choose with --set release="):
        listed(tmp_path)
    assert listed(tmp_path, "benchmark1_1_release") == [second]
    assert listed(tmp_path, "benchmark1_0_release", "benchmark1_1_release") == [first, second]
    with pytest.raises(RequestError, match=r"benchmark1_9 not in .*found benchmark1_0_release, benchmark1_1_release, "):
        listed(tmp_path, "benchmark1_9")


def test_simulated_folders_are_refused_and_a_wrong_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no benchmark1_\*/h5_ur_1rgb/.*found no benchmark1_\*"):
        listed(tmp_path)
    put(tmp_path, "benchmark1_1_release/h5_sim_franka_3rgb/b/success_episodes/train/1")
    with pytest.raises(RequestError, match=r"found h5_sim_franka_3rgb; simulated folders are not supported"):
        listed(tmp_path)
    with pytest.raises(TypeError, match="expected the Settings of a RoboMIND source"):
        list_parts(FsspecTree(str(tmp_path)), SourceSettings(), (FOLDER,))


def test_the_list_of_trajectories_without_top_camera_fits_the_layout(real_data: Path) -> None:
    lines = (real_data / "robomind_text" / "franka_3rgb_2cam_paths.md").read_text().split()
    found = [parse_path(f"benchmark1_0_release/{line.removeprefix('./')}") for line in lines]

    assert Counter(trajectory.split for trajectory in found) == {Split.TRAIN: 605, Split.VAL: 70}
    assert {trajectory.folder for trajectory in found} == {"h5_franka_3rgb"}
    assert len({trajectory.id for trajectory in found}) == 675


# ------------------------------------------------------------------------------------------------------- language

PLACE = f"{FOLDER}/35_putcarrot/success_episodes/train/1014_1"
PATH = f"benchmark1_0_release/{PLACE}/data/trajectory.hdf5"


def test_a_summary_comes_before_the_list_and_the_list_before_the_folder_s_name(tmp_path: Path) -> None:
    (bare := tmp_path / "bare").mkdir()
    (with_list := tmp_path / "list").mkdir()
    (with_both := tmp_path / "both").mkdir()
    for folder in (with_list, with_both):
        write_list(folder, {"35_putcarrot": "put the carrot, please"})
    write_summaries(with_both, {PLACE: "putting the carrot away"})

    assert texts(bare, PATH) == (Instruction(text="putcarrot", origin="task_name"),)
    assert texts(with_list, PATH) == (Instruction(text="put the carrot, please", origin="human"),)
    assert [text.text for text in texts(with_both, PATH)] == ["putting the carrot away", "put the carrot, please"]


def test_the_texts_may_lie_beside_the_raw_folder(tmp_path: Path) -> None:
    (raw := tmp_path / "robomind").mkdir()
    write_list(tmp_path, {"35_putcarrot": "put the carrot in the pot"})
    write_summaries(tmp_path, {PLACE: "putting the carrot away"})

    assert [text.text for text in texts(raw, PATH)] == ["putting the carrot away", "put the carrot in the pot"]


@pytest.mark.parametrize(
    "nothing", ["[none]", "none", " ", "[None].", "\uff3bnone\uff3d", "【none】", "none\x00", "\u200b", "b'[none]'"]
)
def test_a_summary_that_says_nothing_leaves_the_word_to_the_list(tmp_path: Path, nothing: str) -> None:
    write_list(tmp_path, {"35_putcarrot": "put the carrot in the pot"})
    write_summaries(tmp_path, {PLACE: nothing})

    assert [text.text for text in texts(tmp_path, PATH)] == ["put the carrot in the pot"]


def test_a_trajectory_without_split_level_finds_the_summary_of_one_with_it(tmp_path: Path) -> None:
    write_summaries(tmp_path, {PLACE: "putting the carrot away", f"{PLACE}2": "another one"})

    assert texts(tmp_path, PATH.replace("/train", ""))[0].text == "putting the carrot away"
    assert texts(tmp_path, PATH.replace("/train", "/val"))[0].origin == "task_name"


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("241021_close_trash_bin_1", "close trash bin"),
        ("410-place_upright_mug", "place upright mug"),
        ("2024_09_20_close_cabinet", "close cabinet"),
        ("yellow_pepper_on_plate_copy_1734079761061", "yellow pepper on plate copy"),
    ],
)
def test_a_folder_name_becomes_words_without_digits(folder: str, words: str) -> None:
    assert task_name(folder) == words


@pytest.mark.parametrize("broken", ["task,text\n1,2\n", ""])
def test_a_broken_instruction_list_is_told_before_any_trajectory_is_read(tmp_path: Path, broken: str) -> None:
    put(tmp_path, f"benchmark1_0_release/{PLACE}")
    (tmp_path / INSTRUCTION_LIST).write_text(broken)
    with pytest.raises(
        RequestError, match=rf"{INSTRUCTION_LIST} cannot be read .expected the columns task and instruction"
    ):
        listed(tmp_path)


def test_an_instruction_list_of_any_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / INSTRUCTION_LIST).write_bytes(b',task,instruction\r0,35_putcarrot,"put the carrot,\rthen the pot"\r')

    assert [text.text for text in texts(tmp_path, PATH)] == ["put the carrot,\nthen the pot"]


def test_an_instruction_list_that_is_not_csv_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, f"benchmark1_0_release/{PLACE}")
    (tmp_path / INSTRUCTION_LIST).write_text(f'task,instruction\na,"{"x" * 200_000}"\n')
    with pytest.raises(RequestError, match=rf"{INSTRUCTION_LIST} cannot be read .field larger"):
        listed(tmp_path)


@pytest.mark.parametrize(
    "odd", [None, 3, {"id": PLACE}, {"id": PLACE, "response": None}, {"id": [PLACE], "response": {}}]
)
def test_an_odd_annotation_annotates_nothing_and_costs_no_other(tmp_path: Path, odd: object) -> None:
    write_summaries(tmp_path, {PLACE: "putting the carrot away", f"{PLACE}2": "another one"})
    file = tmp_path / ANNOTATIONS / f"{FOLDER}.json"
    file.write_text(json.dumps([odd, *json.loads(file.read_text())]))

    assert [text.text for text in texts(tmp_path, PATH)] == ["putting the carrot away"]
    file.write_text(file.read_text().replace('"putting the carrot away"', '["putting", "away"]'))
    assert texts(tmp_path, PATH)[0].origin == "task_name"


@pytest.mark.parametrize("broken", ["{", '{"id": 1}', '[{"id": "a"}]', "[1]"])
def test_a_broken_annotation_file_is_told_before_any_trajectory_is_read(tmp_path: Path, broken: str) -> None:
    put(tmp_path, f"benchmark1_0_release/{PLACE}")
    (tmp_path / ANNOTATIONS).mkdir()
    (tmp_path / ANNOTATIONS / f"{FOLDER}.json").write_text(broken)
    with pytest.raises(RequestError, match=rf"{FOLDER}.json cannot be read"):
        listed(tmp_path)


def test_the_real_instruction_list_is_read_as_surveyed(real_data: Path) -> None:
    """479 rows, 468 tasks, the 11 that come twice agree; 17 are glued or hold an underscore (T7)."""
    rows = parse_instruction_list((real_data / "robomind_text" / INSTRUCTION_LIST).read_text(encoding="utf-8"))
    faults = Counter(text_fault(text, TextStyle.IMPERATIVE) for _, text in rows)

    assert (len(rows), len(dict(rows)), len(set(rows))) == (479, 468, 468)
    assert faults[Reason.GLUED] == 17
    assert faults[None] + faults[Reason.TOO_FEW_WORDS] == 462
    assert max(len(text) for _, text in rows) == 204
    assert dict(rows)["14_steamcorn"] == "pick up the corn,open the lid,put the corn in the pot,close the lid"


def test_the_real_instruction_list_and_annotations_serve_a_trajectory(real_data: Path, tmp_path: Path) -> None:
    real = real_data / "robomind_text"
    summaries = parse_annotations((real / "h5_franka_1rgb.json").read_text(encoding="utf-8"))
    (tmp_path / ANNOTATIONS).mkdir()
    (tmp_path / ANNOTATIONS / "h5_franka_1rgb.json").symlink_to(real / "h5_franka_1rgb.json")
    (tmp_path / INSTRUCTION_LIST).symlink_to(real / INSTRUCTION_LIST)
    place = "h5_franka_1rgb/bread_in_basket/success_episodes/train/1016_161244"
    found = texts(tmp_path, f"benchmark1_0_release/{place}/data/trajectory.hdf5")

    assert len(summaries) == 161
    assert all(not text_fault(text, TextStyle.IMPERATIVE) for text in summaries.values())
    assert found[0] == Instruction(text="placing bread into a basket", origin="human")
    assert len(found) == 2
    assert found[1].text == dict(parse_instruction_list((real / INSTRUCTION_LIST).read_text()))["bread_in_basket"]


def test_of_a_task_that_is_listed_twice_the_first_counts(tmp_path: Path) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(
        [["", "task", "instruction"], ["0", "35_putcarrot", "the first"], ["1", "35_putcarrot", "the second"]]
    )
    (tmp_path / INSTRUCTION_LIST).write_text(out.getvalue())

    assert [text.text for text in texts(tmp_path, PATH)] == ["the first"]
