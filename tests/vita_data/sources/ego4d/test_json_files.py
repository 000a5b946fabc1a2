"""Ego4D's JSON files: an odd entry of a video costs no other video, and does not vanish."""

import io
import json
from typing import Any

import pytest

from vita_data.sources.ego4d.json_files import parse_actions, parse_metadata, parse_narrations

ACTION = {"uid": "u", "start_frame": 0, "end_frame": 60, "narration_text": "#C C opens the door"}
SAID = {"timestamp_frame": 30, "narration_text": "#C C opens the door", "annotation_uid": "a"}
NARRATED = {"narration_pass_1": {"narrations": [SAID]}}


def stream(value: Any) -> io.BytesIO:
    return io.BytesIO(json.dumps(value).encode())


@pytest.mark.parametrize("odd", [None, 5, "text", [1], {}, {"video_uid": "b", "redacted_intervals": [3]}])
def test_the_facts_of_an_odd_entry_are_left_out_and_those_of_others_kept(odd: Any) -> None:
    found = parse_metadata(stream({"videos": [odd, {"video_uid": "a", "split_fho": "val"}]}))

    assert {uid: video.split_fho for uid, video in found.items()} == {"a": "val"}
    with pytest.raises(ValueError, match="expected at least one valid entry of a video"):
        parse_metadata(stream({"videos": [odd]}))


@pytest.mark.parametrize("odd", [None, 5, "text", [1], {}])
def test_an_odd_entry_of_actions_has_one_without_a_moment(odd: Any) -> None:
    good = {"video_uid": "a", "annotated_intervals": [{"narrated_actions": [ACTION]}]}
    found = dict(parse_actions(stream({"videos": [odd, good]})))

    assert list(found) == ["entry-000000", "a"]
    assert [action.span for action in found["entry-000000"]] == [None]
    assert [action.uid for action in found["a"]] == ["u"]
    with pytest.raises(ValueError, match="expected entries with a video_uid"):
        list(parse_actions(stream({"videos": [odd]})))


@pytest.mark.parametrize("odd", [None, 5, "text", [1]])
@pytest.mark.parametrize("place", ["intervals", "interval", "actions"])
def test_an_odd_list_of_actions_is_one_without_a_moment(odd: Any, place: str) -> None:
    intervals = {"intervals": odd, "interval": [odd], "actions": [{"narrated_actions": odd}]}[place]
    ((_, found),) = parse_actions(stream({"videos": [{"video_uid": "a", "annotated_intervals": intervals}]}))

    # no list of actions is an interval in which nothing happens
    assert [action.span for action in found] == ([] if (place, odd) == ("actions", None) else [None])


@pytest.mark.parametrize("odd", [5, "text", [1]])
def test_an_odd_video_of_narrations_has_one_without_a_moment(odd: Any) -> None:
    listed = [{"video_uid": "a", **NARRATED}, odd, {"video_uid": "b", "narration_pass_1": odd}]
    for videos in (listed, {"a": NARRATED, "entry-000001": odd, "b": {"narration_pass_1": odd}}):
        found = dict(parse_narrations(stream({"videos": videos})))
        assert {uid: [said.time_s for said in of_video] for uid, of_video in found.items()} == {
            "a": [1.0],
            "entry-000001": [None],
            "b": [None],
        }
    with pytest.raises(ValueError, match="expected lists of narrations"):
        list(parse_narrations(stream({"videos": {"a": odd}})))
