"""DINOv2 weights in the real format: written by transformers, loaded through the recipe, refused in one line."""

import importlib.util
import json
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model
from transformers.utils import logging

from vita_data.errors import RequestError
from vita_data.types import Stage
from vita_model.network.features import IMAGENET_MEAN, IMAGENET_STD, FrozenFeatures
from vita_model.network.layers import unit_images
from vita_model.network.weights import dinov2 as pretrained
from vita_model.network.weights import hub
from vita_model.network.weights.dinov2 import as_library_names
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.estimate.params import parameter_table
from vita_model.training.recipes.override import override
from vita_model.training.train import train

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 4, "patch_size": 14}
NEEDS_TIMM = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is an optional extra")


def write(folder, *, seed=1, shard_size="5GB", **shape):
    """A checkpoint as the hub has it, for positions of 112 px unless said otherwise; every weight has its own value."""
    torch.manual_seed(seed)
    dino = Dinov2Model(Dinov2Config(**{**SHAPE, "image_size": 112, **shape})).eval()
    with torch.no_grad():
        for parameter in dino.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    logging.disable_progress_bar()
    dino.save_pretrained(folder, max_shard_size=shard_size)
    logging.enable_progress_bar()
    return dino


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "dinov2-small"
    return folder, write(folder)


@pytest.fixture
def visual(config, weights):
    """The small model's features (56 px, a grid of 4x4) with the weights of the folder (112 px, 8x8)."""
    return replace(config.visual, backbone=str(weights[0]), position_size=112)


def expected(dino, images):
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        return dino((unit_images(images, 56) - mean) / std).last_hidden_state[:, 1:]


def loaded(visual):
    features = FrozenFeatures(visual)
    features.load_pretrained()
    return features


def refusal(visual):
    with pytest.raises(RequestError) as refused:
        loaded(visual)
    assert refused.value.exit_code == 2
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith(f"visual.backbone={visual.backbone}: ")
    assert "--set visual.backbone=random" in said
    return said


def test_features_are_those_of_the_librarys_own_forward(visual, weights, make_batch):
    images, features = make_batch("video").images[:, 0], loaded(visual)

    assert features(images).shape == (4, 16, 64)
    torch.testing.assert_close(features(images), expected(weights[1], images), rtol=0, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert not any(module.training for module in features.modules())


@pytest.mark.parametrize("position_size", [56, 112, 70, 518])
def test_the_position_table_resized_once_is_what_the_library_resizes_at_every_forward(
    visual, tmp_path, make_batch, position_size
):
    dino = write(tmp_path / "other", image_size=position_size)
    features = loaded(replace(visual, backbone=str(tmp_path / "other"), position_size=position_size))
    theirs = dino.embeddings.interpolate_pos_encoding(torch.zeros(1, 17, 64), 56, 56)

    torch.testing.assert_close(features.positions, theirs, rtol=0, atol=1e-5)
    images = make_batch("video").images[:, 0]
    torch.testing.assert_close(features(images), expected(dino, images), rtol=0, atol=1e-5)


def test_nothing_is_interpolated_at_a_forward(visual, make_batch, monkeypatch):
    images, features = (
        make_batch("video").images[:, 0, ::2, ::2][:, :112, :112],
        loaded(replace(visual, input_size=112)),
    )
    monkeypatch.setattr(torch.nn.functional, "interpolate", lambda *_, **__: pytest.fail("interpolated"))
    assert features(images).shape == (4, 64, 64)


def test_a_sharded_checkpoint_and_one_file_are_the_same_weights(visual, weights, tmp_path):
    weights[1].save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    assert not list(tmp_path.rglob("*.bin"))
    one, sharded = loaded(visual), loaded(replace(visual, backbone=str(tmp_path / "sharded")))

    assert one.identity == sharded.identity != FrozenFeatures(replace(visual, backbone="random")).identity
    assert all(torch.equal(one.dino.state_dict()[k], v) for k, v in sharded.dino.state_dict().items())


def test_the_files_of_the_hub_load_with_their_old_names_and_half_precision(visual, weights, make_batch):
    # facebook/dinov2-base was written by transformers 4.32: fewer keys in its config.json, the same names of weights.
    folder, _ = weights
    config = json.loads((folder / "config.json").read_text())
    for key in ("stage_names", "out_features", "out_indices", "use_mask_token", "dtype"):
        config.pop(key)
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "float16"}))
    tensors = load_file(folder / "model.safetensors")
    assert "encoder.layer.0.attention.attention.query.weight" in tensors
    save_file({key: value.half() for key, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    features = loaded(visual)

    assert all(parameter.dtype is torch.float32 for parameter in features.parameters())
    assert torch.isfinite(features(make_batch("video").images[:, 0])).all()


def test_building_and_counting_load_nothing(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_assemble", lambda *_: pytest.fail("loaded"))
    recipe = override(make_recipe(Stage.WARMUP), [f"visual.backbone={tmp_path / 'nowhere'}"])
    plain = parameter_table(make_recipe(Stage.WARMUP))

    assert [part.count for part in parameter_table(recipe).parts] == [part.count for part in plain.parts]
    features = FrozenFeatures(recipe.model.visual)
    assert all(parameter.is_meta for parameter in features.parameters())
    with pytest.raises(NotImplementedError):
        features.to("cpu")


def test_a_run_trains_and_resumes_on_loaded_weights_and_says_which(make_recipe, make_stream, weights, tmp_path):
    recipe = override(
        make_recipe(Stage.WARMUP, num_steps=2), [f"visual.backbone={weights[0]}", "visual.position_size=112"]
    )
    go(recipe, make_stream, tmp_path / "run")
    assert go(replace(recipe, num_steps=3), make_stream, tmp_path / "run", resume=True).step == 3

    progress = load_progress(latest(tmp_path / "run"))
    assert progress.recipe["model"]["visual"]["backbone"] == str(weights[0])
    assert progress.features == loaded(recipe.model.visual).identity
    assert not list((tmp_path / "run").rglob("features*"))


def test_resume_and_hand_over_refuse_other_weights(make_recipe, make_stream, weights, tmp_path):
    settings = [f"visual.backbone={weights[0]}", "visual.position_size=112"]
    recipe = override(make_recipe(Stage.WARMUP), settings)
    go(recipe, make_stream, tmp_path / "run")
    following = override(make_recipe(Stage.COTRAIN, init=str(tmp_path / "run"), num_steps=1), settings)
    assert go(following, make_stream, tmp_path / "cotrain").step == 1

    other = override(recipe, ["visual.backbone=random"])
    with pytest.raises(RequestError, match=r"model\.visual\.backbone was .*dinov2-small, now random"):
        go(replace(other, num_steps=9), make_stream, tmp_path / "run", resume=True)
    with pytest.raises(RequestError, match=r"--set init=.*run: the run was trained on DINOv2 weights sha256:"):
        go(override(following, ["visual.backbone=random"]), make_stream, tmp_path / "other")

    write(weights[0], seed=2)
    for again in (
        lambda: go(replace(recipe, num_steps=9), make_stream, tmp_path / "run", resume=True),
        lambda: go(following, make_stream, tmp_path / "other"),
    ):
        with pytest.raises(RequestError, match=r"the run was trained on DINOv2 weights sha256:.* gives sha256:"):
            again()


def go(recipe, make_stream, run, *, resume=False):
    stream = make_stream(recipe.stage)
    return train(recipe, stream, run, statistics={}, report=lambda line: None, resume=resume)


def test_the_same_weights_from_another_folder_may_follow(make_recipe, make_stream, weights, tmp_path):
    recipe = override(make_recipe(Stage.WARMUP), [f"visual.backbone={weights[0]}", "visual.position_size=112"])
    go(recipe, make_stream, tmp_path / "run")
    weights[1].save_pretrained(tmp_path / "copy", max_shard_size="200KB")
    following = override(
        make_recipe(Stage.COTRAIN, init=str(tmp_path / "run"), num_steps=1),
        [f"visual.backbone={tmp_path / 'copy'}", "visual.position_size=112"],
    )
    assert go(following, make_stream, tmp_path / "cotrain").step == 1


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.bias"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def widen_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "layernorm.bias": torch.zeros(65)}, folder / "model.safetensors", {"format": "pt"})


def add_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "register_tokens": torch.zeros(4)}, folder / "model.safetensors", {"format": "pt"})


def rename_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def lose_a_shard(folder):
    (folder / "model.safetensors").unlink()
    write(folder, shard_size="200KB")
    next(folder.glob("model-00002*")).unlink()


DAMAGES = [
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    (lambda f: (f / "config.json").write_text("3"), "config.json cannot be read"),
    (lambda f: rename_config(f, model_type="vit"), "its model_type is vit, but the recipe's model.visual has dinov2"),
    (lambda f: rename_config(f, hidden_size=768), "its hidden_size is 768, but the recipe's model.visual has 64"),
    (lambda f: rename_config(f, use_swiglu_ffn=True), "its use_swiglu_ffn is True"),
    (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    (cut, "model.safetensors cannot be read"),
    (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors cannot be read"),
    (lose_a_tensor, "it has no layernorm.bias"),
    (widen_a_tensor, "its layernorm.bias is (65,), but the recipe's model.visual has (64,)"),
    (add_a_tensor, "it has register_tokens, which the recipe's model.visual does not have"),
    (lose_a_shard, "model-00002-of-"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[message for _, message in DAMAGES])
def test_weights_that_cannot_be_used_are_refused_in_one_line(visual, weights, capfd, damage, message):
    damage(weights[0])
    assert message in refusal(visual)
    assert capfd.readouterr() == ("", "")


def test_loading_says_nothing_on_the_terminal_and_leaves_the_librarys_settings_alone(visual, capfd):
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    loaded(visual)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_file_instead_of_its_folder_is_refused(visual, weights):
    file = weights[0] / "model.safetensors"
    assert "expected a folder or hub name, got a file" in refusal(replace(visual, backbone=str(file)))


@pytest.mark.parametrize("name", ["facebook/dinov2-base", "nowhere", "not a name", "/nowhere/dinov2", "a/b/c"])
def test_a_name_that_no_hub_answers_for_is_refused_at_once(visual, tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    # Nobody listens there, whether or not the machine has a network.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begin_s = time.monotonic()

    assert "not found, neither as a folder nor on the Hugging Face hub (" in refusal(replace(visual, backbone=name))
    assert time.monotonic() - begin_s < 5
    assert capfd.readouterr().err == ""


def test_offline_mode_is_named(visual, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert "offline mode is enabled" in refusal(replace(visual, backbone="facebook/dinov2-base"))


def test_a_hub_name_in_the_cache_needs_no_network(visual, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(weights[0] / file))
    named = loaded(replace(visual, backbone="facebook/dinov2-base"))
    assert named.identity == loaded(visual).identity


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed here")
def test_timm_is_asked_for_where_it_is_missing(visual):
    message = "timm cannot be imported (No module named 'timm'); in your checkout of VITA run: pip install -e '.[timm]'"
    assert message in refusal(replace(visual, backbone="timm:vit_x"))


def test_timms_folder_may_begin_with_the_home_folder(visual, tmp_path, monkeypatch):
    asked = []

    def create_model(name, **options):
        asked.append(name)
        raise RuntimeError("no weights here")

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "no weights here" in refusal(replace(visual, backbone="timm:local-dir:~/dinov2"))
    assert asked == [f"local-dir:{tmp_path}/dinov2"]


@pytest.mark.parametrize("backbone", ["", " ", "timm:"])
def test_a_backbone_without_a_name_is_refused(visual, backbone):
    with pytest.raises(
        RequestError, match=r"FeatureConfig\.backbone must be a folder, a hub name, timm:NAME or random"
    ):
        replace(visual, backbone=backbone)


@pytest.fixture
def timm_model():
    import timm

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_base_patch14_dinov2", img_size=56, embed_dim=64, depth=2, num_heads=4, num_classes=0
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@NEEDS_TIMM
def test_timms_weights_give_the_features_of_timms_own_forward(visual, timm_model, make_batch, tmp_path, capfd):
    from timm.models import save_for_hf

    arguments = {"img_size": 56, "embed_dim": 64, "depth": 2, "num_heads": 4}
    save_for_hf(timm_model, tmp_path / "timm", model_args=arguments, safe_serialization=True)
    features = loaded(replace(visual, backbone=f"timm:local-dir:{tmp_path / 'timm'}", position_size=56))
    images = make_batch("video").images[:, 0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        theirs = timm_model.forward_features((unit_images(images, 56) - mean) / std)[:, 1:]

    torch.testing.assert_close(features(images), theirs, rtol=0, atol=1e-5)
    assert capfd.readouterr().err == ""


@NEEDS_TIMM
def test_both_providers_of_the_same_weights_are_the_same(visual, timm_model, tmp_path):
    dino = write(tmp_path / "hub", image_size=56)
    tensors = as_library_names(timm_model.state_dict())
    mask = {"embeddings.mask_token": dino.embeddings.mask_token.detach()}
    save_file(
        {k: v.contiguous() for k, v in {**tensors, **mask}.items()}, tmp_path / "hub" / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    from timm.models import save_for_hf

    arguments = {"img_size": 56, "embed_dim": 64, "depth": 2, "num_heads": 4}
    save_for_hf(timm_model, tmp_path / "timm", model_args=arguments, safe_serialization=True)
    hub = loaded(replace(visual, backbone=str(tmp_path / "hub"), position_size=56))
    timm = loaded(replace(visual, backbone=f"timm:local-dir:{tmp_path / 'timm'}", position_size=56))

    assert hub.identity == timm.identity


@NEEDS_TIMM
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "timm has no DINOv2 model of that name"),
        ("local-dir:/nowhere", "timm has no DINOv2 model of that name"),
        ("vit_base_patch14_dinov2", "neither as a folder nor on the Hugging Face hub"),
        ("hf-hub:timm/vit_base_patch14_dinov2.lvd142m", "neither as a folder nor on the Hugging Face hub"),
    ],
)
def test_timm_without_weights_is_refused_at_once(visual, tmp_path, monkeypatch, name, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begin_s = time.monotonic()
    assert message in refusal(replace(visual, backbone=f"timm:{name}"))
    assert time.monotonic() - begin_s < 5
