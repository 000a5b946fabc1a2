"""A policy answers as training predicted, in m and rad, from a run, a checkpoint or an export."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vita_data.errors import RequestError, VitaDataError
from vita_data.loader import Plan, read_windows
from vita_data.loader.normalize import action_scaling
from vita_data.manifest import load_manifest
from vita_data.resize import to_square
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.types import Batch, CameraRole, Modality, ResizeMode, Split
from vita_model.cli import main
from vita_model.network.prediction import Draws
from vita_model.policy import policy as policy_module
from vita_model.policy.observations import Observation
from vita_model.policy.policy import PolicyOptions, VitaPolicy
from vita_model.policy.preview import compare, draw
from vita_model.training.checkpoint.run_folder import find_checkpoint, latest
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.parallel import begin_answer
from vita_model.training.recipes.load import load_recipe
from vita_model.training.recipes.recipe import Precision

RECIPES = Path(__file__).parents[3] / "pipelines" / "recipes"
MANIFEST = RECIPES.parents[1] / "manifests" / "toy_finetune.toml"
SOURCE = "libero"


@pytest.fixture(scope="module")
def runs(toy_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three stages, a few steps each."""
    folder = tmp_path_factory.mktemp("runs")
    for stage, steps, before in (("warmup", 18, None), ("cotrain", 2, "warmup"), ("finetune", 3, "cotrain")):
        init = [] if before is None else ["--set", f"init={folder / before}"]
        settings = ["--set", "batch_size=4", "--set", "eval_batches=0", *init]
        arguments = ["--shards", str(toy_shards), "--out", str(folder / stage), "--steps", str(steps), *settings]
        assert main([str(RECIPES / f"debug_{stage}.py"), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def plan(toy_shards: Path) -> Plan:
    return Plan.from_manifest(load_manifest(MANIFEST), shards=toy_shards, stage="finetune", batch_size=4)


@pytest.fixture
def policy(runs: Path) -> VitaPolicy:
    return VitaPolicy.from_pretrained(runs / "finetune")


def observation(toy_shards: Path, batch: Batch, row: int, views: tuple[CameraRole, ...]) -> Observation:
    """What a robot would have measured at the first window of a clip: pixels of the batch, the state of the shard."""
    index = open_source(toy_shards / SOURCE, Split.TRAIN)
    clips = (
        read_clip(ShardFiles(), shard, one, with_frames=False)
        for shard, table in zip(index.shards, index.tables, strict=True)
        for one in table.to_pylist()
        if one["key"] == batch.key[row]
    )
    clip = next(clips)
    assert batch.images is not None
    assert clip.state is not None
    images = {view: batch.images[row, place].numpy() for place, view in enumerate(views)}
    return Observation(
        images=images, instruction=batch.instruction[row], state=clip.state.values[0], state_mask=clip.state.mask
    )


def test_an_observation_is_answered_as_training_predicted_its_window(
    toy_shards: Path, plan: Plan, policy: VitaPolicy
) -> None:
    batch = read_windows(plan, Modality.PAIRED, [0])
    decision = policy.decide([observation(toy_shards, batch, 0, plan.windows.views)])[0]
    with torch.no_grad():
        predicted = policy.model.reason(batch, Draws(), with_frames=False).actions
    assert predicted is not None
    expected = action_scaling(plan.statistics, SOURCE).unnormalize(predicted.predicted[0].numpy())
    expected[:, [6, 13]] = expected[:, [6, 13]].clip(0, 1)
    right = np.flatnonzero(decision.action_mask)
    assert right.tolist() == list(range(7, 14))
    assert np.allclose(decision.actions[:, right], expected[:, right], atol=1e-6)
    assert not decision.actions[:, :7].any()
    assert decision.right.shape == (plan.windows.horizon, 7)


def test_a_robot_s_plain_dict_is_answered_as_its_observation(toy_shards: Path, plan: Plan, policy: VitaPolicy) -> None:
    batch = read_windows(plan, Modality.PAIRED, [0])
    seen = observation(toy_shards, batch, 0, plan.windows.views)
    plain = {**seen.images, "instruction": seen.instruction, "state": seen.state, "state_mask": seen.state_mask}
    decision = policy.decide([seen])[0]
    assert np.array_equal(policy.act(plain), decision.right)
    commands = policy.act(plain, convention=SOURCE)
    assert np.array_equal(commands, policy.commands(decision, SOURCE, state=seen.state))
    with pytest.raises(RequestError, match="unknown key 'image'"):
        policy.act({**plain, "image": plain["primary"]})


def test_several_observations_at_once_are_each_alone(toy_shards: Path, plan: Plan, policy: VitaPolicy) -> None:
    batch = read_windows(plan, Modality.PAIRED, [0, 1, 2])
    every = [observation(toy_shards, batch, row, plan.windows.views) for row in range(3)]
    together = policy.decide(every)
    for one, expected in zip(every, together, strict=True):
        assert np.allclose(policy.decide([one])[0].actions, expected.actions, atol=1e-5)


def test_pixels_of_a_masked_view_and_values_of_a_masked_state_change_nothing(plan: Plan, policy: VitaPolicy) -> None:
    batch = read_windows(plan, Modality.PAIRED, [0])
    assert batch.images is not None
    first = {CameraRole.PRIMARY: batch.images[0, 0].numpy()}
    expected = policy.decide([Observation(images=first, instruction="lift it")])[0]

    noise = np.random.default_rng(0)
    asked = policy._batch([Observation(images=first, instruction="lift it")], [SOURCE])
    for tensor, mask in ((asked.images, asked.image_mask), (asked.state, asked.state_mask)):
        assert tensor is not None
        assert mask is not None
        values = torch.from_numpy(noise.integers(0, 255, tensor.shape, dtype=np.uint8)).to(tensor.dtype)
        tensor[~mask] = values[~mask]
    assert np.array_equal(policy.decide_batch(asked)[0].actions, expected.actions)
    with_state = policy.decide([Observation(images=first, instruction="lift it", state=np.ones(64, np.float32))])[0]
    assert not np.array_equal(with_state.actions, expected.actions)


def test_images_of_any_size_are_made_256(policy: VitaPolicy) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 320:] = 200
    small = np.zeros((256, 256, 3), np.uint8)
    small[:, 128:] = 200
    one, other = (policy.predict({CameraRole.PRIMARY: pixels}, "x").actions for pixels in (image, small))
    assert np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"images": {}}, "must have the primary image"),
        ({"images": {CameraRole.PRIMARY: np.zeros((4, 4), np.uint8)}}, r"must be uint8 \[h, w, 3\]; found uint8 \[4"),
        ({"images": {CameraRole.PRIMARY: np.zeros((4, 4, 3))}}, "found float64"),
        (
            {"images": {"primary": np.zeros((4, 4, 3), np.uint8), "wrist_rihgt": np.zeros((4, 4, 3), np.uint8)}},
            "unknown camera 'wrist_rihgt'; this checkpoint uses: primary, wrist_right",
        ),
        ({"source": "lbero"}, "unknown source 'lbero'; this checkpoint has statistics for: libero"),
        ({"state": np.zeros(8, np.float32)}, "a state must be 64 finite numbers"),
        ({"state": np.full(64, np.nan, np.float32)}, "a state must be 64 finite numbers"),
        ({"state": np.full(64, 3e38, np.float32)}, "a state must be 64 finite numbers up to 1,000,000"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(policy: VitaPolicy, asked: dict[str, object], message: str) -> None:
    fitting = {"images": {CameraRole.PRIMARY: np.zeros((8, 8, 3), np.uint8)}, "instruction": "x"}
    with pytest.raises(RequestError, match=message):
        policy.decide([Observation(**{**fitting, **asked})])  # type: ignore[arg-type]


def test_nothing_asked_is_nothing_answered(policy: VitaPolicy) -> None:
    assert policy.decide([]) == []


def test_how_an_instruction_is_written_does_not_count(policy: VitaPolicy) -> None:
    image = {CameraRole.PRIMARY: np.zeros((8, 8, 3), np.uint8)}
    texts = ("lift it", " \u300clift  it\u300d\n", "lift that")
    plain, spaced, other = (policy.predict(image, text).actions for text in texts)
    assert np.array_equal(plain, spaced)
    assert not np.array_equal(plain, other)


def test_commands_follow_the_constants_of_the_checkpoint(policy: VitaPolicy) -> None:
    decision = policy.predict({CameraRole.PRIMARY: np.zeros((8, 8, 3), np.uint8)}, "x")
    commands = policy.commands(decision, SOURCE)
    assert np.allclose(commands[:, :3], np.clip(decision.right[:, :3] / 0.05, -1, 1))
    assert set(commands[:, 6].tolist()) <= {-1.0, 1.0}
    assert (commands[:, 6] == np.where(decision.right[:, 6] > 0.5, -1, 1)).all()
    assert policy.commands(decision, "canonical") is not None
    with pytest.raises(RequestError, match="unknown convention 'calvin'; this checkpoint has: canonical, libero"):
        policy.commands(decision, "calvin")


def test_an_export_answers_bit_for_bit_and_holds_no_more_than_it_needs(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy"
    assert main(["export", str(runs / "finetune"), str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "action_decoder.safetensors", "backbone.safetensors", "codebook.safetensors", "state.json",
    }  # fmt: skip
    image = {CameraRole.PRIMARY: np.random.default_rng(1).integers(0, 255, (256, 256, 3), dtype=np.uint8)}
    whole, exported = VitaPolicy.from_pretrained(runs / "finetune"), VitaPolicy.from_pretrained(out)
    assert np.array_equal(whole.predict(image, "push").actions, exported.predict(image, "push").actions)
    assert main(["export", str(runs / "finetune"), str(out)]) == 2
    with pytest.raises(RequestError, match="lacks visual_decoder"):
        VitaPolicy.from_pretrained(out, PolicyOptions(imagine=True))


def test_an_export_takes_averaged_weights_where_a_run_has_them(runs: Path, toy_shards: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "policy"
    settings = ["--set", f"init={runs / 'cotrain'}", "--set", "batch_size=4", "--set", "eval_batches=0"]
    wanted = [*settings, "--set", "ema_decay=0.5", "--shards", str(toy_shards), "--steps", "2"]
    assert main([str(RECIPES / "debug_finetune.py"), "--out", str(run), *wanted]) == 0
    assert main(["export", str(run), str(out), "--weights", "averaged"]) == 0

    averages = load_file(latest(run) / "averages.safetensors")
    exported = {
        f"action_decoder.{name}": value for name, value in load_file(out / "action_decoder.safetensors").items()
    }
    trained = load_file(latest(run) / "action_decoder.safetensors")
    assert averages.keys() <= exported.keys()
    assert all(torch.equal(exported[name], value) for name, value in averages.items())
    assert any(not torch.equal(exported[f"action_decoder.{name}"], value) for name, value in trained.items())
    assert (out / "backbone.safetensors").read_bytes() == (latest(run) / "backbone.safetensors").read_bytes()
    VitaPolicy.from_pretrained(out)


def test_averages_that_a_run_does_not_have_are_not_exported(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(runs / "finetune"), str(tmp_path / "policy"), "--weights", "averaged"]) == 2
    assert "has no averaged weights" in capsys.readouterr().err
    assert not (tmp_path / "policy").exists()


def test_a_damaged_export_is_refused(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy"
    assert main(["export", str(runs / "finetune"), str(out), "--imagine"]) == 0
    file = out / "codebook.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(VitaDataError, match=r"codebook\.safetensors is damaged"):
        VitaPolicy.from_pretrained(out)


@pytest.mark.parametrize(
    ("name", "message"), [("warmup", "has no backbone"), ("nothing", r"nothing: expected a checkpoint \(state")]
)
def test_what_is_no_policy_is_refused(runs: Path, name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        VitaPolicy.from_pretrained(runs / name)


def test_what_is_no_path_or_no_options_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^from_pretrained: expected the path of a run .*, got 3$"):
        VitaPolicy.from_pretrained(3)
    with pytest.raises(RequestError, match=r"^from_pretrained: expected PolicyOptions as options, got 'cuda'$"):
        VitaPolicy.from_pretrained("run", "cuda")


@pytest.mark.parametrize("device", ["cud", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match=f"PolicyOptions.device must be cpu.*; found '{device}'"):
        PolicyOptions(device=device)


def test_images_become_square_as_those_of_their_source_did(runs: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "finetune")
    assert policy.signature.resizes == {SOURCE: ResizeMode.PLAIN}
    progress = load_progress(find_checkpoint(runs / "finetune"))
    cropped = VitaPolicy(policy.model, replace(progress, resizes={SOURCE: "center_crop"}), policy.options)
    plain = VitaPolicy(policy.model, progress, replace(policy.options, resize=ResizeMode.PLAIN))
    wide = np.random.default_rng(4).integers(0, 255, (48, 96, 3), dtype=np.uint8)
    asked = [Observation(images={CameraRole.PRIMARY: wide}, instruction="push")]
    for one, expected in ((policy, "plain"), (cropped, "center_crop"), (plain, "plain")):
        images = one._batch(asked, [SOURCE]).images
        assert images is not None
        assert np.array_equal(images[0, 0], to_square(wide, ResizeMode(expected)))


def test_narrow_weights_answer_nearly_alike(runs: Path) -> None:
    image = {CameraRole.PRIMARY: np.random.default_rng(2).integers(0, 255, (256, 256, 3), dtype=np.uint8)}
    wide = VitaPolicy.from_pretrained(runs / "finetune").predict(image, "push").right
    narrow = VitaPolicy.from_pretrained(runs / "finetune", PolicyOptions(precision=Precision.BF16))
    assert np.abs(narrow.predict(image, "push").right - wide).max() < 0.05
    assert narrow.model.action_decoder.latent_in.weight.dtype == torch.bfloat16


def test_a_printed_policy_says_what_it_takes_and_gives(runs: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "finetune")
    spec = policy.signature
    number = sum(one.numel() for one in policy.model.parameters()) / 1e6
    assert repr(policy) == (
        f"VitaPolicy({number:.3g} M weights, fp32 on cpu, {spec.step} steps on {', '.join(spec.sources)}: "
        f"{', '.join(spec.views)} and instruction -> {spec.horizon} actions)"
    )


def test_imagined_frames_come_a_latent_each(runs: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "cotrain", PolicyOptions(imagine=True))
    assert repr(policy).endswith(f" actions and {policy.signature.futures} frames)")
    image = {CameraRole.PRIMARY: np.full((256, 256, 3), 90, np.uint8)}
    source = policy.signature.sources[0]
    frames = policy.predict(image, "push", source=source).frames
    size = load_recipe(RECIPES / "debug_cotrain.py").model.visual_decoder.output_size
    assert frames is not None
    assert frames.shape == (12, size, size, 3)
    with pytest.raises(RequestError, match="a source is required; this checkpoint has statistics for"):
        policy.predict(image, "push")


def test_a_digest_names_the_weights_wherever_they_lie(runs: Path, tmp_path: Path) -> None:
    assert main(["export", str(runs / "finetune"), str(tmp_path / "exported")]) == 0
    one, same, other = (
        VitaPolicy.from_pretrained(folder).signature.digest
        for folder in (runs / "finetune", tmp_path / "exported", runs / "cotrain")
    )
    assert len(one) == 16
    assert one == same != other


def test_graphs_are_told_where_an_answer_begins(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **options: None)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: told.append("mark"))
    monkeypatch.setattr(policy_module, "begin_answer", lambda device: begin_answer(torch.device("cuda")))
    compiled = VitaPolicy.from_pretrained(runs / "finetune", PolicyOptions(compile=True))
    compiled.warm_up()
    assert told == ["mark"] * 3
    VitaPolicy.from_pretrained(runs / "finetune").warm_up()
    begin_answer(torch.device("cpu"))
    assert len(told) == 3


def test_warming_up_asks_with_all_views_and_changes_no_answer(policy: VitaPolicy) -> None:
    image = {CameraRole.PRIMARY: np.random.default_rng(3).integers(0, 255, (256, 256, 3), dtype=np.uint8)}
    before = policy.predict(image, "push").actions
    policy.warm_up()
    assert np.array_equal(policy.predict(image, "push").actions, before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
def test_compiled_blocks_answer_alike(runs: Path) -> None:
    image = {CameraRole.PRIMARY: np.random.default_rng(3).integers(0, 255, (256, 256, 3), dtype=np.uint8)}
    plain = VitaPolicy.from_pretrained(runs / "finetune").predict(image, "push").actions
    fast = VitaPolicy.from_pretrained(runs / "finetune", PolicyOptions(compile=True))
    assert np.allclose(fast.predict(image, "push").actions, plain, atol=1e-4)


def test_a_clip_is_drawn(runs: Path, toy_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clip.jpg"
    asked = ["preview", str(runs / "cotrain"), "--shards", str(toy_shards), "--source", SOURCE, "--out", str(out)]
    assert main(asked) == 0
    assert out.read_bytes()[:2] == b"\xff\xd8"
    assert SOURCE in capsys.readouterr().out
    assert main([*asked, "--window", "9999"]) == 2
    assert "windows, numbered from 0" in capsys.readouterr().err
    assert main([*asked, "--key", "nobody"]) == 2


def test_true_frames_of_a_preview_are_as_far_apart_as_the_imagined_ones(runs: Path, toy_shards: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "cotrain", PolicyOptions(imagine=True))
    progress = load_progress(find_checkpoint(runs / "cotrain"))
    fields = copy.deepcopy(dict(progress.sampler))
    fields["fields"]["windows"]["frame_interval_s"] = 2.0  # type: ignore[index]
    slow = VitaPolicy(policy.model, replace(progress, sampler=fields), policy.options)
    one, two = (compare(each, str(toy_shards), source=SOURCE, key=None, window=0) for each in (policy, slow))
    assert np.array_equal(two.true_frames[0], one.true_frames[1])
    assert not np.array_equal(two.true_frames[0], one.true_frames[0])


def test_a_preview_refuses_shards_that_are_scaled_otherwise(runs: Path, toy_shards: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "cotrain", PolicyOptions(imagine=True))
    progress = load_progress(find_checkpoint(runs / "cotrain"))
    statistics = copy.deepcopy(dict(progress.statistics))
    statistics[SOURCE]["source"][SOURCE]["action"]["q99"][16] += 0.1  # type: ignore[index]
    other = VitaPolicy(policy.model, replace(progress, statistics=statistics), policy.options)
    with pytest.raises(RequestError, match="the statistics of libero differ from those of the run"):
        compare(other, str(toy_shards), source=SOURCE, key=None, window=0)


def test_a_window_without_a_real_action_is_drawn_too(runs: Path, toy_shards: Path) -> None:
    policy = VitaPolicy.from_pretrained(runs / "cotrain", PolicyOptions(imagine=True))
    found = compare(policy, str(toy_shards), source=SOURCE, key=None, window=0)
    masked = replace(found, action_mask=np.zeros_like(found.action_mask))
    assert draw(masked).shape == draw(found).shape
