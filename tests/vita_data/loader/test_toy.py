"""The manifests of the demo give batches of every stage from toy shards."""

from pathlib import Path

import pytest

from vita_data.loader import LoaderOptions, Plan, make_loader, mix
from vita_data.loader.mixture.text import mix_text
from vita_data.manifest import load_manifest
from vita_data.types import Modality, ResizeMode

MANIFESTS = Path(__file__).parents[3] / "manifests"


@pytest.mark.parametrize(
    ("name", "stage", "modalities"),
    [
        ("toy", "warmup", {Modality.VIDEO, Modality.ACTION}),
        ("toy", "cotrain", {Modality.VIDEO, Modality.PAIRED}),
        ("toy_finetune", "finetune", {Modality.PAIRED}),
    ],
)
def test_toy_manifests_give_batches(toy_shards: Path, name: str, stage: str, modalities: set[Modality]) -> None:
    plan = Plan.from_manifest(load_manifest(MANIFESTS / f"{name}.toml"), shards=toy_shards, stage=stage, batch_size=12)
    seen = set()
    with make_loader(plan, options=LoaderOptions(threads=2)) as loader:
        for _ in range(8):
            batch = next(loader)
            seen.add(batch.modality)
            assert batch.action_mask is None or batch.action_mask.any()
            assert batch.image_mask is None or batch.image_mask[:, 0].all()

    assert seen == modalities


def test_a_plan_knows_how_images_became_square(toy_shards: Path) -> None:
    plan = Plan.from_manifest(load_manifest(MANIFESTS / "toy.toml"), shards=toy_shards, stage="warmup", batch_size=12)
    found = plan.resizes
    assert set(found) == set(plan.statistics)
    assert {"ssv2", "ego4d"} & set(found) == {
        name for name, resize in found.items() if resize is ResizeMode.CENTER_CROP
    }


def test_toy_mixture_can_be_printed(toy_shards: Path) -> None:
    report = mix(load_manifest(MANIFESTS / "toy.toml"), toy_shards)

    assert [bool(stage.refused) for stage in report.stages] == [False, False, True]
    assert "ssv2" in mix_text(report)
