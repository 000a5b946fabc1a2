"""P6, P8, P9: hints and sheets for a person, and the texts that would be dropped."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.vita_data.pages.page_parser import PageParser
from tests.vita_data.probe.made import (
    INFO,
    Frames,
    answer,
    failed,
    flipped_command,
    probed,
)
from vita_data import sources
from vita_data.config.settings import parse_settings
from vita_data.formats.toy import read_toy_frame
from vita_data.probe import Probe, Verdict, probe, probe_page
from vita_data.probe.result import Measure
from vita_data.types import (
    CameraRole,
    Episode,
    Instruction,
    TextStyle,
)


def test_swapped_channels_are_hinted_at() -> None:
    def swapped(episode: Episode) -> Episode:
        return replace(episode, cameras={CameraRole.PRIMARY: Frames(swapped=True)})

    assert answer(probed(), Probe.COLOUR).verdict is Verdict.LOOK
    assert answer(probed(swapped), Probe.COLOUR).verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("value", "shown"), [(4.6e-15, "0"), (0.12345, "0.1235"), (6.0, "6"), (60064.0, "60,064"), (60064, "60,064")]
)
def test_measures_are_written_for_people(value: float, shown: str) -> None:
    assert str(Measure(name="n", value=value, unit="m", limit="below 9")) == f"n: {shown} m (expected below 9)"


def said(text: str) -> Callable[[Episode], Episode]:
    return lambda episode: replace(episode, instructions=(Instruction(text=text, origin="human"),))


def test_text_rules_are_counted_with_examples_and_fail_only_where_nearly_all_is_lost() -> None:
    def some(episode: Episode) -> Episode:
        return said("")(episode) if episode.id.endswith("0") else episode

    lost, counted = probed(said("todo")), answer(probed(some), Probe.TEXT)

    assert failed(lost) == [Probe.TEXT]
    assert counted.verdict is Verdict.HELD
    assert counted.table is not None
    assert ("T1 empty", 4, "''") in counted.table.rows
    assert len(str(counted.table.rows[0][2]).splitlines()) == 16
    assert [str(row[0]).split()[0] for row in counted.table.rows[1:]] == [f"T{number}" for number in range(1, 12)]


def test_texts_are_judged_as_a_build_judges_them() -> None:
    texts = (
        Instruction(text="\u200b", origin="human"),
        Instruction(text="b'lifting something'", origin="human", template="Lifting [something]"),
    )
    found = answer(probed(lambda episode: replace(episode, instructions=texts)), Probe.TEXT)

    assert found.verdict is Verdict.FAILED
    assert found.table is not None
    assert ("T3 template", 20, repr(texts[1].text)) in found.table.rows


def test_one_text_for_all_warns_unless_that_is_known() -> None:
    constant = answer(probed(said("pick up anything")), Probe.TEXT)
    info = replace(INFO, text_style=TextStyle.CONSTANT)

    assert constant.verdict is Verdict.WARNING
    assert "T12" in constant.meaning
    assert answer(probed(said("pick up anything"), info=info), Probe.TEXT).verdict is Verdict.HELD


def sheet(page: str) -> list[tuple[str, np.ndarray]]:
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', page)
    return [(caption, np.asarray(simplejpeg.decode_jpeg(base64.b64decode(data), "RGB"))) for data, caption in shown]


@pytest.mark.parametrize(("orientation", "upright"), [("rot180", True), ("none", False)])
def test_the_sheet_shows_the_frames_that_it_names_the_way_they_would_be_stored(
    toy_raw: Path, orientation: str, upright: bool
) -> None:
    source = sources.load("libero")
    settings = parse_settings(source.Settings, [f"orientation={orientation}"], source="libero")
    pictures = sheet(probe_page(probe(source, str(toy_raw / "libero"), settings, limit=4)))

    assert len(pictures) == 4 * 2 * 3
    for caption, image in pictures:
        mark = read_toy_frame(image)
        assert mark.upright is upright
        if upright:
            assert caption.endswith(f"step {mark.step}")


def test_the_page_names_what_fails_and_orientation_is_left_to_a_person() -> None:
    found = probed(flipped_command)
    page = probe_page(found)

    assert answer(found, Probe.ORIENTATION).verdict is Verdict.LOOK
    assert answer(found, Probe.ORIENTATION).settings == ("orientation",)
    assert "P3 gripper polarity does not hold" in page
    verdicts = [result.verdict for result in found.report.results]
    assert f"Assumptions: {verdicts.count(Verdict.FAILED)} failed, " in page
    assert f"for you to look at, {verdicts.count(Verdict.HELD)} held" in page
    assert "--set gripper_open_raw=" in page
    assert len(sheet(page)) == 12 * 3
    # Ids of episodes may differ at their beginning or at their end, so that they are shown whole.
    pictured = {sampled.episode.id for sampled in found.sample.episodes if sampled.frames}
    assert pictured <= set(PageParser(page).texts)
    assert PageParser(page).faults == []
    assert page.index("<img") < page.index("<table"), "the page begins with pictures"
