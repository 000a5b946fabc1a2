"""Ego4D: which annotations become clips, where a clip's frames lie, and one pass over each video."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from vita_data.config.settings import parse_settings
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.formats.video import windows as video_windows
from vita_data.formats.video.decode import ShownFrame
from vita_data.formats.video.gops import decode_wanted
from vita_data.formats.video.packets import PacketList
from vita_data.formats.video.stream import write_toy_video
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.episode import split_of
from vita_data.sources.ego4d import source as ego4d
from vita_data.sources.ego4d.json_files import Span, parse_narrations
from vita_data.sources.ego4d.narrations import alpha_of, mean_gaps_s, narration_spans
from vita_data.sources.ego4d.toy import ToyAction, ToyVideo, actions_json, metadata_json, narrations_json
from vita_data.types import (
    CameraRole,
    Clip,
    Drop,
    Episode,
    Failure,
    Int64,
    Outcome,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
)

FOLDER = ego4d.VIDEO_FOLDERS[0]
TEXT = "#C C picks up a red cup"
NARRATION = ego4d.Settings(mode=ego4d.Mode.NARRATION)
Edit = Callable[[Any], object]


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a video of 150 frames, each marked with its place in the video."""
    path = tmp_path_factory.mktemp("ego4d") / "video.mp4"
    write_toy_video(str(path), (toy_frame(144, 192, step=i, resize=ResizeMode.CENTER_CROP) for i in range(150)), fps=30)
    return path


@pytest.fixture
def plant(encoded: Path, tmp_path: Path) -> Callable[..., Path]:
    """Lay out a tree of videos; all share one recording."""

    def lay_out(*videos: ToyVideo) -> Path:
        for folder in (*ego4d.VIDEO_FOLDERS, ego4d.ANNOTATIONS):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for video in videos:
            (tmp_path / video.folder / f"{video.uid}.mp4").write_bytes(encoded.read_bytes())
        for path, value in (
            (ego4d.METADATA[0], metadata_json(videos)),
            (ego4d.ACTIONS[0], actions_json(videos)),
            (ego4d.NARRATIONS[0], narrations_json(videos)),
        ):
            (tmp_path / path).write_text(json.dumps(value))
        return tmp_path

    return lay_out


def video(*windows: tuple[int, int], number: int = 1, text: str = TEXT, **facts: Any) -> ToyVideo:
    actions = tuple(ToyAction(start, end, text) for start, end in windows)
    return ToyVideo(number=number, folder=FOLDER, num_frames=150, actions=actions, **facts)


def edit(root: Path, path: str, change: Edit) -> None:
    """Change a JSON file in place; what `change` returns does not matter."""
    value = json.loads((root / path).read_text())
    change(value)
    (root / path).write_text(json.dumps(value))


def edit_action(root: Path, change: Edit, video: int = 0, action: int = 0) -> None:
    def dig(value: Any) -> None:
        change(value["videos"][video]["annotated_intervals"][0]["narrated_actions"][action])

    edit(root, ego4d.ACTIONS[0], dig)


def outcomes(root: Path, settings: SourceSettings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or ego4d.Settings()
    for part in ego4d.parts(raw, settings):
        yield from ego4d.episodes(raw, part, settings)


def read(root: Path, settings: SourceSettings | None = None) -> list[Episode]:
    found = list(outcomes(root, settings))
    assert all(isinstance(outcome, Episode) for outcome in found), found
    return [outcome for outcome in found if isinstance(outcome, Episode)]


def drops(root: Path, settings: SourceSettings | None = None) -> list[Reason]:
    return [outcome.reason for outcome in outcomes(root, settings) if isinstance(outcome, Drop)]


def marks(episode: Episode, rows: Sequence[int] | None = None) -> list[int]:
    stream = episode.cameras[CameraRole.PRIMARY]
    frames = stream.read(range(stream.num_frames) if rows is None else rows, ResizeMode.CENTER_CROP)
    return [read_toy_frame(frame.pixels).step for frame in frames if isinstance(frame, RgbFrame)]


def made(root: Path, settings: ego4d.Settings | None = None) -> list[tuple[Clip, ...] | Drop]:
    """Normalize each episode as a build does, before the next one is asked for."""
    settings = settings or ego4d.Settings()
    return [
        normalize(found, ego4d.INFO, settings, FrameSelection.KEYFRAMES)
        for found in outcomes(root, settings)
        if isinstance(found, Episode)
    ]


@pytest.mark.parametrize("odd", [None, 5, "action", [1], {}, {"start_frame": "x", "end_frame": [2], "uid": 3}])
def test_an_odd_action_costs_no_other(plant: Callable[..., Path], odd: object) -> None:
    root = plant(video((0, 45), (10, 55), (20, 65)))

    def replace_one(value: Any) -> None:
        interval = value["videos"][0]["annotated_intervals"][0]
        interval["narrated_actions"][1], interval["clip_uid"] = odd, ["no", "text"]

    edit(root, ego4d.ACTIONS[0], replace_one)

    assert drops(root) == [Reason.INVALID_ANNOTATION]
    assert len(list(outcomes(root))) == 3


# ------------------------------------------------------------------------------------------- frames and windows


def test_overlapping_windows_show_their_own_frames_and_count_steps_from_their_first(plant: Callable[..., Path]) -> None:
    windows = [(10, 70), (40, 100), (40, 101), (95, 140)]
    root = plant(video(*windows))
    seen = []
    for episode, (start, end) in zip(outcomes(root), windows, strict=True):
        assert isinstance(episode, Episode)
        assert episode.hz == pytest.approx(30)
        assert episode.step_index.tolist() == list(range(end - start))
        assert marks(episode) == list(range(start, end))
        assert episode.provenance["first_step"] == start
        assert episode.provenance["start_s"] == pytest.approx(start / 30)
        assert episode.provenance["file"] == f"{FOLDER}/{video().uid}.mp4"
        seen.append(episode.id)
    assert len(set(seen)) == 4


def test_a_video_is_decoded_once_whatever_the_number_of_clips(
    plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[int] = Counter()

    def counting(packets: PacketList, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        for index, frame in decode_wanted(packets, wanted):
            counts[index] += 1
            yield index, frame

    monkeypatch.setattr(video_windows, "decode_wanted", counting)
    clips = made(plant(video(*((start, start + 60) for start in range(80, 0, -10)))))
    assert [type(clip) for clip in clips] == [tuple] * 8
    assert max(counts.values()) == 1


def test_actions_in_any_order_of_the_file_come_in_the_order_of_their_starts(plant: Callable[..., Path]) -> None:
    episodes = read(plant(video((90, 120), (10, 40), (50, 80))))
    assert [episode.provenance["first_step"] for episode in episodes] == [10, 50, 90]


def test_frame_numbers_are_times_so_a_copy_of_another_rate_shows_the_same_moments(plant: Callable[..., Path]) -> None:
    root = plant(video((30, 90)))
    path = root / FOLDER / f"{video().uid}.mp4"
    path.unlink()
    frames = (toy_frame(144, 192, step=step, resize=ResizeMode.CENTER_CROP) for step in range(60))
    write_toy_video(str(path), frames, fps=15)
    (episode,) = read(root)
    assert episode.hz == pytest.approx(15)
    assert marks(episode) == list(range(15, 45))


def test_a_window_after_a_missing_stretch_of_time_shows_the_frames_of_its_time(plant: Callable[..., Path]) -> None:
    root = plant(video((10, 40), (100, 140)))
    path = root / FOLDER / f"{video().uid}.mp4"
    path.unlink()
    times = [*range(50), *range(80, 150)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        for time in times:
            pixels = toy_frame(144, 192, step=time, resize=ResizeMode.CENTER_CROP)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    early, late = read(root)
    assert set(marks(early)) <= set(range(10, 40))
    assert marks(late)[0] in (99, 100, 101)
    assert set(marks(late)) <= set(range(99, 141))


def test_a_window_beyond_the_end_of_its_video_is_short(plant: Callable[..., Path]) -> None:
    outcome, beyond = made(plant(video((140, 180), (200, 260))))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.SHORT
    assert isinstance(beyond, Drop)
    assert beyond.reason is Reason.SHORT


def test_seconds_stand_in_where_an_action_has_no_frames(plant: Callable[..., Path]) -> None:
    root = plant(video((30, 60)))
    edit_action(root, lambda action: [action.pop(key) for key in ("start_frame", "end_frame")])
    assert marks(read(root)[0], [0, 29]) == [30, 59]
    edit_action(root, lambda action: action.pop("end_sec"))
    assert drops(root) == [Reason.INVALID_ANNOTATION]


def test_the_centre_square_is_kept_by_default_and_a_rate_can_be_set(plant: Callable[..., Path]) -> None:
    assert ego4d.Settings().resize is ResizeMode.CENTER_CROP
    (episode,) = read(plant(video((30, 60))), ego4d.Settings(hz=25.0))
    assert (episode.hz, len(episode.step_index)) == (25.0, 30)


# ---------------------------------------------------------------------------------------- drops, splits and names


@pytest.mark.parametrize(
    "change", [{"is_rejected": True}, {"is_invalid_annotation": True}, {"is_valid_action": False}], ids=str
)
def test_actions_that_annotators_ruled_out_are_dropped(plant: Callable[..., Path], change: dict[str, bool]) -> None:
    root = plant(video((10, 40), (60, 90)))
    edit_action(root, lambda action: action.update(change))
    assert drops(root) == [Reason.INVALID_ANNOTATION]
    assert len(list(outcomes(root))) == 2


@pytest.mark.parametrize("unit", ["frame", "sec"])
def test_a_window_that_crosses_what_is_redacted_is_dropped_and_one_that_touches_it_is_not(
    plant: Callable[..., Path], unit: str
) -> None:
    root = plant(video((10, 50), (20, 51), (55, 65), (59, 90), (60, 90), redacted=((50, 60),)))

    def keep(metadata: Any) -> None:
        hidden = metadata["videos"][0]["redacted_intervals"][0]
        metadata["videos"][0]["redacted_intervals"] = [
            {key: value for key, value in hidden.items() if key.endswith(unit)}
        ]

    edit(root, ego4d.METADATA[0], keep)
    assert drops(root) == [Reason.REDACTED] * 3
    kept = [outcome for outcome in outcomes(root) if isinstance(outcome, Episode)]
    assert [episode.provenance["first_step"] for episode in kept] == [10, 60]


def test_a_redaction_without_a_place_and_a_redacted_interval_drop(plant: Callable[..., Path]) -> None:
    root = plant(video((10, 50), redacted=((100, 110),)), video((10, 50), number=2))
    edit(root, ego4d.METADATA[0], lambda found: found["videos"][0].update(redacted_intervals=[{"reason": "face"}]))
    edit(root, ego4d.ACTIONS[0], lambda found: found["videos"][1]["annotated_intervals"][0].update(redacted=True))
    assert drops(root) == [Reason.REDACTED] * 2


def test_stereo_videos_and_those_held_out_by_other_benchmarks_are_dropped(plant: Callable[..., Path]) -> None:
    root = plant(
        video((10, 40), number=1, is_stereo=True),
        video((10, 40), (50, 80), number=2, split_em="val"),
        video((10, 40), number=3, split_em="test"),
        video((10, 40), number=4, split_em="multi"),
        video((10, 40), number=5, split_em="train"),
        video((10, 40), number=6),
        video((10, 40), number=7),
    )
    edit(root, ego4d.METADATA[0], lambda found: found["videos"][5].update(split_av="val"))
    edit(root, ego4d.METADATA[0], lambda found: found["videos"][6].update(split_goalstep="test"))
    assert drops(root) == [Reason.STEREO, *[Reason.HELD_OUT] * 6]
    assert [outcome.split for outcome in outcomes(root) if isinstance(outcome, Episode)] == [Split.TRAIN]


@pytest.mark.parametrize("settings", [ego4d.Settings(), NARRATION], ids=["fho", "narration"])
def test_the_split_is_fho_s_own_or_hashed_by_video_and_test_videos_are_no_episodes(
    plant: Callable[..., Path], settings: ego4d.Settings
) -> None:
    undecided = [video((10, 40), (50, 80), number=number, split_fho=None) for number in range(3, 60)]
    root = plant(video((20, 50), number=1, split_fho="val"), video((20, 50), number=2, split_fho="test"), *undecided)
    first, *others = read(root, settings)
    assert first.split is Split.VAL
    assert len(others) == 2 * 57
    assert all(other.split is None for other in others)
    pairs = [(split_of(a), split_of(b)) for a, b in zip(others[::2], others[1::2], strict=True)]
    assert all(a is b for a, b in pairs)
    assert {Split.TRAIN, Split.VAL} == {a for a, _ in pairs}


def test_a_video_of_several_fho_splits_takes_each_clip_s_own(plant: Callable[..., Path]) -> None:
    videos = [video((10, 40), number=number, split_fho="multi") for number in (1, 2, 3)]
    root = plant(*videos)
    clips = [
        found["annotated_intervals"][0]["clip_uid"]
        for found in json.loads((root / ego4d.ACTIONS[0]).read_text())["videos"]
    ]
    for name, key, clip in (("fho_lta_train", "clips", clips[0]), ("fho_sta_val", "annotations", clips[1])):
        (root / ego4d.ANNOTATIONS / f"{name}.json").write_text(json.dumps({key: [{"clip_uid": clip}]}))
    found = list(outcomes(root))
    assert [outcome.split for outcome in found if isinstance(outcome, Episode)] == [Split.TRAIN, Split.VAL]
    assert drops(root) == [Reason.HELD_OUT]
    assert drops(root, NARRATION) == [Reason.HELD_OUT] * 3


@pytest.mark.parametrize("settings", [ego4d.Settings(), NARRATION], ids=["fho", "narration"])
def test_ids_are_unique_and_do_not_change_when_other_annotations_do(
    plant: Callable[..., Path], settings: ego4d.Settings
) -> None:
    first, second = video((20, 50), (60, 90), (100, 130)), video((20, 50), (60, 90), number=2)
    before = [episode.id for episode in read(plant(first, second), settings)]
    assert len(set(before)) == 5
    assert [id_.partition("/")[0] for id_ in before] == [first.uid] * 3 + [second.uid] * 2
    fewer = replace(first, actions=first.actions[1:])
    assert [episode.id for episode in read(plant(second, fewer), settings)] == before[1:]


def test_actions_without_a_uid_or_with_a_repeated_one_keep_apart(plant: Callable[..., Path]) -> None:
    root = plant(video((10, 40), (50, 80), (100, 130), (100, 130)))
    for number in (0, 1):
        edit_action(root, lambda action: action.update(uid=None), action=number)
    ids = [episode.id for episode in read(root)]
    assert len(set(ids)) == 4
    assert ids[:2] == [f"{video().uid}/{video().annotation_uid}-{start}" for start in (10, 50)]
    assert ids[3] == f"{ids[2]}~2"


def test_the_raw_narration_is_kept_and_its_tags_are_cleaned_or_dropped(plant: Callable[..., Path]) -> None:
    texts = {
        "#C C picks up a red cup": "picks up a red cup",
        "#c C  opens the big drawer": "opens the big drawer",
        "#C cuts the onion in half": "cuts the onion in half",
        "#O A man X walks away": Reason.NOT_WEARER,
        "#C C holds the #unsure with both hands": Reason.UNSURE,
        "#C C walks": Reason.TOO_FEW_WORDS,
    }
    actions = tuple(ToyAction(10 + 2 * i, 50 + 2 * i, text) for i, text in enumerate(texts))
    root = plant(replace(video(), actions=actions))
    assert [episode.instructions[0].text for episode in read(root)] == list(texts)
    found = [clip.reason if isinstance(clip, Drop) else clip[0].instruction.text for clip in made(root)]
    assert found == list(texts.values())


# ------------------------------------------------------------------------------------------------- files and parts


def test_the_smaller_copy_of_a_video_is_read_and_the_full_one_where_there_is_no_other(
    plant: Callable[..., Path],
) -> None:
    small, full = video((10, 40), number=1), replace(video((10, 40), number=2), folder=ego4d.VIDEO_FOLDERS[1])
    root = plant(small, full)
    (root / ego4d.VIDEO_FOLDERS[1] / f"{small.uid}.mp4").write_bytes(b"not the one")
    parts = ego4d.parts(FsspecTree(str(root)), ego4d.Settings())
    assert [part.id for part in parts] == [f"{full.folder}/{full.uid}.mp4", f"{small.folder}/{small.uid}.mp4"]
    assert all(part.num_bytes == (root / part.id).stat().st_size and part.num_episodes == 1 for part in parts)
    assert len(read(root)) == 2


def test_every_episode_of_a_missing_or_broken_video_fails_and_the_rest_goes_on(plant: Callable[..., Path]) -> None:
    windows = ((10, 40), (50, 80))
    used = [video(*windows, number=number) for number in (1, 2, 3, 4)]
    root = plant(*used, video(*windows, number=5, split_em="val"))
    edit_action(root, lambda action: action.update(is_rejected=True))
    paths = [root / FOLDER / f"{video(number=number).uid}.mp4" for number in (1, 2, 3, 5)]
    paths[0].unlink()
    paths[1].write_bytes(paths[2].read_bytes()[:2000])
    edit(root, ego4d.METADATA[0], lambda found: found["videos"].pop(2))
    paths[3].unlink()
    found = list(outcomes(root))
    failures = [outcome for outcome in found if isinstance(outcome, Failure)]
    assert len(found) == 10
    assert [type(outcome) for outcome in found] == [Failure] * 6 + [Episode] * 2 + [Drop] * 2
    assert len({failure.episode for failure in failures}) == 6
    assert [word in failures[i].detail for i, word in ((0, "the video does not exist"), (4, "ego4d.json"))] == [
        True,
        True,
    ]
    assert not any(str(root) in failure.detail for failure in failures)
    part = ego4d.parts(FsspecTree(str(root)), ego4d.Settings())[0]
    assert (part.num_bytes, part.num_episodes) == (0, 2)


def test_a_damaged_stretch_drops_the_clips_that_show_it_and_later_ones_go_on(plant: Callable[..., Path]) -> None:
    root = plant(video((0, 40), (30, 70), (90, 140)))
    path = root / FOLDER / f"{video().uid}.mp4"
    path.unlink()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "30", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        for step in range(150):
            pixels = toy_frame(144, 192, step=step, resize=ResizeMode.CENTER_CROP)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0)][50]
    data = bytearray(path.read_bytes())
    data[place : place + size] = b"\xff" * size
    path.write_bytes(data)

    before, hit, after = (
        normalize(found, ego4d.INFO, ego4d.Settings(), FrameSelection.ALL)
        for found in outcomes(root)
        if isinstance(found, Episode)
    )

    assert isinstance(before, tuple)
    assert isinstance(hit, Drop)
    assert hit.reason is Reason.UNDECODABLE
    assert isinstance(after, tuple)


def test_a_tree_without_metadata_annotations_or_videos_says_what_is_missing(plant: Callable[..., Path]) -> None:
    for wanted in (ego4d.VIDEO_FOLDERS[0], ego4d.ACTIONS[0], ego4d.METADATA[0]):
        root = plant(video((10, 40)))
        for path in ego4d.VIDEO_FOLDERS if wanted in ego4d.VIDEO_FOLDERS else (wanted,):
            (root / path).rename(root / f"{path}.elsewhere")
        with pytest.raises(RequestError, match=f"{wanted}.* not found; "):
            ego4d.parts(FsspecTree(str(root)), ego4d.Settings())
        shutil.rmtree(root / "v2")


@pytest.mark.parametrize("path", [ego4d.METADATA[0], ego4d.ACTIONS[0]])
@pytest.mark.parametrize("text", ["[{", "[]", '{"videos": [{}]}', '{"videos": {"a": 1}}'])
def test_json_of_another_shape_is_refused_by_name(plant: Callable[..., Path], path: str, text: str) -> None:
    root = plant(video((10, 40)))
    (root / path).write_text(text)
    with pytest.raises(RequestError, match=path):
        ego4d.parts(FsspecTree(str(root)), ego4d.Settings())


@pytest.mark.parametrize("text", ["[{", "[]", '{"videos": 1}', '{"videos": [{}]}', '{"version": "v2"}', "{} {}"])
def test_narrations_of_another_shape_are_refused_by_name_in_one_line(plant: Callable[..., Path], text: str) -> None:
    root = plant(video((10, 40)))
    (root / ego4d.NARRATIONS[0]).write_text(text)
    with pytest.raises(RequestError, match=ego4d.NARRATIONS[0]) as refused:
        ego4d.parts(FsspecTree(str(root)), NARRATION)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("settings", [ego4d.Settings(), NARRATION], ids=["fho", "narration"])
def test_annotations_are_read_once_a_process_and_again_when_their_file_changes(
    plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, settings: ego4d.Settings
) -> None:
    root = plant(*(video((10, 40), (50, 80), number=number) for number in (1, 2, 3)))
    opened: Counter[str] = Counter()
    opening = FsspecTree.open

    def counting(tree: FsspecTree, path: str, **options: Any) -> Any:
        opened[path] += 1
        return opening(tree, path, **options)

    monkeypatch.setattr(FsspecTree, "open", counting)
    annotations = (ego4d.ACTIONS if settings.mode is ego4d.Mode.FHO_WINDOW else ego4d.NARRATIONS)[0]
    parts = ego4d.parts(FsspecTree(str(root)), settings)
    for part in parts:
        assert len(list(ego4d.episodes(FsspecTree(str(root)), part, settings))) == 2
    assert opened == {ego4d.METADATA[0]: 1, annotations: 1}

    plant(video((10, 40), number=1))
    assert len(list(ego4d.episodes(FsspecTree(str(root)), parts[0], settings))) == 1
    assert opened == {ego4d.METADATA[0]: 2, annotations: 2}


# ------------------------------------------------------------------------------------------------------ narrations


def moments(root: Path, *seconds: float, timeline: str = "narration_pass_1", number: int = 1) -> None:
    """Give a video narrations at these seconds instead of its own."""
    said = [
        {"timestamp_sec": at, "timestamp_frame": round(at * 30), "narration_text": TEXT, "annotation_uid": "pass-a"}
        for at in seconds
    ]

    def change(found: Any) -> None:
        found[video(number=number).uid][timeline] = {"narrations": said}

    edit(root, ego4d.NARRATIONS[0], change)


def bounds(root: Path, settings: ego4d.Settings = NARRATION) -> list[tuple[int, int]]:
    """First frame and number of frames of each narration's interval."""
    return [(int(str(e.provenance["first_step"])), len(e.step_index)) for e in read(root, settings)]


def test_the_mode_is_a_setting() -> None:
    assert parse_settings(ego4d.Settings, ["mode=narration"], source="ego4d") == NARRATION
    with pytest.raises(RequestError, match=r"fho_window\|narration"):
        parse_settings(ego4d.Settings, ["mode=clips"], source="ego4d")


def test_intervals_are_as_wide_as_the_video_s_narrations_are_sparse(plant: Callable[..., Path]) -> None:
    """Gaps of 2.8 s and 1.2 s: alpha 2 s, so 1.4 s and 0.6 s wide, the latter raised to 1 s."""
    root = plant(video(), video(number=2))
    moments(root, 3.8, 1.0)
    moments(root, 2.0, 3.2, number=2)
    assert bounds(root) == [(9, 42), (93, 42), (45, 30), (81, 30)]


def test_intervals_end_at_8_s(plant: Callable[..., Path]) -> None:
    root = plant(*(video(number=number) for number in range(1, 41)))
    moments(root, 2.5, 1000.0)
    for number in range(2, 41):
        moments(root, 1.0, 1.1, number=number)
    # from 1.5 s before the video to 1.5 s after it
    assert bounds(root)[0] == (0, 150)
    with (root / ego4d.NARRATIONS[0]).open("rb") as file:
        found = dict(parse_narrations(file))
    gaps_s = [gap for of_video in found.values() for gap in mean_gaps_s(of_video).values()]
    spans = narration_spans(found[video().uid], alpha_s=alpha_of(gaps_s), min_s=0.0)
    assert spans[1] == Span(start_s=996.0, end_s=1004.0)


def test_intervals_hold_the_fewest_frames_also_at_the_video_s_start(plant: Callable[..., Path]) -> None:
    root = plant(video())
    moments(root, 0.0, 3.0)
    assert bounds(root) == [(0, 15), (75, 30)]
    assert bounds(root, replace(NARRATION, min_frames=40)) == [(0, 40), (70, 40)]


def test_narrations_read_the_same_with_a_videos_key_on_top_and_under_the_other_name(plant: Callable[..., Path]) -> None:
    root = plant(video((30, 60), (80, 110)), video(number=2))
    path = root / ego4d.NARRATIONS[0]
    before = [(episode.id, episode.provenance) for episode in read(root, NARRATION)]
    assert len(before) == 2
    path.write_text(json.dumps({"version": "v2", "videos": json.loads(path.read_text())}))
    assert [(episode.id, episode.provenance) for episode in read(root, NARRATION)] == before
    path.rename(root / ego4d.NARRATIONS[1])
    assert [(episode.id, episode.provenance) for episode in read(root, NARRATION)] == before


def test_a_pass_may_be_absent_and_two_passes_are_timed_apart(plant: Callable[..., Path]) -> None:
    root = plant(video(), video(number=2))
    moments(root, 1.0, 3.0, timeline="narration_pass_2")
    moments(root, 1.0, 3.0)
    edit(root, ego4d.NARRATIONS[0], lambda found: found[video(number=2).uid].clear())
    episodes = read(root, NARRATION)
    assert len({episode.id for episode in episodes}) == 4
    assert {len(episode.step_index) for episode in episodes} == {30}
    edit(root, ego4d.NARRATIONS[0], lambda found: found[video().uid].pop("narration_pass_1"))
    assert len(read(root, NARRATION)) == 2


def flatten(root: Path, change: Edit = lambda _: None) -> None:
    """Lay the narrations out as `all_narrations_redacted.json` does: passes joined, other keys, an object on top."""
    path = root / ego4d.NARRATIONS[0]
    videos = {}
    for uid, passes in json.loads(path.read_text()).items():
        said = [item for told in passes.values() if isinstance(told, dict) for item in told["narrations"]]
        items = [
            {"time": it["timestamp_sec"], "text": it["narration_text"], "_annotation_uid": it["annotation_uid"]}
            for it in said
        ]
        videos[uid] = {"summaries": [{"text": "#summary C cooked", "start_time": 0.0}], "narrations": items}
    change(videos)
    path.write_text(json.dumps({"_map_errs": [], "videos": videos}))


@pytest.mark.parametrize("layout", ["videos", "bare", "list"])
@pytest.mark.parametrize("name", ego4d.NARRATIONS)
def test_narrations_in_one_list_read_as_those_in_passes_wherever_the_videos_are(
    plant: Callable[..., Path], layout: str, name: str
) -> None:
    def seen(root: Path) -> list[tuple[str, object, object]]:
        episodes = read(root, NARRATION)
        return [(e.instructions[0].text, e.provenance["video_uid"], e.provenance["first_step"]) for e in episodes]

    root = plant(video((30, 60), (80, 110), text="#CC picks up a red cup"), video((20, 50), number=2))
    before = seen(root)
    flatten(root)
    videos = json.loads((root / ego4d.NARRATIONS[0]).read_text())
    if layout == "bare":
        videos = videos["videos"]
    elif layout == "list":
        videos = {"videos": [{"video_uid": uid, **value} for uid, value in videos["videos"].items()]}
    (root / ego4d.NARRATIONS[0]).unlink()
    (root / name).write_text(json.dumps(videos))
    assert len(before) == 3
    assert seen(root) == before
    first = read(root, NARRATION)[0]
    assert first.id == f"{video().uid}/narrations/{video().annotation_uid}-1.5"


def test_passes_in_one_list_are_timed_apart_by_their_annotation(plant: Callable[..., Path]) -> None:
    """Each pass has gaps of 2 s, as alpha: 1 s wide. As one timeline they would have gaps of 1 s."""
    root = plant(video(), video(number=2))
    moments(root, 1.0, 3.0)
    moments(root, 1.0, 3.0, number=2)
    flatten(root, lambda videos: videos[video().uid]["narrations"].extend(
        {"time": time, "text": TEXT, "_annotation_uid": "pass-b"} for time in (2.0, 4.0)
    ))  # fmt: skip
    with (root / ego4d.NARRATIONS[0]).open("rb") as file:
        found = dict(parse_narrations(file))
    assert mean_gaps_s(found[video().uid]) == {"pass-a": 2.0, "pass-b": 2.0}
    assert bounds(root) == [(15, 30), (45, 30), (75, 30), (105, 30), (15, 30), (75, 30)]


def test_narrations_in_one_list_keep_apart_and_those_without_a_moment_are_dropped(plant: Callable[..., Path]) -> None:
    odd = [
        {"time": 1.0, "text": TEXT},
        {"time": 1.0, "text": TEXT},
        {"time": 2.0, "text": TEXT, "_annotation_uid": None},
        {"time": None, "text": TEXT, "_annotation_uid": "a"},
        {"time": "soon", "text": TEXT, "_annotation_uid": "a"},
        {"text": TEXT},
        {"time": 3.0, "text": None},
        "picks up a cup",
    ]
    root = plant(video(), video(number=2), video(number=3))

    def change(videos: Any) -> None:
        videos[video().uid]["narrations"] = odd
        videos[video(number=2).uid] = None
        videos[video(number=3).uid]["narrations"] = None

    flatten(root, change)
    found = list(outcomes(root, NARRATION))
    assert [type(outcome) for outcome in found] == [Drop] * 4 + [Episode] * 4
    assert drops(root, NARRATION) == [Reason.INVALID_ANNOTATION] * 4
    ids = [outcome.episode if isinstance(outcome, Drop | Failure) else outcome.id for outcome in found]
    assert len(set(ids)) == 8
    assert ids == [o.episode if isinstance(o, Drop | Failure) else o.id for o in outcomes(root, NARRATION)]


def test_any_number_of_passes_is_read(plant: Callable[..., Path]) -> None:
    root = plant(video(), video(number=2))
    for number in (1, 2, 3):
        moments(root, 1.0, 3.0, timeline=f"narration_pass_{number}")
    assert len({episode.id for episode in read(root, NARRATION)}) == 6


def test_a_file_that_is_whole_but_of_another_form_is_not_to_be_fetched_again(plant: Callable[..., Path]) -> None:
    root = plant(video((10, 40)))
    file = root / ego4d.NARRATIONS[0]
    file.write_text(json.dumps({"videos": {video().uid: {"narrations": {"0": {"text": "#C C waves", "time": 1}}}}}))
    with pytest.raises(RequestError, match=r"expected lists of narrations .* got narrations \(dict\).*own release$"):
        ego4d.parts(FsspecTree(str(root)), NARRATION)
    file.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(RequestError, match=r"Error: lexical error: invalid char in json text\..*gzip.*gunzip$"):
        ego4d.parts(FsspecTree(str(root)), NARRATION)


def test_annotations_of_the_other_mode_are_named_with_the_setting_that_reads_them(plant: Callable[..., Path]) -> None:
    root = plant(video((10, 40)))
    (root / ego4d.ACTIONS[0]).unlink()
    (root / ego4d.NARRATIONS[0]).rename(root / ego4d.NARRATIONS[1])
    with pytest.raises(
        RequestError, match=r"fho_main\.json not found; .*all_narrations_redacted.* --set mode=narration"
    ):
        ego4d.parts(FsspecTree(str(root)), ego4d.Settings())


@pytest.mark.parametrize("value", [{"narration_pass_1": {"narrations": []}}, {"summaries": []}, {"captions": [{}]}])
def test_a_file_without_any_narration_is_refused_with_what_it_holds(plant: Callable[..., Path], value: Any) -> None:
    root = plant(video((10, 40)))
    (root / ego4d.NARRATIONS[0]).write_text(json.dumps({"videos": {video().uid: value}}))
    with pytest.raises(RequestError, match=f"expected lists of narrations .* got .*{next(iter(value))}"):
        ego4d.parts(FsspecTree(str(root)), NARRATION)


def test_narrations_obey_the_same_drops(plant: Callable[..., Path]) -> None:
    root = plant(video((30, 60), (90, 120), redacted=((40, 50),)), video((30, 60), number=2, is_stereo=True))
    assert drops(root, NARRATION) == [Reason.REDACTED, Reason.STEREO]
    edit(root, ego4d.NARRATIONS[0], lambda found: found[video().uid]["narration_pass_1"]["narrations"][1].clear())
    assert drops(root, NARRATION) == [Reason.INVALID_ANNOTATION, Reason.REDACTED, Reason.STEREO]


# ------------------------------------------------------------------------------------------------------------- toy


def test_the_toy_tree_exercises_both_modes(tmp_path: Path) -> None:
    ego4d.write_toy(str(tmp_path))
    assert Counter(drops(tmp_path)) == {
        Reason.INVALID_ANNOTATION: 1,
        Reason.REDACTED: 1,
        Reason.HELD_OUT: 1,
        Reason.STEREO: 1,
    }
    assert len(list(outcomes(tmp_path, NARRATION))) == len(list(outcomes(tmp_path)))
    assert sum(not isinstance(clip, Drop) for clip in made(tmp_path, NARRATION)) >= 3
