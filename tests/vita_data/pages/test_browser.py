"""Pages in headless Chromium, at a desk and on a phone: quiet, whole, legible, drawn, and without a network."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from tests.vita_data.pages.browser import Browser, ShownPage, find_browser
from tests.vita_data.pages.conftest import FIGURES, SOURCE_FIGURES, write_run
from tests.vita_data.pages.page_parser import PageParser
from vita_data.curation.quality import with_quality
from vita_data.curation.table import episode_table
from vita_data.formats.toy import read_toy_frame
from vita_data.pages.episodes import episodes_page
from vita_data.pages.report import report_page
from vita_data.pages.shards.clips import THUMBNAIL_SIZE
from vita_data.pages.shards.inspect import inspect_page
from vita_data.types import Image

DESK, PHONE = 1280, 390
WIDTHS = (DESK, PHONE)
LEAST_LETTERS_PX = 11.0
FIRST_PICTURE_PX = 900
LINE_COLOUR = (0x00, 0x72, 0xB2)
PRETRAIN = Path(__file__).parents[3] / "manifests" / "pretrain.toml"
MIXTURE = """
name = "both"
schema_version = 1
sources = [{source = "arm", weight = 1, note = "Table 10: 20.00% printed"}, {source = "film", weight = 3}]
"""

Shown = dict[tuple[str, int], ShownPage]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium: install chromium, or name its program in VITA_CHROMIUM")
    return Browser(program, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="session")
def pages(shard_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "both.toml").write_text(MIXTURE)
    content = {
        "inspect": inspect_page(shard_folder / "arm", key=None),
        "film": inspect_page(shard_folder / "film", key=None),
        "report": report_page(shard_folder, manifest=folder / "both.toml", runs=[]),
        "training": report_page(shard_folder, manifest=None, runs=[evaluated_run(folder / "run-one")]),
        "episodes": listed_page(shard_folder),
    }
    for name, page in content.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in content}


def listed_page(shards: Path) -> str:
    """The page of `vita-data episodes --quality --html`, with ids and texts as long as real ones."""
    folders = [shards / name for name in ("arm", "film")]
    found = pl.concat([with_quality(episode_table(folder), folder) for folder in folders])
    found = found.with_columns(
        id="libero_90/KITCHEN_SCENE1_open_the_top_drawer_of_the_cabinet_demo.hdf5#" + pl.col("id"),
        text=pl.lit("pick up the black bowl between the plate and the ramekin and place it on the plate"),
    )
    return episodes_page(found, folders, num_all=found.height, asked="")


def evaluated_run(run: Path) -> Path:
    """Write a run whose evaluation fills every column of its tables."""
    named = {name.replace("/arm/", "/robomind_franka/"): value for name, value in SOURCE_FIGURES.items()}
    figures = {**FIGURES, **named, "actions/robomind_franka/joint_rad": 0.05,
               "frames/shuffled_subtasks_l1": 0.04, "actions/shuffled_subtasks_mse": 0.2,
               "codes/used_action": 12.0, "codes/rank_predicted": 1.5, "codes/used_predicted": 7.0,
               "cross/frames_l1": 0.1, "cross/frames_own_l1": 0.05, "cross/frames_copy_l1": 0.06}  # fmt: skip
    (write_run(run) / "evaluation.json").write_text(json.dumps({"step": 40, **figures}))
    return run


@pytest.fixture(scope="session")
def shown(browser: Browser, pages: dict[str, Path]) -> Shown:
    measured = browser.measure(list(pages.values()), widths=WIDTHS)
    return {(page.stem, width): found for (page, width), found in measured.items()}


def faults(page: ShownPage) -> list[str]:
    """What a reader would stumble over."""
    found = []
    if page.scroll_width > page.client_width:
        found.append(f"{page.scroll_width} px wide in a window of {page.client_width}")
    found += [f"facts do not fit: {one}" for one in page.scrolling if one.partition(": ")[2].startswith("factvalue")]
    if page.width >= DESK:
        found += [f"a table scrolls sideways: {one}" for one in page.scrolling]
    for image in page.images:
        if not image.decoded or min(image.natural) < 2 or min(image.box[2:]) < 2:
            found.append(f"image {image.alt!r} is not drawn: {image}")
    for drawing in page.drawings:
        found += [f"{drawing.label}: {text!r} is cut" for text in drawing.cut]
        found += [f"{drawing.label}: {pair!r} lie across one another" for pair in drawing.crossing]
        if not drawing.marks or min(drawing.box[2:]) < 15:
            found.append(f"{drawing.label}: nothing is drawn in {drawing.box}")
    smallest = min([*page.letters_px, *(px for drawing in page.drawings for px in drawing.letters_px)])
    if smallest < LEAST_LETTERS_PX:
        found.append(f"letters of {smallest:.1f} px")
    return found


def region(picture: Image, box: tuple[float, float, float, float]) -> Image:
    x, y, width, height = (round(edge) for edge in box)
    return picture[y : y + height, x : x + width]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["inspect", "film", "report", "training", "episodes"])
def test_page_is_whole_and_legible(shown: Shown, name: str, width: int) -> None:
    page = shown[name, width]
    assert page.images[0].box[1] < FIRST_PICTURE_PX, "pages begin with pictures"
    assert page.width == width
    assert page.images
    assert page.drawings
    assert faults(page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["inspect", "report"])
def test_pictures_and_lines_are_really_drawn(
    browser: Browser, pages: dict[str, Path], shown: Shown, name: str, width: int
) -> None:
    page = shown[name, width]
    picture = browser.screenshot(pages[name], width=width, height=page.height)
    assert picture.shape == (page.height, width, 3)
    for image in page.images:
        x, y, size, _ = image.box
        shown_image = region(picture, (x + 1, y + 1, size - 2, size - 2))
        seen = read_toy_frame(np.asarray(cv2.resize(shown_image, (THUMBNAIL_SIZE, THUMBNAIL_SIZE)), np.uint8))
        assert image.alt.startswith(f"step {seen.step},")
        assert seen.upright
        assert seen.rgb
    for drawing in page.drawings:
        distance = np.abs(region(picture, drawing.box).astype(int) - LINE_COLOUR).max(axis=2)
        assert (distance < 40).sum() > 50, f"{drawing.label} shows no line or bar"


@pytest.mark.parametrize("name", ["inspect", "report"])
def test_nothing_is_asked_of_a_network(pages: dict[str, Path], name: str) -> None:
    text = pages[name].read_text()
    parsed = PageParser(text)
    for _, attributes in parsed.elements:
        for key, value in attributes.items():
            if key in {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"}:
                assert value is not None
                assert value.startswith(("data:", "#"))
    assert parsed.named("script") == []
    assert not re.search(r"url\(|@import", text)


def test_page_may_not_ask_even_if_it_would(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """The console of a page with a foreign address is not silent, so silence means something."""
    foreign = tmp_path / "foreign.html"
    foreign.write_text(pages["film"].read_text().replace("</body>", '<img src="http://127.0.0.1:9/x.png"></body>'))
    said = browser.console(foreign)
    assert len(said) == 1
    assert "violates the following Content Security Policy" in said[0]


def test_broken_picture_wide_page_and_tiny_letters_are_found(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    """The measure can fail: each fault that it looks for, put into a page, is reported."""
    text = pages["film"].read_text()
    first = re.search(r"data:image/jpeg;base64,([^\"]+)", text)
    assert first is not None
    half = base64.b64encode(base64.b64decode(first[1])[:40]).decode()
    broken = {
        "picture": (text.replace(first[1], half, 1), "is not drawn"),
        "wide": (text.replace("</body>", "<p style='width:500px'>x</p></body>"), "px wide in a window of"),
        "table": (text.replace("</thead>", f"<tr><th>{'x' * 400}</th></tr></thead>", 1), "a table scrolls sideways"),
        "tiny": (text.replace('font-size="12"', 'font-size="7"'), "letters of"),
        "empty": (
            re.sub(r"<rect [^>]*>(?=<title>[^<]*clips)", '<rect width="0" height="0">', text),
            "nothing is drawn",
        ),
        "cut": (text.replace('text-anchor="end"', 'text-anchor="start" dx="-200"', 1), "is cut"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / f"{name}.html").write_text(content)
    paths = [tmp_path / f"{name}.html" for name in broken]
    measured = browser.measure(paths, widths=WIDTHS)
    for path in paths:
        found, wanted = faults(measured[path, DESK if path.stem == "table" else PHONE]), broken[path.stem][1]
        assert any(wanted in fault for fault in found), (path.stem, found)


@pytest.mark.slow
def test_pages_of_every_toy_source_are_whole_and_quiet(browser: Browser, toy_shards: Path, tmp_path: Path) -> None:
    names = sorted(path.parent.name for path in toy_shards.glob("*/dataset.json"))
    contents = {name: inspect_page(toy_shards / name, key=None) for name in names}
    contents["report"] = report_page(toy_shards, manifest=PRETRAIN, runs=[])
    for name, content in contents.items():
        path = tmp_path / f"{name}.html"
        path.write_text(content, encoding="utf-8")
        assert browser.console(path) == []
        for page in browser.measure([path], widths=WIDTHS).values():
            assert (name, faults(page)) == (name, [])
