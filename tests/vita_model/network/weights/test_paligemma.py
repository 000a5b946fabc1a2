"""PaliGemma's weights in the real format: written by transformers, loaded into our backbone, refused in one line."""

import json
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vita_model.released import write_paligemma, write_tokenizer
from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Stage
from vita_model.network.backbone import SUBTASKS, Backbone
from vita_model.network.configs import Component
from vita_model.network.layers import unit_images
from vita_model.network.reasoning import ReasoningConfig, VisualReasoning
from vita_model.network.vita import Vita
from vita_model.network.weights import hub, paligemma
from vita_model.network.weights.paligemma import load_paligemma
from vita_model.network.weights.tokenizer import ByteTokenizer, WordPieceTokenizer
from vita_model.policy.export import export
from vita_model.policy.policy import CONTROL
from vita_model.training.checkpoint.components import load_components
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.estimate.params import parameter_table
from vita_model.training.train import Trainer, train

LAYOUTS = {
    "transformers 4, as released": {
        "language_model.model.": "language_model.model.", "vision_tower.": "vision_tower.vision_model.",
        "multi_modal_projector.": "multi_modal_projector.",
    },
    "transformers 5": {
        "language_model.model.": "model.language_model.", "vision_tower.": "model.vision_tower.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
    "between them": {
        "language_model.model.": "model.language_model.", "vision_tower.": "model.vision_tower.vision_model.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
}  # fmt: skip


@pytest.fixture
def released(config, tmp_path):
    """A folder of weights in several files, the library's model of the same weights."""
    folder = tmp_path / "paligemma-small"
    model = write_paligemma(folder, config.backbone, shard_size="300KB")
    assert len(list(folder.glob("model-0000*-of-0000*.safetensors"))) > 2
    return folder, model


def loaded(config, folder, **changes) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(replace(config.backbone, weights=str(folder), **changes), latent_width=64)
    load_paligemma(backbone)
    return backbone


def refusal(config, folder, **changes) -> str:
    with pytest.raises(RequestError) as refused:
        loaded(config, folder, **changes)
    said = str(refused.value)
    assert refused.value.exit_code == 2
    assert "\n" not in said
    assert said.startswith(f"backbone.weights={folder}: ")
    assert "--set backbone.weights=random" in said
    return said


def merged(folder) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("model*.safetensors"))
    return {key: value for path in files for key, value in load_file(path).items()}


def rewrite(folder, target, tensors) -> None:
    target.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    save_file({key: value.contiguous() for key, value in tensors.items()}, target / "model.safetensors")


@torch.no_grad()
def prefix_pass(backbone, batch):
    tokens = backbone.tokenizer.encode(batch.instruction)
    rows, mask = backbone._inputs(batch.images, batch.image_mask, tokens, batch.state, batch.state_mask)
    return backbone._read(rows, mask, num_words=tokens.ids.shape[1])[0], tokens


def test_the_prefix_pass_gives_the_hidden_states_of_the_librarys_paligemma(config, released, make_batch):
    batch, backbone = make_batch("paired", size=3), loaded(config, released[0])
    batch.state_mask.zero_()
    batch.instruction[:] = ["open the drawer", "", "rotate the red knob"]
    with torch.no_grad():
        backbone.view.zero_()
    context, tokens = prefix_pass(backbone, batch)

    num_patches, vocabulary = (56 // 14) ** 2, config.backbone.vocabulary
    ids = torch.cat([torch.full((3, num_patches), vocabulary - 1), tokens.ids], dim=1)
    mask = torch.cat([torch.ones(3, num_patches, dtype=torch.bool), tokens.mask], dim=1)
    with torch.no_grad():
        theirs = released[1](
            input_ids=ids,
            pixel_values=unit_images(batch.images[:, 0], 56) * 2 - 1,
            attention_mask=mask.long(),
            position_ids=mask.long().cumsum(dim=1),
            token_type_ids=torch.zeros_like(ids),  # all of it is prefix: seen in both directions
            output_hidden_states=True,
        ).hidden_states[-1]

    torch.testing.assert_close(context.hidden[:, :-1][mask], theirs[mask], rtol=0, atol=1e-5)
    assert theirs[mask].std() > 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_head", [False, True], ids=["tied", "with output layer"])
def test_every_layout_of_names_and_files_gives_the_same_weights(config, released, tmp_path, layout, with_head):
    tensors = {}
    for key, value in merged(released[0]).items():
        old, new = next((o, n) for o, n in LAYOUTS[layout].items() if key.startswith(o))
        tensors[key.replace(old, new, 1)] = value
    if with_head:
        tensors["lm_head.weight" if "5" in layout else "language_model.lm_head.weight"] = torch.zeros(259, 64)
        tensors[LAYOUTS[layout]["vision_tower."] + "head.probe"] = torch.zeros(1, 1, 64)
    rewrite(released[0], tmp_path / "one", tensors)
    one, sharded = loaded(config, tmp_path / "one"), loaded(config, released[0])

    assert all(torch.equal(one.state_dict()[k], v) for k, v in sharded.state_dict().items())
    assert all(bool(torch.isfinite(v).all()) for v in one.state_dict().values())
    language = released[1].model.language_model
    assert torch.equal(one.gemma.layers[1].mlp.up_proj.weight, language.layers[1].mlp.up_proj.weight)
    assert torch.equal(one.projector.bias, released[1].model.multi_modal_projector.linear.bias)


def test_half_precision_on_disk_becomes_the_models_own(config, released, tmp_path):
    rewrite(released[0], tmp_path / "half", {k: v.bfloat16() for k, v in merged(released[0]).items()})
    half = loaded(config, tmp_path / "half").gemma.norm.weight
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, released[1].model.language_model.norm.weight, rtol=1e-2, atol=1e-2)


def test_text_rows_are_scaled_by_sqrt_of_the_width_and_images_are_not(config, released, make_batch):
    # The library scales in the table's own forward; a loop that multiplied again, or not at all, would be far off.
    backbone, batch = loaded(config, released[0]), make_batch("paired", size=1)
    tokens = backbone.tokenizer.encode(batch.instruction)
    rows, _ = backbone._inputs(batch.images, batch.image_mask, tokens, batch.state, batch.state_mask)
    stored = released[1].get_input_embeddings().weight[tokens.ids[0]]
    pixels = unit_images(batch.images[:, 0], 56) * 2 - 1
    seen = released[1].get_image_features(pixel_values=pixels).pooler_output + backbone.view[0]

    torch.testing.assert_close(rows[0, 16 : 16 + 48], stored * 8.0)  # width 64
    torch.testing.assert_close(rows[:, :16], seen.reshape(1, 16, 64), rtol=0, atol=1e-5)


def test_subtasks_start_from_their_words_and_queries_at_the_size_of_the_embeddings(config, released):
    weights = replace(config.backbone, weights=str(released[0]))
    backbone = Backbone(weights, latent_width=64, reasoning=ReasoningConfig(visual=VisualReasoning.EXPLICIT))
    load_paligemma(backbone)
    table = released[1].get_input_embeddings().weight.detach()
    tokenizer = backbone.tokenizer
    for name, row in zip(SUBTASKS, backbone.subtask_rows, strict=True):
        pieces = tokenizer.pieces(name.replace("_", " "))
        torch.testing.assert_close(row, table[pieces].mean(dim=0) * 8.0)
    for queries in (backbone.text_queries, backbone.latent_queries, backbone.visual_queries):
        assert float(queries.detach().std()) == pytest.approx(float(table.std()) * 8, rel=0.15)
    assert float(table.std()) * 8 > 2 * 0.02 * 8  # else the queries had that size before


def test_weights_that_were_forgotten_give_no_numbers(config, tmp_path, make_batch):
    batch = make_batch("paired", size=1)
    backbone = Backbone(replace(config.backbone, weights=str(tmp_path)), latent_width=64)
    assert prefix_pass(backbone, batch)[0].hidden.isnan().all()


def test_building_and_counting_load_nothing(make_recipe, config, tmp_path, monkeypatch):
    monkeypatch.setattr(paligemma, "find_folder", lambda *_, **__: pytest.fail("loaded"))
    absent = replace(config, backbone=replace(config.backbone, weights=str(tmp_path / "absent")))
    named, random = (parameter_table(make_recipe(Stage.COTRAIN, model=model)) for model in (absent, config))
    assert [part.count for part in named.parts] == [part.count for part in random.parts]


def change_config(folder, part, **fields):
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    (stored[part] if part else stored).update(fields)
    path.write_text(json.dumps(stored))


def change_tensor(folder, name, change):
    for path in folder.glob("model*.safetensors"):
        tensors = load_file(path)
        if name in tensors:
            change(tensors)
            save_file({k: v.contiguous() for k, v in tensors.items()}, path)


def lose_a_shard(folder):
    next(iter(sorted(folder.glob("model-00002*")))).unlink()


def break_tokenizer(folder, text):
    (folder / "tokenizer.json").write_text(text)


NORM = "language_model.model.norm.weight"
DAMAGES = [
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (lambda f: (f / "config.json").write_text("["), "config.json cannot be read"),
    (lambda f: change_config(f, None, model_type="llava"), "its model_type is llava, expected paligemma"),
    (lambda f: change_config(f, "text_config", num_attention_heads=2), "text_config.num_attention_heads is 2, "),
    (lambda f: change_config(f, "vision_config", image_size=112), "vision_config.image_size is 112, but the recipe's"),
    (
        lambda f: change_tensor(f, NORM, lambda t: t.update({NORM: torch.zeros(65)})),
        "its gemma.norm.weight is (65,), but the recipe's model.backbone has (64,)",
    ),
    (lambda f: change_tensor(f, NORM, lambda t: t.pop(NORM)), "it has no tensor for gemma.norm.weight (64,)"),
    (
        lambda f: change_tensor(f, NORM, lambda t: t.update({"adapter": torch.zeros(1)})),
        "it has adapter (1,), which the recipe's model.backbone does not have",
    ),
    (lose_a_shard, "model-00002-of-"),
    (lambda f: (f / "model.safetensors.index.json").unlink(), "has no model.safetensors"),
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    (lambda f: break_tokenizer(f, "{"), "tokenizer.json cannot be read"),
    (
        lambda f: write_tokenizer(
            f / "tokenizer.json", sentences=[chr(0x4E00 + n) for n in range(300)], num_tokens=900
        ),
        "tokens, but the recipe's model.backbone.vocabulary is 259",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[message for _, message in DAMAGES])
def test_weights_that_cannot_be_used_are_refused_in_one_line(config, released, capfd, damage, message):
    damage(released[0])
    assert message in refusal(config, released[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["google/paligemma-3b-pt-224", "/nowhere/paligemma"])
def test_a_name_that_no_hub_answers_for_is_refused_at_once(config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begin_s = time.monotonic()
    assert "not found, neither as a folder nor on the Hugging Face hub (" in refusal(config, name)
    assert time.monotonic() - begin_s < 5


def test_a_hub_name_in_the_cache_needs_no_network(config, released, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(released[0] / file))
    assert loaded(config, "google/paligemma-3b-pt-224").tokenizer.num_tokens < 259


@pytest.fixture
def runs(released, config, make_recipe, make_stream, model, tmp_path):
    """Starts co-training on the released weights behind a warmup run with filled codes."""
    recipe = make_recipe(Stage.WARMUP, num_steps=4)
    train(recipe, make_stream(Stage.WARMUP, size=8), tmp_path / "warmup", statistics={}, report=_quiet, resume=False)
    named = replace(config, backbone=replace(config.backbone, weights=str(released[0])))

    def run(out, stage=Stage.COTRAIN, *, init="warmup", resume=False, **fields):
        recipe = make_recipe(stage, init=str(tmp_path / init), **{"model": named, "num_steps": 2, **fields})
        stream = make_stream(stage)
        return train(recipe, stream, tmp_path / out, statistics={}, report=_quiet, resume=resume)

    return run


def _quiet(line):
    pass


def test_a_run_keeps_the_tokenizer_and_goes_on_without_the_folder(runs, released, tmp_path):
    runs("cotrain")
    kept = latest(tmp_path / "cotrain")
    assert (kept / "tokenizer.json").read_bytes() == (released[0] / "tokenizer.json").read_bytes()
    assert json.loads((kept / "state.json").read_text())["recipe"]["model"]["backbone"]["weights"] == str(released[0])
    # The table stays as it was released; nothing trains it.
    stored = load_file(kept / "backbone.safetensors")["gemma.embed_tokens.weight"]
    assert torch.equal(stored, released[1].get_input_embeddings().weight)

    released[0].rename(tmp_path / "moved away")
    runs("cotrain", resume=True, num_steps=3)
    runs("finetune", Stage.FINETUNE, init="cotrain")
    export(tmp_path / "finetune", tmp_path / "exported", imagine=False)
    assert (tmp_path / "exported" / "tokenizer.json").read_bytes() == (kept / "tokenizer.json").read_bytes()
    for run in ("cotrain", "finetune"):
        assert (latest(tmp_path / run) / "tokenizer.json").read_bytes() == (kept / "tokenizer.json").read_bytes()


def test_a_resumed_run_refuses_another_tokenizer(runs, released):
    runs("cotrain")
    write_tokenizer(released[0] / "tokenizer.json", num_tokens=50)
    with pytest.raises(RequestError, match=r"tokenizer\.json differs from the tokenizer of that run; restore"):
        runs("cotrain", resume=True, num_steps=3)


def test_a_checkpoint_whose_tokenizer_was_changed_or_lost_is_refused(runs, tmp_path):
    runs("cotrain")
    kept = latest(tmp_path / "cotrain") / "tokenizer.json"
    write_tokenizer(kept, num_tokens=50)
    with pytest.raises(VitaDataError, match=r"tokenizer\.json is damaged"):
        runs("cotrain", resume=True, num_steps=3)
    kept.unlink()
    with pytest.raises(VitaDataError, match=r"tokenizer\.json cannot be read"):
        runs("cotrain", resume=True, num_steps=3)


def test_a_backbone_from_a_checkpoint_brings_its_own_tokenizer_or_bytes(runs, make_recipe, make_stream, tmp_path):
    runs("cotrain")
    for name, init, kind in (("a", "cotrain", WordPieceTokenizer), ("b", "warmup", ByteTokenizer)):
        stage = Stage.FINETUNE if init == "cotrain" else Stage.COTRAIN
        recipe = make_recipe(stage, init=str(tmp_path / init))  # random weights
        trainer = Trainer(recipe, make_stream(stage), tmp_path / name, statistics={}, report=_quiet)
        trainer.start()
        assert type(trainer.model.component(Component.BACKBONE).tokenizer) is kind


def test_an_exported_policy_elsewhere_reads_words_as_the_run_did(runs, released, config, tmp_path):
    runs("cotrain")
    runs("finetune", Stage.FINETUNE, init="cotrain")
    export(tmp_path / "finetune", tmp_path / "exported", imagine=False)
    wanted = WordPieceTokenizer((released[0] / "tokenizer.json").read_bytes(), max_tokens=48).pieces("open the drawer")
    released[0].rename(tmp_path / "moved away")
    model = Vita(config, CONTROL)  # as a policy builds it
    load_components(tmp_path / "exported", model)
    assert model.component(Component.BACKBONE).tokenizer.pieces("open the drawer") == wanted
