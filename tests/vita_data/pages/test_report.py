"""The page of a shard folder: the table equals the cards, the mixture equals `mix`, refusals name what is missing."""

import re
from pathlib import Path

import pytest

from tests.vita_data.pages.conftest import write_run
from tests.vita_data.pages.page_parser import PageParser
from vita_data.cli.main import main
from vita_data.errors import ManifestError, RequestError
from vita_data.loader.mixture.report import mix
from vita_data.manifest import load_manifest
from vita_data.pages.report import report_page
from vita_data.pages.shards.inspect import inspect_page
from vita_data.shards.index import read_card
from vita_data.shards.stats import load_stats
from vita_data.types import Stage

MIXTURE = """
name = "two_sources"
schema_version = 1
[[sources]]
source = "arm"
weight = 1
[[sources]]
source = "film"
weight = 3
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(MIXTURE)
    return path


def test_built_table_counts_every_raw_episode_of_every_source(shard_folder: Path) -> None:
    parsed = PageParser(report_page(shard_folder, manifest=None, runs=[]))
    assert parsed.faults == []
    header, arm, film = parsed.rows[:3]
    others, other_arm, other_film = parsed.rows[3:6]
    for row, other in ((arm, other_arm), (film, other_film)):
        shown = dict(zip([*header, *others[1:]], [*row, *other[1:]], strict=True))
        assert row[0] == other[0]
        assert (shown["ok"], shown["dropped"], shown["failed"]) == ("5", "2", "1")
        assert shown["drops by reason"] == "short (too few frames): 2"
        assert shown["settings hash"] == str(read_card(shard_folder / row[0])["config_hash"])[:12]
    assert arm[0] == "arm"
    assert "train paired: 4 clips, 240 steps, 120 images" in arm[header.index("stored")]
    assert other_film[others.index("licence")] == "research only\nmust not be redistributed"


def test_the_licence_is_said_to_be_the_public_datasets(shard_folder: Path) -> None:
    """Own recordings in a dataset's layout are built as its source, under whose licence they are not."""
    for shown in (report_page(shard_folder, manifest=None, runs=[]), inspect_page(shard_folder / "arm", key=None)):
        assert (
            "Release and licence are those of the dataset that the source reads; they do not apply to own recordings"
            in shown
        )


def test_every_source_has_a_row_of_lengths_texts_and_ranges(shard_folder: Path) -> None:
    rows = PageParser(report_page(shard_folder, manifest=None, runs=[])).rows
    assert ["arm", "5", "30 s", "10", *["6"] * 5, "60"] in rows
    assert ["film", "5", "0", "1", "2", "10", "2", "moving, something"] in rows
    ranges = next(row for row in rows if row[:2] == ["arm", "right"])
    stats = load_stats(shard_folder / "arm").source.action
    assert stats is not None
    assert ranges[2] == f"{stats.q01[16]:.3g} to {stats.q99[16]:.3g}"
    assert ["short", "too few frames", "4", "arm 2, film 2"] in rows


def test_size_is_that_of_the_shard_files(shard_folder: Path) -> None:
    header, arm = PageParser(report_page(shard_folder, manifest=None, runs=[])).rows[:2]
    num_bytes = sum(path.stat().st_size for path in (shard_folder / "arm").rglob("*.tar"))
    number, unit = arm[header.index("size")].split()
    assert float(number) * 1024 ** ["B", "KiB", "MiB"].index(unit) == pytest.approx(num_bytes, rel=1e-3)


def test_one_contact_sheet_a_source_and_actions_where_there_are_any(shard_folder: Path) -> None:
    parsed = PageParser(report_page(shard_folder, manifest=None, runs=[]))
    assert len(parsed.images) == 2 * 8
    assert "This clip is video only; it has no actions." in parsed.texts
    labels = [svg["aria-label"] or "" for svg in parsed.named("svg") if "aria-label" in svg]
    assert sum(label.endswith("over time (s)") for label in labels) == 3
    assert any(text.startswith("This page shows images of film") for text in parsed.texts)


def test_the_page_begins_with_pictures_and_names_the_viewer(shard_folder: Path) -> None:
    page = report_page(shard_folder, manifest=None, runs=[])
    assert page.index("<img") < page.index("<table")
    assert f"vita-data view {shard_folder} --serve" in PageParser(page).texts


def test_a_dropped_episode_can_be_looked_at(shard_folder: Path) -> None:
    texts = PageParser(report_page(shard_folder, manifest=None, runs=[])).texts
    assert f"vita-data view {shard_folder} --raw RAW --serve" in texts
    linked = PageParser(report_page(shard_folder, manifest=None, runs=[], viewer="view/index.html")).texts
    assert "The viewer shows each of them: choose Not stored above its list of clips." in linked
    assert not any("--raw RAW" in text for text in linked)


def test_a_viewer_is_linked_from_where_the_page_is(
    shard_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    viewer, page = tmp_path / "my view", tmp_path / "pages" / "report.html"
    page.parent.mkdir()
    asked = ["report", str(shard_folder), "--view", str(viewer), "--html", str(page), "--quiet"]
    assert main(asked) == 2
    assert f"--view {viewer}: index.html not found" in capsys.readouterr().err

    viewer.mkdir()
    (viewer / "index.html").touch()
    assert main(asked) == 0
    links = [one["href"] for one in PageParser(page.read_text()).named("a")]
    assert links[0] == "../my%20view/index.html"
    assert links.count(links[0]) == 2


def test_long_parts_of_the_page_are_folded(shard_folder: Path, manifest: Path, tmp_path: Path) -> None:
    page = report_page(shard_folder, manifest=manifest, runs=[write_run(tmp_path / "run")])
    folded = re.findall(r"<details><summary>([^<]*)</summary>", page)
    assert [words.partition(":")[0] for words in folded if words.startswith("Stage")] == [
        "Stage warmup", "Stage cotrain"
    ]  # fmt: skip
    assert "<h3>Stage finetune</h3>" in page, "what is not possible is not hidden"
    assert {"Pace", "Realised shares"} <= {words.partition(":")[0] for words in folded}


def test_mixture_table_equals_mix(shard_folder: Path, manifest: Path) -> None:
    parsed = PageParser(report_page(shard_folder, manifest=manifest, runs=[]))
    assert parsed.faults == []
    rows = [row for row in parsed.rows if row[0] in {"video", "action", "paired"}]
    sources = [
        (part.modality, source)
        for stage in mix(load_manifest(manifest), shard_folder).stages
        for part in stage.modalities
        for source in part.sources
    ]
    assert sources
    assert [(row[0], row[1], row[3], row[5]) for row in rows] == [
        (modality, source.label, f"{source.num_windows:,}", f"{source.share:.2%}") for modality, source in sources
    ]
    titles = [text.partition(":")[0] for text in parsed.texts if text.startswith("Stage ")]
    assert titles == [f"Stage {stage}" for stage in Stage]


def test_manifest_of_an_absent_source_is_refused(shard_folder: Path, manifest: Path) -> None:
    manifest.write_text(MIXTURE.replace("film", "absent"))
    with pytest.raises(ManifestError, match="absent"):
        report_page(shard_folder, manifest=manifest, runs=[])


def test_folder_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no built source in"):
        report_page(tmp_path, manifest=None, runs=[])
    with pytest.raises(RequestError, match=r"the folder \S+ does not exist"):
        report_page(tmp_path / "none", manifest=None, runs=[])


def test_build_under_way_is_named_but_not_shown(shard_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "arm").symlink_to(shard_folder / "arm")
    (tmp_path / "half" / ".build").mkdir(parents=True)
    parsed = PageParser(report_page(tmp_path, manifest=None, runs=[]))
    assert "Not shown because their builds are not finished: half." in parsed.texts


def test_page_of_all_toy_sources_is_small_and_whole(toy_shards: Path) -> None:
    page = report_page(toy_shards, manifest=None, runs=[])
    parsed = PageParser(page)
    assert parsed.faults == []
    assert len(page) < 5_000_000
    names = sorted(path.parent.name for path in toy_shards.glob("*/dataset.json"))
    assert [row[0] for row in parsed.rows[1 : 1 + len(names)]] == names
