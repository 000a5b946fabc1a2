"""The page of one source: numbers equal the card's, hostile text stays text, gaps and invalid rows can be seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.vita_data.pages.conftest import HOSTILE, write_source
from tests.vita_data.pages.page_parser import PageParser
from vita_data.errors import ManifestError, RequestError, ShardError
from vita_data.formats.toy import read_toy_frame
from vita_data.pages.shards.clips import THUMBNAIL_SIZE
from vita_data.pages.shards.inspect import inspect_page
from vita_data.shards.stats import load_stats
from vita_data.types import CameraRole, StoredDepth


@pytest.fixture(scope="module")
def arm_page(shard_folder: Path) -> PageParser:
    return PageParser(inspect_page(shard_folder / "arm", key=None))


def test_tags_balance_and_hostile_text_stays_text(arm_page: PageParser) -> None:
    assert arm_page.faults == []
    assert arm_page.named("script") == []
    assert arm_page.named("b") == []
    assert arm_page.fact("instruction") == f"{HOSTILE} [human]"


def test_page_asks_for_nothing_from_outside(arm_page: PageParser) -> None:
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in arm_page.elements}
    addresses = [value for _, attributes in arm_page.elements for key, value in attributes.items()
                 if key in {"src", "href", "xlink:href"}]  # fmt: skip
    assert all(address is not None and address.startswith(("data:image/jpeg", "#")) for address in addresses)


def test_card_facts_equal_the_card(arm_page: PageParser, shard_folder: Path) -> None:
    card = json.loads((shard_folder / "arm" / "dataset.json").read_text())
    assert arm_page.fact("raw episodes") == "5 ok, 2 dropped, 1 failed"
    assert card["outcomes"] == {"ok": 5, "dropped": 2, "failed": 1}
    assert arm_page.fact("drops by reason") == "short (too few frames): 2"
    train = card["counts"]["train"]["paired"]
    first, second = arm_page.fact("stored").split("\n")
    assert first == f"train paired: {train['clips']} clips, {train['steps']} steps, {train['frames']} images"
    assert second == "val paired: 1 clips, 60 steps, 30 images"
    assert arm_page.fact("hash of the settings") == card["config_hash"]


def test_statistics_equal_stats_json(arm_page: PageParser, shard_folder: Path) -> None:
    stats = load_stats(shard_folder / "arm").source.action
    assert stats is not None
    row = next(row for row in arm_page.rows if row[0] == "right arm rotation: droll")
    figures = (stats.mean, stats.std, stats.min, stats.q01, stats.q99, stats.max)
    assert row[2:] == [f"{figure[19]:.4g}" for figure in figures]
    assert not [row for row in arm_page.rows if row[0].startswith("left arm")]


def test_first_three_clips_with_sixteen_images_evenly_spaced(arm_page: PageParser) -> None:
    assert sum(text.startswith("Clip arm-") for text in arm_page.texts) == 2 * 3  # heading and link
    images = [simplejpeg.decode_jpeg(data) for data in arm_page.images]
    assert len(images) == 3 * 16
    assert {image.shape for image in images} == {(THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3)}
    captions = [image["alt"] for image in arm_page.named("img")][:16]
    shown = [read_toy_frame(image).step for image in images[:16]]
    assert captions == [f"step {step}, {step / 10:.2f} s" for step in shown]
    assert (shown[0], shown[-1]) == (0, 78), "the last stored row is 58, which is native step 78"


def test_the_page_begins_with_pictures_and_names_the_viewer(shard_folder: Path) -> None:
    page = inspect_page(shard_folder / "arm", key=None)
    assert page.index("<img") < page.index("<table")
    assert page.rindex("<img") < page.index("<table"), "all pictures stand together"
    assert f"vita-data view {shard_folder / 'arm'} --serve" in PageParser(page).texts


def test_charts_show_the_arm_that_is_there_with_gap_and_invalid_rows(arm_page: PageParser) -> None:
    labels = [svg["aria-label"] or "" for svg in arm_page.named("svg") if "aria-label" in svg]
    assert [label for label in labels if label.startswith("right arm")][:4] == [
        "right arm translation (m per step): m per step over time (s)",
        "right arm rotation (rad per step): rad per step over time (s)",
        "right arm gripper (0 closed, 1 open): 0 closed, 1 open over time (s)",
        "right arm position (m): m over time (s)",
    ]
    assert "removed steps" in arm_page.texts
    assert "invalid rows, not used in training" in arm_page.texts
    shown = next(text for text in arm_page.texts if text.startswith("time (s): 2\ndx"))
    values = dict(line.split(": ") for line in shown.split("\n"))
    assert values["dx"] == f"{np.float32(np.sin(20 / 9) * 0.02):.4g}"
    assert not any(text.startswith("time (s): 4\n") for text in arm_page.texts), "steps 30..49 have no rows"


def test_asked_clip_alone_is_shown(shard_folder: Path) -> None:
    parsed = PageParser(inspect_page(shard_folder / "arm", key=f"arm-{4:016x}"))
    assert parsed.fact("split, modality") == "val, paired"
    assert parsed.fact("provenance") == '{"file": "raw/a.tfrecord", "record": 4}'
    assert len(parsed.images) == 16


def test_video_source_says_that_it_has_no_actions_and_must_stay(shard_folder: Path) -> None:
    parsed = PageParser(inspect_page(shard_folder / "film", key=None))
    assert "This clip is video only; it has no actions." in parsed.texts
    assert any("film, whose licence forbids redistribution" in text for text in parsed.texts)
    assert "research only\nmust not be redistributed" in parsed.fact("licence")


def test_depth_maps_stand_beside_the_images_and_are_no_images(tmp_path: Path) -> None:
    depth = StoredDepth(0, np.ones((256, 256), np.float32))
    write_source(
        tmp_path / "arm", with_action=True, change=lambda clip: replace(clip, depths={CameraRole.PRIMARY: (depth,)})
    )
    parsed = PageParser(inspect_page(tmp_path / "arm", key=None))
    assert [text for text in parsed.texts if text.startswith("Camera ")] == [
        "Camera primary: 16 of 30 stored images"
    ] * 3


def test_overview_sections_hold_the_figures_of_the_source(arm_page: PageParser) -> None:
    assert ["train", "paired", "4", "4", "240", "120"] in arm_page.rows
    assert ["length (s)", *["6"] * 6] in arm_page.rows
    assert [HOSTILE, "5", "100.00%"] in arm_page.rows
    assert ["broken", "b", "cannot be read"] in arm_page.rows
    assert "Rate: 10 Hz. Total duration of all clips: 30 s." in arm_page.texts
    position = next(row for row in arm_page.rows if row[0] == "right arm position: x")
    assert position[1] == "m"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("arm-000000000000000X", "did you mean 'arm-000000000000000"),
        ("episode 2", f"it is an episode; its clip is 'arm-{2:016x}'"),
        ("?", "episodes.parquet"),
    ],
)
def test_unknown_key_is_refused_with_a_hint(shard_folder: Path, key: str, hint: str) -> None:
    with pytest.raises(RequestError, match="no clip") as caught:
        inspect_page(shard_folder / "arm", key=key)
    assert hint in str(caught.value)
    assert "episodes.parquet" in str(caught.value)


def test_folder_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="vita-data build --source nothing"):
        inspect_page(tmp_path / "nothing", key=None)


def test_card_of_another_form_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"source": "x"}')
    with pytest.raises(ShardError, match=r"dataset\.json: expected a card of this version"):
        inspect_page(tmp_path, key=None)
