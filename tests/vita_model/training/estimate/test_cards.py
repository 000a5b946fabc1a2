"""Cards that recipes are made for: what the documentation says of them is what is counted."""

import re
from pathlib import Path

import pytest

from vita_model.training.estimate.cards import CARDS, as_text, card_of
from vita_model.training.estimate.memory import estimates_of
from vita_model.training.recipes.load import load_recipe
from vita_model.training.recipes.recipe import resolved

ROOT = Path(__file__).parents[4]
FULL_SIZE = (
    "warmup",
    "cotrain",
    "finetune_bridge",
    "finetune_calvin",
    "finetune_fractal",
    "finetune_libero",
    "finetune_ur5e",
)
SETUPS = ((16, "a100-80gb"), (8, "h200"))
BY_NAME = {card.name: card for card in CARDS}


def table() -> dict[str, list[float]]:
    """The GiB of the table in vita_model/README.md, by recipe, in the order of the setups."""
    text = (ROOT / "vita_model" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) GiB \(\d+%\) \| ([\d.]+) GiB \(\d+%\) \|", text, re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in rows}


def test_the_table_has_each_full_size_recipe_and_all_fit_within_nine_tenths():
    assert set(table()) == set(FULL_SIZE)
    for values in table().values():
        assert all(value <= 0.9 * BY_NAME[card].memory / 2**30 for value, (_, card) in zip(values, SETUPS, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_recipe_needs_what_the_table_says(name):
    estimates = estimates_of(
        resolved(load_recipe(ROOT / "pipelines" / "recipes" / f"{name}.py")), [n for n, _ in SETUPS]
    )
    for said, estimate, (_, card) in zip(table()[name], estimates, SETUPS, strict=True):
        assert BY_NAME[card].fits(estimate.total)
        assert estimate.total / 2**30 == pytest.approx(said, abs=0.06)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"), ("NVIDIA A100-PCIE-40GB", "a100-40gb"), ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"), ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)  # fmt: skip
def test_a_card_is_found_by_the_name_of_its_device(device, name):
    assert card_of(device) == BY_NAME[name]
    assert card_of("Tesla T4") is None


def test_a_card_says_whether_an_estimate_leaves_a_tenth_free():
    card = BY_NAME["h200"]
    assert as_text(card, int(0.5 * card.memory)).startswith("  fits h200: 50% of its 139.8 GiB")
    assert as_text(card, int(0.91 * card.memory)).startswith("  does not fit h200: 91%")
