import json
import resource
from dataclasses import asdict, replace

import pytest
import torch

from vita_data.errors import RequestError, VitaDataError
from vita_data.storage.lock import held
from vita_model.network.configs import ActionContext, Component, LatentAttention
from vita_model.network.reasoning import VisualReasoning
from vita_model.network.vita import Vita
from vita_model.training.checkpoint.components import TrainerState, load_components, load_trainer, save
from vita_model.training.checkpoint.init_from import init_from
from vita_model.training.checkpoint.run_folder import checkpoint_dirs, latest
from vita_model.training.checkpoint.state import Progress, load_progress


def progress(step):
    return Progress(
        step=step,
        stage="cotrain",
        recipe={"name": "x"},
        sampler={"step": step},
        statistics={"toy": {"q01": [0.0]}},
        drawn={"video": {"toy": 8}},
        features="random:0:2x64/4/256",
    )


def trainer_state():
    return TrainerState(
        torch_rng=torch.get_rng_state(),
        draw_rng=torch.Generator().get_state(),
    )


@pytest.fixture
def run(tmp_path, model):
    save(tmp_path, model, trainer_state(), progress(4), keep_last=2)
    return tmp_path


def test_a_checkpoint_holds_one_file_a_component_and_reads_back_equal(run, model, config):
    names = {path.name for path in latest(run).iterdir()}
    assert names == {f"{c}.safetensors" for c in Component} | {"trainer.pt", "state.json"}
    torch.manual_seed(9)
    other = Vita(config)
    assert load_components(latest(run), other) == frozenset(Component)

    for name in Component:
        expected, actual = model.component(name).state_dict(), other.component(name).state_dict()
        assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert load_progress(latest(run)) == progress(4)
    assert torch.equal(load_trainer(latest(run)).draw_rng, torch.Generator().get_state())


def test_only_the_last_checkpoints_are_kept_and_torn_ones_do_not_count(run, model):
    save(run, model, trainer_state(), progress(6), keep_last=2)
    save(run, model, trainer_state(), progress(8), keep_last=2)
    (run / "checkpoints" / "step-00000010.tmp").mkdir()

    assert [path.name for path in checkpoint_dirs(run)] == ["step-00000006", "step-00000008"]
    assert latest(run).name == "step-00000008"


def test_what_a_killed_process_began_is_removed_by_the_next_checkpoint(run, model):
    for name in ("step-00000005.tmp", "step-mine.tmp"):
        (run / "checkpoints" / name).mkdir()
    save(run, model, trainer_state(), progress(6), keep_last=2)
    found = {path.name for path in (run / "checkpoints").iterdir()}
    assert found == {"step-00000004", "step-00000006", "step-mine.tmp"}


@pytest.mark.parametrize(
    ("room", "moments"), [(1 << 12, 1), (16 << 20, 8 << 20)], ids=["in a component", "in the optimizer"]
)
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(run, model, room, moments):
    state = replace(trainer_state(), optimizer={"exp_avg/x": torch.zeros(moments)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(VitaDataError, match=r"step-00000006 could not be written .*; free space") as fault:
            save(run, model, state, progress(6), keep_last=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(fault.value)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]


def test_folders_that_only_look_like_checkpoints_are_neither_resumed_nor_removed(run, model):
    copies = ["step-00000003.old", "step-000000050", "step-5", "step-backup"]
    for name in copies:
        (run / "checkpoints" / name).mkdir()
    save(run, model, trainer_state(), progress(6), keep_last=1)

    assert [path.name for path in checkpoint_dirs(run)] == ["step-00000006"]
    assert latest(run).name == "step-00000006"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == sorted([*copies, "step-00000006"])


def test_all_checkpoints_stay_if_asked(run, model):
    for step in (6, 8, 10):
        save(run, model, trainer_state(), progress(step), keep_last=None)
    assert len(checkpoint_dirs(run)) == 4


@pytest.mark.parametrize("name", [*(f"{c}.safetensors" for c in Component), "trainer.pt"])
def test_a_flipped_bit_is_one_line_that_names_the_file(run, config, name):
    path = latest(run) / name
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)

    def load():
        load_components(latest(run), Vita(config))
        load_trainer(latest(run))

    with pytest.raises(VitaDataError, match=f"{name} is damaged: expected sha256") as error:
        load()
    assert "\n" not in str(error.value)


def test_parameters_that_are_not_finite_are_never_written(run, model):
    with torch.no_grad():
        next(model.backbone.parameters()).view(-1)[3] = torch.nan
    with pytest.raises(VitaDataError, match=r"step 6: backbone\..* is not finite, so no checkpoint was written"):
        save(run, model, trainer_state(), progress(6), keep_last=2)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("codebook.safetensors", load_components),
        ("trainer.pt", lambda checkpoint, model: load_trainer(checkpoint)),
        ("state.json", lambda checkpoint, model: load_progress(checkpoint)),
    ],
)
def test_a_damaged_file_is_named(run, model, name, load):
    path = latest(run) / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(VitaDataError, match=name):
        load(latest(run), model)


def test_another_schema_version_is_refused(run):
    path = latest(run) / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"schema_version": 99}))
    with pytest.raises(VitaDataError, match="expected schema version 3, got 99"):
        load_progress(latest(run))


def test_hand_over_refuses_other_shapes_naming_the_tensor(run, config):
    other = Vita(replace(config, action_encoder=replace(config.action_encoder, width=32)))
    with pytest.raises(RequestError, match=r"action_encoder\.safetensors: mlp.*the recipe's model has"):
        init_from(run, other, frozenset())


def test_hand_over_begins_segments_that_the_run_did_not_have(run, model, config):
    other = Vita(replace(config, action_decoder=replace(config.action_decoder, num_segments=3)))
    begun = other.action_decoder.segments.detach().clone()
    assert Component.ACTION_DECODER in init_from(run, other, frozenset())
    assert torch.equal(other.action_decoder.segments, begun)
    assert torch.equal(other.action_decoder.queries, model.action_decoder.queries)
    with pytest.raises(RequestError, match="segments is absent, but the recipe's model has"):
        load_components(latest(run), other)  # a resumed run had them


def test_hand_over_begins_the_context_that_the_run_did_not_have(run, model, config):
    states = replace(config.action_decoder, context=ActionContext.STATES)
    other = Vita(replace(config, action_decoder=states))
    begun = other.action_decoder.context_in.weight.detach().clone()
    assert Component.ACTION_DECODER in init_from(run, other, frozenset())
    assert torch.equal(other.action_decoder.context_in.weight, begun)
    assert torch.equal(other.action_decoder.queries, model.action_decoder.queries)
    with pytest.raises(RequestError, match=r"context_in\.bias is absent, but the recipe's model has"):
        load_components(latest(run), other)  # a resumed run had them


def test_hand_over_refuses_a_run_that_lacks_what_the_stage_needs(run, config):
    (latest(run) / "backbone.safetensors").unlink()
    with pytest.raises(RequestError, match=r"has no backbone, which this stage needs; give a co-trained run$"):
        init_from(run, Vita(config), frozenset({Component.BACKBONE}))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("cot", {"text": False}, "cot.text was True, now False"),
        ("cot", {"visual": VisualReasoning.NONE}, "cot.visual was internal, now none"),
        ("backbone", {"num_latents": 6}, "backbone.num_latents was 12, now 6"),
        ("backbone", {"latent_attention": LatentAttention.BIDIRECTIONAL}, "now bidirectional"),
    ],
)
def test_hand_over_refuses_a_frozen_backbone_that_thinks_otherwise(tmp_path, model, config, part, changes, message):
    stored = {"model": json.loads(json.dumps(asdict(config)))}
    save(tmp_path, model, trainer_state(), replace(progress(4), recipe=stored), keep_last=2)
    other = Vita(replace(config, **{part: replace(getattr(config, part), **changes)}))
    with pytest.raises(RequestError, match=message):
        init_from(tmp_path, other, frozenset({Component.BACKBONE}))
    assert Component.BACKBONE in init_from(tmp_path, other, frozenset())  # trained on, it may think otherwise
    longer = Vita(replace(config, backbone=replace(config.backbone, max_text_tokens=60)))
    assert Component.BACKBONE in init_from(tmp_path, longer, frozenset({Component.BACKBONE}))


def test_hand_over_refuses_parts_that_leave_out_what_the_stage_needs(run, config):
    with pytest.raises(RequestError, match="init_parts leaves out codebook, which this stage needs"):
        init_from(run, Vita(config), frozenset({Component.CODEBOOK}), [Component.VISUAL_DECODER])


def test_hand_over_refuses_a_codebook_that_is_not_full(tmp_path, config):
    save(tmp_path, Vita(config), trainer_state(), progress(1), keep_last=1)
    with pytest.raises(RequestError, match="has 0 of 8 codes"):
        init_from(tmp_path, Vita(config), frozenset({Component.CODEBOOK}))


def test_hand_over_says_which_step_it_takes_and_whether_that_run_has_ended(tmp_path, model, config):
    said = []
    save(tmp_path, model, trainer_state(), replace(progress(20), recipe={"num_steps": 60}), keep_last=2)
    with held(tmp_path):
        init_from(tmp_path, Vita(config), frozenset(), report=said.append)
    init_from(tmp_path, Vita(config), frozenset(), [Component.BACKBONE], report=said.append)
    save(tmp_path, model, trainer_state(), replace(progress(60), recipe={"num_steps": 60}), keep_last=2)
    init_from(tmp_path, Vita(config), frozenset(), [Component.BACKBONE], report=said.append)

    names = ", ".join(one for one in Component if one in model.components)
    assert said == [
        f"starts from {tmp_path} (step 20 of 60, still in training): {names}",
        f"starts from {tmp_path} (step 20 of 60, not trained to its end): backbone",
        f"starts from {tmp_path} (step 60): backbone",
    ]


def test_hand_over_says_to_wait_for_a_run_that_has_saved_nothing_yet(tmp_path, config):
    with held(tmp_path), pytest.raises(RequestError, match="in training and has no checkpoint yet; wait until it has"):
        init_from(tmp_path, Vita(config), frozenset())


def test_hand_over_refuses_a_folder_without_checkpoints(tmp_path, config):
    with pytest.raises(RequestError, match="no checkpoint in"):
        init_from(tmp_path, Vita(config), frozenset())
