"""Parameter counts of the full size, on the meta device: VITA table 11 within 2%."""

import pytest
import torch

from vita_model.network.configs import VitaConfig
from vita_model.network.vita import Vita

MILLION = 1e6


@pytest.fixture(scope="module")
def counts():
    with torch.device("meta"):
        model = Vita(VitaConfig())
    sizes = {name: sum(p.numel() for p in part.parameters()) / MILLION for name, part in model.named_children()}
    backbone = model.backbone
    sizes["vision"] = sum(p.numel() for p in backbone.vision.parameters()) / MILLION
    sizes["embeddings"] = backbone.gemma.embed_tokens.weight.numel() / MILLION
    sizes["language"] = sum(p.numel() for p in backbone.gemma.parameters()) / MILLION - sizes["embeddings"]
    return sizes


@pytest.mark.parametrize(
    ("part", "paper"),
    [
        ("features", 86),
        ("visual_encoder", 20),
        ("visual_decoder", 96),
        ("action_encoder", 10),
        ("action_decoder", 228),
        ("language", 2000),
    ],
)
def test_parts_have_the_papers_size(counts, part, paper):
    assert counts[part] == pytest.approx(paper, rel=0.02)


def test_parts_fixed_by_released_checkpoints_have_their_size(counts):
    assert counts["vision"] == pytest.approx(412.442, abs=0.001)
    assert counts["embeddings"] == pytest.approx(526.778, abs=0.001)
