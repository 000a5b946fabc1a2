"""The mixture on the report: shares of co-train equal the paper's proportions where the manifest weighs by them."""

from pathlib import Path

import pytest

from tests.vita_data.pages.page_parser import PageParser
from vita_data.loader.mixture.report import mix, printed_shares, sample_shares
from vita_data.manifest import load_manifest
from vita_data.pages.drawing.html import page
from vita_data.pages.mixture import mixture_section

PRETRAIN = Path(__file__).parents[3] / "manifests" / "pretrain.toml"
HALF_STATED = """
name = "both"
schema_version = 1
sources = [{source = "arm", weight = 1, note = "Table 10: 20.00% printed; more"}, {source = "film", weight = 3}]
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "both.toml"
    path.write_text(HALF_STATED)
    return path


def rows(manifest: Path, shards: Path) -> tuple[list[str], dict[str, list[str]]]:
    parsed = PageParser(page("t", "i", [mixture_section(manifest, shards)]))
    assert parsed.faults == []
    end = next(at for at, row in enumerate(parsed.rows) if row[0] == "modality")
    return parsed.rows[0], {row[0]: row[1:] for row in parsed.rows[1:end]}


def test_every_weight_of_the_pretraining_manifest_is_what_its_note_says_is_printed() -> None:
    asked = load_manifest(PRETRAIN)
    assert printed_shares(asked) == tuple(pytest.approx(entry.weight / 100) for entry in asked.entries)


def test_cotrain_shares_of_the_pretraining_manifest_equal_table_10(toy_shards: Path) -> None:
    header, shown = rows(PRETRAIN, toy_shards)
    assert header == ["source", "Table 10, printed", "scaled", "warmup", "cotrain", "cotrain - scaled (points)"]
    entries = load_manifest(PRETRAIN).entries
    assert list(shown) == [entry.source for entry in entries]
    for entry in entries:
        printed, scaled, _, cotrain, apart = shown[entry.source]
        assert printed == f"{entry.weight:.2f}%"
        assert scaled == cotrain
        assert apart in {"+0.00", "-0.00"}
    assert sum(float(cells[2].rstrip("%")) for cells in shown.values()) == pytest.approx(100, abs=0.1)


def test_source_without_a_printed_proportion_has_a_dash(shard_folder: Path, manifest: Path) -> None:
    _, shown = rows(manifest, shard_folder)
    assert shown["arm"][:2] == ["20.00%", "100.00%"]
    assert (shown["film"][:2], shown["film"][-1]) == (["–", "–"], "–")
    assert shown["arm"][-1] == "-75.00"


def test_manifest_without_notes_shows_its_shares_alone(shard_folder: Path, manifest: Path) -> None:
    manifest.write_text(HALF_STATED.replace("Table 10: 20.00% printed; more", "by hand"))
    header, shown = rows(manifest, shard_folder)
    assert header == ["source", "warmup", "cotrain"]
    assert shown["film"][-1] == "75.00%"
    section = page("t", "i", [mixture_section(manifest, shard_folder)])
    assert "Table 10" not in section, "a mixture of one's own is not compared with the paper's"
    assert str(manifest.parent) not in section, "a page is sent to others, who do not have this path"


def test_large_numbers_of_repeats_are_written_in_full(shard_folder: Path, manifest: Path) -> None:
    repeats = [
        (source.num_windows, source.repeats_per_100k_steps)
        for stage in mix(load_manifest(manifest), shard_folder).stages
        for part in stage.modalities
        for source in part.sources
    ]
    assert max(count for _, count in repeats) > 1e5
    parsed = PageParser(page("t", "i", [mixture_section(manifest, shard_folder)]))
    shown = [(row[3], row[6]) for row in parsed.rows if row[0] in {"video", "action", "paired"}]
    assert shown == [(f"{windows:,}", f"{count:,.0f}") for windows, count in repeats]


def test_shares_of_a_stage_add_to_one_over_its_modalities(shard_folder: Path, manifest: Path) -> None:
    for stage in mix(load_manifest(manifest), shard_folder).stages:
        if not stage.refused:
            assert sum(sample_shares(stage).values()) == pytest.approx(1)


def test_the_shares_are_said_to_be_the_stages_defaults(shard_folder: Path, manifest: Path) -> None:
    """A run's recipe may have other batches and shares, which would contradict the page."""
    texts = PageParser(page("t", "i", [mixture_section(manifest, shard_folder)])).texts
    assert any("batch size 1024. These are the defaults of each stage." in text for text in texts)
    assert any(text.startswith("Stage warmup: default share of the steps: ") for text in texts)
