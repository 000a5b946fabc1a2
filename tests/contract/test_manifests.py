"""Every manifest in the repository parses, names sources of the project, and says where its weights come from."""

from pathlib import Path

import pytest

from vita_data.manifest import load_manifest

FOLDER = Path(__file__).parents[2] / "manifests"
# VITA Table 10, the column Proportion.
TABLE_10 = {
    "ssv2": 20.47, "ego4d": 27.68, "bridge": 1.56, "fractal": 7.41, "fmb": 2.14, "kuka": 4.87, "recon": 1.17,
    "droid": 5.26, "robomind_franka": 4.48, "robomind_ur5e": 5.07, "robomind_agilex": 12.67, "calvin": 3.70,
    "libero": 3.51,
}  # fmt: skip
NAMES = frozenset([*TABLE_10, "ur5e"])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_manifest_is_sound(path: Path) -> None:
    manifest = load_manifest(path)

    assert manifest.name == path.stem
    assert {entry.source for entry in manifest.entries} <= NAMES
    assert all(entry.note for entry in manifest.entries)
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text()


def test_pretrain_weighs_by_the_printed_proportions() -> None:
    manifest = load_manifest(FOLDER / "pretrain.toml")

    assert {entry.source: entry.weight for entry in manifest.entries} == TABLE_10
    assert "2,704,433" in next(entry.note for entry in manifest.entries if entry.source == "droid")
