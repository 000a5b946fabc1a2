"""Adapters begin without an effect, belong to fine-tuning, and leave the backbone's own weights as they were."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.vita_model.conftest import small_config
from vita_data.errors import RequestError
from vita_data.types import Modality, Stage
from vita_model.network.lora import LoraLinear, adapters_of, add_adapters
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.estimate.params import parameter_table
from vita_model.training.recipes.recipe import resolved
from vita_model.training.stages import set_modes

_MATRICES_PER_LAYER = 7


def adapted(rank=4):
    config = small_config()
    return replace(config, backbone=replace(config.backbone, lora_rank=rank, lora_alpha=8.0))


def test_a_layer_adds_the_scaled_product_of_its_two_matrices():
    plain = nn.Linear(6, 5)
    layer = LoraLinear(plain, rank=2, alpha=8.0)
    rows = torch.randn(3, 6)
    assert torch.equal(layer(rows), plain(rows))

    nn.init.normal_(layer.lora_up)
    torch.testing.assert_close(layer(rows), plain(rows) + 4.0 * rows @ layer.lora_down.T @ layer.lora_up.T)
    assert layer.state_dict().keys() == {"weight", "bias", "lora_down", "lora_up"}


def test_every_matrix_inside_is_adapted_once():
    blocks = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))
    add_adapters(blocks, rank=1, alpha=1.0)

    assert [type(layer) for layer in blocks.modules()].count(LoraLinear) == 2
    assert len(list(adapters_of(blocks))) == 4


def test_a_model_with_fresh_adapters_predicts_what_it_did_without(model, make_batch):
    other = Vita(adapted())
    missing, unexpected = other.load_state_dict(model.state_dict(), strict=False)
    batch = make_batch(Modality.PAIRED, futures=2)
    with torch.no_grad():
        found, wanted = (one.eval().reason(batch, Draws(), with_frames=False) for one in (other, model))

    assert not unexpected
    assert {name.rsplit(".", 1)[1] for name in missing} == {"lora_down", "lora_up"}
    assert torch.equal(found.actions.predicted, wanted.actions.predicted)


def test_fine_tuning_trains_the_adapters_beside_the_action_decoder():
    model = Vita(adapted())
    set_modes(model, Stage.FINETUNE)
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}

    assert len(trained) == 2 * _MATRICES_PER_LAYER * model.config.backbone.language.num_layers
    assert all("lora_" in name for name in trained)
    assert not model.backbone.training


def test_the_adapters_have_their_own_row_in_the_table_of_parameters(make_recipe):
    with_them = parameter_table(make_recipe(Stage.FINETUNE, model=adapted()))
    without = parameter_table(make_recipe(Stage.FINETUNE))
    rows = {part.name: part for part in with_them.parts}

    assert rows["Gemma's adapters"].trained == rows["Gemma's adapters"].count > 0
    assert set(without.parts) <= set(with_them.parts)
    assert with_them.trained.count == without.trained.count + rows["Gemma's adapters"].count


@pytest.mark.parametrize("stage", [Stage.WARMUP, Stage.COTRAIN])
def test_other_stages_refuse_adapters(make_recipe, stage):
    with pytest.raises(RequestError, match=r"lora_rank=4 .*fine-tuning"):
        resolved(make_recipe(stage, model=adapted()))
