"""clip.json of a stranger: every field has a check, and what builds write passes all of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vita_data.shards.clip_fields import CLIP_JSON, parse_clip
from vita_data.shards.tar import walk


@pytest.fixture(scope="module")
def stored(toy_shards: Path) -> list[dict[str, Any]]:
    shards = sorted(toy_shards.glob("*/*/*.tar"))
    return [json.loads(one.data) for shard in shards for one in walk(shard) if one.name.endswith(CLIP_JSON)]


def test_what_builds_write_passes(stored: list[dict[str, Any]]) -> None:
    assert len({meta["source"] for meta in stored}) > 3
    assert {meta["action_mask"] is None for meta in stored} == {True, False}
    for meta in stored:
        assert parse_clip(json.dumps(meta).encode()) == meta


def test_every_field_is_checked(stored: list[dict[str, Any]]) -> None:
    meta = next(meta for meta in stored if meta["action_mask"] is not None)
    for name in meta:
        without = {key: value for key, value in meta.items() if key != name}
        with pytest.raises(ValueError, match=f"has no field '{name}'"):
            parse_clip(json.dumps(without).encode())
        with pytest.raises(ValueError, match=f"has {name} "):
            parse_clip(json.dumps({**meta, name: 1.5 if name != "hz" else "fast"}).encode())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hz": float("inf")}, "hz inf"),
        ({"hz": True}, "hz True"),
        ({"step_index": [0, 0]}, r"step_index \[0, 0\]"),
        ({"step_index": [0]}, "1 steps in step_index, expected "),
        ({"keyframes": [5, 0]}, r"keyframes \[5, 0\]"),
        ({"keyframes": [1 << 29]}, "keyframes with row 536870912 of "),
        ({"frames": {"primary": [1 << 29]}}, "frames of primary with row 536870912 of "),
        ({"frames": {"evil": [0]}}, "frames {'evil': "),
        ({"action_valid": [[3, 1]]}, r"action_valid \[\[3, 1\]\]"),
        ({"action_valid": [[0, 1 << 29]]}, "action_valid to row 536870912 of "),
        ({"action_mask": [True]}, r"action_mask \[True\]"),
        ({"instruction": {"text": 7, "origin": "human"}}, "instruction {"),
        ({"instructions": [{"text": "x"}]}, r"instructions \[{"),
        ({"split": ["train"]}, r"split \['train'\]"),
    ],
)
def test_a_value_that_no_build_writes_is_refused(
    stored: list[dict[str, Any]], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        parse_clip(json.dumps({**stored[0], **values}).encode())


@pytest.mark.parametrize("data", [b"[]", b"7", b"null"])
def test_another_kind_of_value_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="instead of an object"):
        parse_clip(data)
