"""Packing Ego4D's annotations loses nothing, whatever a record lacks."""

import io
import json

from vita_data.sources.ego4d.catalogue import read_actions, read_narrations, unpack_actions, unpack_narrations
from vita_data.sources.ego4d.json_files import parse_actions, parse_narrations


def test_unpacked_actions_are_those_that_were_parsed() -> None:
    intervals = [
        {
            "clip_uid": "clip",
            "narrated_actions": [
                {"uid": "a", "start_frame": 10, "end_frame": 250, "narration_text": "#C C opens the café"},
                {"start_sec": 0.1, "end_sec": 8.7, "is_rejected": True, "narration_annotation_uid": "pass"},
                {"uid": "c", "narration_text": None},
            ],
        },
        {"redacted": True, "narrated_actions": [{"uid": "d", "start_frame": 3, "end_frame": 4}]},
        {"narrated_actions": None},
    ]
    videos = [{"video_uid": "one", "annotated_intervals": intervals}, {"video_uid": "two", "annotated_intervals": []}]
    data = json.dumps({"version": "2.0", "videos": videos}).encode()

    packed = read_actions(io.BytesIO(data))

    parsed = dict(parse_actions(io.BytesIO(data)))
    assert [len(of_video) for of_video in parsed.values()] == [4, 0]
    assert {uid: unpack_actions(of_video) for uid, of_video in packed.items()} == parsed
    assert [of_video.num_rows for of_video in packed.values()] == [4, 0]


def test_unpacked_narrations_are_those_that_were_parsed() -> None:
    said = [
        {"timestamp_sec": 0.1, "timestamp_frame": 3, "narration_text": "#C C waves 👋", "annotation_uid": "pass"},
        {"timestamp_sec": 2.3456789, "narration_text": None},
        {"timestamp_frame": 60, "annotation_uid": "pass"},
        {"annotation_uid": "pass"},
    ]
    listed = [{"time": 4.5, "text": "#C C waves 👋", "_annotation_uid": "pass"}, {"time": None, "text": "#C C waves"}]
    one = {"narration_pass_1": {"narrations": said}, "narration_pass_2": {"narrations": said[:1]}}
    two = {"narration_pass_1": None, "narrations": listed}
    data = json.dumps({"one": one, "two": two, "three": {}}).encode()

    packed, alpha_s = read_narrations(io.BytesIO(data))

    parsed = dict(parse_narrations(io.BytesIO(data)))
    assert [len(of_video) for of_video in parsed.values()] == [5, 2, 0]
    assert {uid: unpack_narrations(of_video) for uid, of_video in packed.items()} == parsed
    assert [one.uid for one in parsed["one"]][:2] == ["narration_pass_1/pass-3", "narration_pass_1/None-2.3456789"]
    # 0.1 s, 2 s and 2.3456789 s in one pass, and a single moment in the other
    assert alpha_s == (2.3456789 - 0.1) / 2
