"""Every manifest in the repository parses, names sources of the project, and says where its weights come from."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.loader import MixedModalitySampler, Plan, mix
from vita_data.loader.mixture.text import mix_text
from vita_data.manifest import load_manifest
from vita_data.shards.index import open_source
from vita_data.types import Basis, Modality, Split, Stage
from vita_model.training.recipes.load import load_recipe

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


def test_the_readme_names_what_uses_a_manifest() -> None:
    used = set()
    for file, what in re.findall(r"(?m)^\| `(\w+\.toml)` \|.*\| (.*) \|$", (FOLDER / "README.md").read_text()):
        for word in re.findall(r"`([^`]+)`", what):
            path = FOLDER.parent / word
            recipes = (
                re.findall(r"(?:vita-train \S*?|recipes/)(table|lift)_", path.read_text()) if path.is_file() else []
            )
            for recipe in [f"{kind}_warmup" for kind in recipes] or [word]:
                assert Path(load_recipe(recipe).manifest).name == file, (file, word)
            used.add(word)
        assert "of the demo" not in what
    assert {"debug_warmup", "debug_cotrain", "debug_finetune", "pipelines/demo.sh", "pipelines/closed_loop.sh"} <= used


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


def test_pretrain_prints_its_shares_beside_table_10(toy_shards: Path) -> None:
    """Golden: only the printed proportions enter, so these lines hold for any shards of the 13 sources."""
    lines = mix_text(mix(load_manifest(FOLDER / "pretrain.toml"), toy_shards)).splitlines()

    assert {
        "  source           printed   scaled   warmup  points  cotrain  points",
        "  ssv2              20.47%   20.47%   10.24%  -10.24   20.47%   +0.00",
        "  fractal            7.41%    7.41%   11.02%   +3.61    7.41%   +0.00",
        "  droid              5.26%    5.26%    7.82%   +2.56    5.26%   +0.00",
        "  sum               99.99%  100.00%  100.00%          100.00%",
    } <= set(lines)


def test_by_frames_weighs_by_the_steps_that_were_built(toy_shards: Path) -> None:
    manifest = load_manifest(FOLDER / "by_frames.toml")
    steps = {
        name: sum(open_source(toy_shards / name, Split.TRAIN).table.column("num_steps").to_pylist())
        for name in TABLE_10
    }
    realised = mix(manifest, toy_shards).realised

    assert manifest.basis is Basis.FRAMES
    assert {entry.source: entry.weight for entry in manifest.entries} == dict.fromkeys(TABLE_10, 1)
    assert {one.label: one.shares["cotrain"] for one in realised} == pytest.approx(
        {name: count / sum(steps.values()) for name, count in steps.items()}
    )
    assert {one.label: one.printed for one in realised} == pytest.approx(
        {name: share / 100 for name, share in TABLE_10.items()}
    )
    assert "35.66%" in next(entry.note for entry in manifest.entries if entry.source == "droid")


@pytest.fixture(scope="module")
def libero_suites(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LIBERO's toy with all five suites; Long has two tasks, so that its size differs."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("shards")
    copied = dict.fromkeys(("libero_goal", "libero_spatial", "libero_object"), "libero_spatial")
    for suite, toy in {**copied, "libero_10": "libero_90", "libero_90": "libero_90"}.items():
        shutil.copytree(toy_raw / "libero" / toy, raw / suite)
    demos = next((raw / "libero_10").iterdir())
    shutil.copyfile(demos, demos.with_name("LIVING_ROOM_SCENE1_put_it_back_demo.hdf5"))
    build(BuildRequest(source="libero", raw=str(raw), out=out, settings=sources.load("libero").Settings()))
    return out


@pytest.mark.parametrize("path", sorted(FOLDER.glob("finetune_*.toml")), ids=lambda path: path.stem)
def test_a_fine_tuning_manifest_draws_every_window_of_one_source_equally_often(
    path: Path, toy_shards: Path, libero_suites: Path
) -> None:
    manifest = load_manifest(path)
    shards = libero_suites if manifest.name == "finetune_libero" else toy_shards
    plan = Plan.from_manifest(manifest, shards=shards, stage=Stage.FINETUNE, batch_size=192)
    (planned,) = plan.pools.values()

    assert {entry.source for entry in manifest.entries} == {manifest.name.removeprefix("finetune_")}
    assert all(re.match(r"VITA \d", entry.note) for entry in manifest.entries)
    assert sum(one.share for one in planned) == pytest.approx(1)
    assert [one.repeats_per_100k_steps for one in planned] == pytest.approx(
        [planned[0].repeats_per_100k_steps] * len(planned)
    )


def test_fine_tuning_for_libero_takes_its_four_suites_and_not_libero_90(libero_suites: Path) -> None:
    manifest = load_manifest(FOLDER / "finetune_libero.toml")
    plan = Plan.from_manifest(manifest, shards=libero_suites, stage="finetune", batch_size=192)
    pools = {one.pool.opened.entry.where["suite"]: one.pool for one in plan.pools[Modality.PAIRED]}
    table = open_source(libero_suites / "libero", Split.TRAIN).table
    taken = Counter(suite for suite in table.column("suite").to_pylist() if suite != "libero_90")

    assert set(table.column("suite").to_pylist()) - set(taken) == {"libero_90"}
    assert {suite: len(pool.rows) for suite, pool in pools.items()} == taken
    assert set(pools) == {"libero_goal", "libero_spatial", "libero_object", "libero_10"}
    assert len({pool.num_windows for pool in pools.values()}) > 1


def examples() -> list[tuple[str, str]]:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```bash\n([^`]*)```\n```text\n([^`]*)```", text)


@pytest.mark.parametrize(("script", "shown"), examples(), ids=lambda text: text.split("\n")[0][:20])
def test_an_example_of_the_readme_prints_what_stands_there(
    script: str, shown: str, toy_shards: Path, tmp_path: Path
) -> None:
    for name in ("bridge", "libero"):
        shutil.copytree(toy_shards / name, tmp_path / "shards" / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"], cwd=tmp_path, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert shown in done.stdout


def test_the_readme_has_an_example_of_every_line_that_changes_shares_or_takes_a_part() -> None:
    scripts = "".join(script for script, _ in examples())
    assert all(
        f"{key} =" in scripts for key in ("temperature", "max_repeats_per_100k_steps", "where", "fraction", "exclude")
    )
