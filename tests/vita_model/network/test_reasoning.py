"""The switches of tables 6, 7, 9 and figure 20: what each does, shown by changing one thing."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vita_data.errors import RequestError
from vita_data.types import Modality, Stage, Starts, WindowSpec
from vita_model.network.action import ActionDecoder
from vita_model.network.codebook import Codebook
from vita_model.network.configs import Component, LossConfig, SegmentLatents
from vita_model.network.prediction import Draws
from vita_model.network.reasoning import ReasoningConfig, VisualReasoning
from vita_model.network.vita import Vita
from vita_model.training.parallel import StageLoss
from vita_model.training.recipes.checks import check_windows
from vita_model.training.recipes.override import override
from vita_model.training.recipes.recipe import resolved
from vita_model.training.stages import RULES, needed_parts, set_modes, trained_parts

README = Path(__file__).parents[3] / "vita_model" / "README.md"
EVERY = [ReasoningConfig(text=text, visual=visual) for text in (True, False) for visual in VisualReasoning]


def fill(codebook):
    """Give every code a value."""
    generator = torch.Generator().manual_seed(1)
    was = codebook.training
    codebook.train()
    for modality in (Modality.VIDEO, Modality.ACTION):
        encodings = torch.randn(codebook.config.num_codes, 1, codebook.config.width, generator=generator)
        codebook(encodings, modality, torch.ones(len(encodings), dtype=torch.bool))
    codebook.train(was)


@pytest.fixture
def build(config):
    def make(cot, **codebook):
        torch.manual_seed(0)
        vita = Vita(replace(config, cot=cot, codebook=replace(config.codebook, **codebook)))
        fill(vita.codebook)
        return vita.eval()

    return make


def think(model, batch):
    with torch.no_grad():
        tokens = model.backbone.tokens(batch.instruction, batch.images.device)
        return model.backbone(batch.images, batch.image_mask, tokens, batch.state, batch.state_mask)


def nudge(parameter):
    with torch.no_grad():
        parameter[0] += 1


@pytest.mark.parametrize("cot", EVERY, ids=str)
def test_nothing_flows_back_from_latents_to_text_to_input(build, make_batch, cot):
    model, batch = build(cot), make_batch("paired", size=2)
    plain = think(model, batch)
    nudge(model.backbone.latent_queries)
    latents = think(model, batch)
    assert torch.equal(plain.subtasks.embeddings, latents.subtasks.embeddings)
    assert torch.equal(plain.context.hidden, latents.context.hidden)
    assert not torch.allclose(plain.latents, latents.latents)

    nudge(model.backbone.text_queries)
    text = think(model, batch)
    assert torch.equal(latents.context.hidden, text.context.hidden)
    nudge(model.backbone.subtask_rows.T)
    assert torch.equal(latents.latents, think(model, batch).latents) is not cot.text


@pytest.mark.parametrize("visual", VisualReasoning)
def test_without_text_there_is_no_subtask(build, make_batch, visual):
    subtasks = think(build(ReasoningConfig(text=False, visual=visual)), make_batch("paired", size=2)).subtasks
    assert subtasks.indices.shape == (2, 0)


@pytest.mark.parametrize("hides_text", [False, True])
def test_a_hidden_instruction_reaches_latents_through_the_chosen_subtasks_alone(build, make_batch, hides_text):
    model = build(ReasoningConfig(hides_text=hides_text))
    batch = make_batch("paired", size=2)
    first = think(model, batch)
    other = think(model, replace(batch, instruction=["open the drawer"] * 2))
    assert not torch.allclose(first.subtasks.probabilities, other.subtasks.probabilities)
    with torch.no_grad():
        same = model.backbone.with_subtasks(other, first.subtasks).latents
        changed = model.backbone.with_subtasks(other, replace(first.subtasks, embeddings=-first.subtasks.embeddings))
    assert torch.allclose(same, first.latents, atol=1e-6) is hides_text
    assert not torch.allclose(changed.latents, same)


def test_hidden_text_needs_subtasks():
    with pytest.raises(RequestError, match="hides_text"):
        ReasoningConfig(text=False, hides_text=True)


@pytest.mark.parametrize("visual", [VisualReasoning.INTERNAL, VisualReasoning.EXPLICIT])
def test_batches_without_actions_leave_the_actions_own_codes_alone(build, make_batch, visual):
    model = build(ReasoningConfig(visual=visual), shared=False)
    model.codebook.train()

    def moved(modality):
        before = [table.sums.clone() for table in (model.codebook, model.codebook.actions)]
        with torch.no_grad():
            prediction = model.reason(make_batch(modality, futures=2), Draws(), with_frames=True)
        now = [model.codebook.sums, model.codebook.actions.sums]
        assert len(prediction.quantized) == sum(not torch.equal(*pair) for pair in zip(before, now, strict=True))
        return [not torch.equal(*pair) for pair in zip(before, now, strict=True)]

    assert moved("video") == [True, False]
    assert moved("paired") == [True, True]


def test_explicit_latents_of_actions_see_those_of_frames_and_not_the_other_way(build, make_batch):
    model, batch = (
        build(ReasoningConfig(visual=VisualReasoning.EXPLICIT), shared=False),
        make_batch("paired", futures=2),
    )
    plain, predicted = think(model, batch), model.reason(batch, Draws(), with_frames=True)
    nudge(model.backbone.latent_queries)
    acted, predicted_then = think(model, batch), model.reason(batch, Draws(), with_frames=True)
    assert torch.equal(plain.visual, acted.visual)
    assert torch.equal(predicted.frames.predicted, predicted_then.frames.predicted)
    assert not torch.allclose(plain.latents, acted.latents)
    nudge(model.backbone.visual_queries)
    seen = think(model, batch)
    assert not torch.allclose(acted.visual, seen.visual)
    assert not torch.allclose(acted.latents, seen.latents)
    assert len(predicted.quantized) == 2


def test_without_visual_thought_latents_are_continuous_and_frames_cost_nothing(build, make_batch):
    model = build(ReasoningConfig(visual=VisualReasoning.NONE))
    set_modes(model, Stage.COTRAIN)
    prediction = RULES[Stage.COTRAIN].predict(model, make_batch("paired", futures=2), Draws())
    terms = RULES[Stage.COTRAIN].loss(prediction, LossConfig())
    assert prediction.frames is None
    assert not prediction.quantized
    assert set(terms) == {"action"}
    terms["action"].backward()
    assert model.backbone.latent_head.weight.grad.abs().sum() > 0
    assert model.visual_decoder.pixels.weight.grad is None
    assert Component.CODEBOOK not in needed_parts(Stage.COTRAIN, model.config, LossConfig())


@pytest.mark.parametrize("cot", EVERY, ids=str)
def test_every_row_of_table_6_trains(build, make_batch, cot):
    model = build(cot, shared=cot.visual is not VisualReasoning.EXPLICIT)
    set_modes(model, Stage.COTRAIN)
    loss = StageLoss(model, RULES[Stage.COTRAIN], LossConfig())
    modalities = ("paired",) if cot.visual is VisualReasoning.NONE else ("video", "paired")
    for modality in modalities:
        terms, values = loss(make_batch(modality, futures=2), Draws())
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        assert torch.isfinite(total)
        assert ("subtask_entropy" in values) is cot.text
    grad = model.backbone.gemma.layers[0].self_attn.q_proj.weight.grad
    assert grad.abs().sum() > 0


def test_tables_of_their_own_are_learned_by_their_modality_alone(config):
    codebook = Codebook(replace(config.codebook, shared=False, num_codes=4))
    encodings, mask = torch.randn(4, 1, config.codebook.width), torch.ones(4, dtype=torch.bool)
    codebook(encodings, Modality.VIDEO, mask)
    assert not codebook.is_filled
    assert int(codebook.actions.num_filled) == 0
    codebook(encodings + 1, Modality.ACTION, mask)
    assert codebook.is_filled
    assert not torch.equal(codebook.codes, codebook.actions.codes)
    assert codebook.summary().overlap == 0
    assert all(value > 0 for value in codebook.summary().perplexity.values())


@pytest.mark.parametrize("freeze", [True, False])
def test_a_codebook_that_is_not_frozen_learns_in_cotraining_and_never_in_finetuning(build, make_batch, freeze):
    model = build(ReasoningConfig(), freeze=freeze)
    for stage in (Stage.COTRAIN, Stage.FINETUNE):
        set_modes(model, stage)
        before = model.codebook.codes.clone()
        RULES[stage].predict(model, make_batch("paired", futures=2), Draws())
        learns = stage is Stage.COTRAIN and not freeze
        assert torch.equal(before, model.codebook.codes) is not learns
        assert (Component.CODEBOOK in trained_parts(stage, model.config)) is learns
    assert (Component.CODEBOOK in needed_parts(Stage.COTRAIN, model.config, LossConfig())) is freeze


def test_segments_have_a_spectrum_each(config):
    shape = replace(config.action_decoder, num_segments=3)
    torch.manual_seed(0)
    decoder = ActionDecoder(shape, latent_width=8, context_width=8)
    decoder.blocks = nn.ModuleList()
    latents = torch.randn(2, 4, 8)
    plain = decoder(latents, num_steps=12).actions
    with torch.no_grad():
        decoder.segments[1] += torch.randn(len(decoder.segments[1]))
    changed = decoder(latents, num_steps=12).actions
    assert plain.shape == (2, 12, 14)
    for part, same in ((slice(0, 4), True), (slice(4, 8), False), (slice(8, 12), True)):
        assert torch.equal(plain[:, part], changed[:, part]) is same
    with pytest.raises(ValueError, match="cannot split 13 steps into 3 equal segments"):
        decoder(latents, num_steps=13)


def test_a_segment_with_its_own_latents_reads_no_others(config):
    shape = replace(config.action_decoder, num_segments=3, segment_latents=SegmentLatents.OWN)
    torch.manual_seed(0)
    decoder = ActionDecoder(shape, latent_width=8, context_width=8)
    latents = torch.randn(2, 6, 8)
    plain = decoder(latents, num_steps=12).actions
    latents[:, 2:4] += 1
    changed = decoder(latents, num_steps=12).actions
    for part, same in ((slice(0, 4), True), (slice(4, 8), False), (slice(8, 12), True)):
        assert torch.equal(plain[:, part], changed[:, part]) is same
    with pytest.raises(ValueError, match="cannot split 5 latents evenly among 3 segments"):
        decoder(latents[:, :5], num_steps=12)


def test_segments_with_own_latents_that_do_not_divide_them_are_refused(config):
    decoder = replace(config.action_decoder, num_segments=5, segment_latents=SegmentLatents.OWN)
    with pytest.raises(ValueError, match=r"num_latents to be a multiple of action_decoder.num_segments=5"):
        Vita(replace(config, action_decoder=decoder))


@pytest.mark.parametrize("length", [12, 24, 48])
@pytest.mark.parametrize("stage", Stage)
def test_a_length_moves_latents_futures_and_chunk_together(make_recipe, stage, length):
    recipe = resolved(make_recipe(stage, length=length))
    futures = {Stage.WARMUP: 1, Stage.COTRAIN: length, Stage.FINETUNE: 0}[stage]
    assert recipe.model.backbone.num_latents == length
    assert (recipe.windows.horizon, recipe.windows.futures) == (length, futures)
    check_windows(recipe, recipe.windows)


def test_windows_that_segments_do_not_divide_are_refused(make_recipe):
    recipe = override(make_recipe(Stage.FINETUNE), ["action_decoder.num_segments=5"])
    with pytest.raises(RequestError, match="num_segments is 5"):
        check_windows(recipe, WindowSpec(starts=Starts.ROWS, horizon=12, futures=0))


def test_futures_without_latents_of_their_own_are_refused(make_recipe):
    windows = WindowSpec(starts=Starts.KEYFRAMES, horizon=12, futures=12)
    check_windows(make_recipe(Stage.COTRAIN), windows)
    for settings, told in (
        (["backbone.num_latents=6"], "12 futures of 1 latents, but model.backbone.num_latents is 6"),
        (["visual_encoder.num_latents=2"], "12 futures of 2 latents, but model.backbone.num_latents is 12"),
    ):
        with pytest.raises(RequestError, match=told):
            check_windows(override(make_recipe(Stage.COTRAIN), settings), windows)
        check_windows(override(make_recipe(Stage.COTRAIN), [*settings, "cot.visual=none"]), windows)


def rows():
    """The rows of the README's table of switches: paper table, row, settings."""
    text = README.read_text()
    found = re.findall(r"^\| (\d+[^|]*|fig[^|]*) \| ([^|]+) \| `([^`]+)` \|", text, flags=re.MULTILINE)
    return [(f"{table.strip()}: {row.strip()}", settings) for table, row, settings in found]


def test_the_readme_lists_every_table_with_switches():
    assert {name.split(":")[0] for name, _ in rows()} >= {"6", "7", "8", "9", "fig 20"}
    assert len(rows()) >= 16


@pytest.mark.parametrize(("name", "settings"), rows(), ids=lambda value: value.replace(" ", "_"))
def test_a_row_of_the_readme_is_a_recipe_that_trains(make_recipe, make_batch, name, settings):
    words = shlex.split(settings)
    assert words[::2] == ["--set"] * (len(words) // 2)
    asked = [word for word in words[1::2] if not word.startswith("init=")]
    recipe = resolved(override(make_recipe(Stage.COTRAIN), asked))
    torch.manual_seed(0)
    model = Vita(recipe.model)
    fill(model.codebook)
    set_modes(model, Stage.COTRAIN)
    horizon = 12 if recipe.windows is None else recipe.windows.horizon
    terms, _ = StageLoss(model, RULES[Stage.COTRAIN], recipe.loss)(
        make_batch("paired", futures=2, horizon=horizon, size=2), Draws()
    )
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert torch.isfinite(total)


def test_chunks_that_teach_tokens_are_as_long_as_the_encoder_s(make_recipe):
    own = ["action_decoder.segment_latents=own", "action_decoder.num_segments=2", "loss.chunk_tokens=1"]
    recipe = override(make_recipe(Stage.COTRAIN), own)
    windows = WindowSpec(starts=Starts.KEYFRAMES, horizon=24, futures=2)
    check_windows(recipe, windows)
    with pytest.raises(RequestError, match=r"chunks of 12 steps, but loss.chunk_tokens teaches 24"):
        check_windows(recipe, replace(windows, horizon=12))


def test_fine_tuning_refuses_chunks_of_a_span(make_recipe):
    windows = WindowSpec(starts=Starts.ROWS, horizon=12, futures=0, chunk_s=1.0)
    with pytest.raises(RequestError, match=r"fine-tuning needs chunks of native steps.*chunk_s=none"):
        check_windows(make_recipe(Stage.FINETUNE), windows)


def test_one_field_of_the_stage_s_own_windows_can_be_set(make_recipe):
    settings = ["windows.horizon=144", "windows.chunk_s=12.0"]
    windows = override(replace(make_recipe(Stage.COTRAIN), windows=None), settings).windows
    assert windows == WindowSpec(starts=Starts.KEYFRAMES, horizon=144, futures=12, chunk_s=12.0)
    pairs = override(replace(make_recipe(Stage.WARMUP), windows=None), ["windows.horizon=6"]).windows
    assert pairs == WindowSpec(starts=Starts.KEYFRAMES, horizon=6, futures=1, chunk_s=1.0)
    with pytest.raises(RequestError, match="fine-tuning windows depend on the sources' cameras"):
        override(replace(make_recipe(Stage.FINETUNE), windows=None), ["windows.horizon=6"])
