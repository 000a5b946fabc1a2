"""Every manifest in the repository parses, names sources of the project, and says where its weights come from."""

from collections import Counter
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.loader import MixedModalitySampler, Plan
from vita_data.manifest import load_manifest
from vita_data.types import Modality

FOLDER = Path(__file__).parents[2] / "manifests"
# VITA Table 10, the column Proportion.
TABLE_10 = {
    "ssv2": 20.47, "ego4d": 27.68, "bridge": 1.56, "fractal": 7.41, "fmb": 2.14, "kuka": 4.87, "recon": 1.17,
    "droid": 5.26, "robomind_franka": 4.48, "robomind_ur5e": 5.07, "robomind_agilex": 12.67, "calvin": 3.70,
    "libero": 3.51,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_manifest_is_sound(path: Path) -> None:
    manifest = load_manifest(path)

    assert manifest.name == path.stem
    assert {entry.source for entry in manifest.entries} <= set(sources.names())
    assert all(entry.note for entry in manifest.entries)
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text()


def test_pretrain_weighs_by_the_printed_proportions() -> None:
    manifest = load_manifest(FOLDER / "pretrain.toml")

    assert {entry.source: entry.weight for entry in manifest.entries} == TABLE_10
    assert "2,704,433" in next(entry.note for entry in manifest.entries if entry.source == "droid")


def test_pretrain_mixes_the_built_toys_of_its_13_sources(toy_shards: Path) -> None:
    plan = Plan.from_manifest(
        load_manifest(FOLDER / "pretrain.toml"), shards=toy_shards, stage="warmup", batch_size=1024
    )
    drawn = Counter(
        window.source
        for step in range(40)
        if (batch := MixedModalitySampler(plan).batch(step)).modality is Modality.VIDEO
        for window in batch.windows
    )

    assert set(drawn) == set(TABLE_10)
    assert drawn["ego4d"] / drawn.total() == pytest.approx(0.2768 / 0.9999, abs=1e-3)
